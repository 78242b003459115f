"""Numbers in words, where rounding changes their form."""

from __future__ import annotations

import pytest

from lmscope.report.words import number, percent, signed_percent


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 3, "–"),
        (float("inf"), 3, "–"),
        (0, 3, "0"),
        (12345, 3, "12\u202f345"),
        (999.4, 3, "999"),
        (999.6, 3, "1\u202f000"),
        (-999.6, 3, "-1\u202f000"),
        (999.96, 4, "1000"),
        (9999.4, 4, "9999"),
        (9999.6, 4, "10\u202f000"),
        (99.96, 3, "100"),
        (0.99996, 3, "1"),
        (1234.5, 3, "1\u202f234"),
        (9_999_999.4, 3, "9\u202f999\u202f999"),
        (9_999_999.6, 3, "1.00e+07"),
        (0.00012345, 3, "0.000123"),
    ],
)
def test_number(value: float | None, digits: int, text: str) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (0.0002, "< 0.1 %"),
        (0.0009999, "< 0.1 %"),
        (0.001, "0.1 %"),
        (0.0994, "9.9 %"),
        (0.0996, "10 %"),
        (0.5, "50 %"),
        (0.994, "99 %"),
        (0.9951, "99.5 %"),
        (0.999, "99.9 %"),
        (0.9996, "> 99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (-0.0004, "0 %"),
        (0.0004, "0 %"),
        (-0.0007, "-0.1 %"),
        (0.0007, "0.1 %"),
        (-0.012, "-1.2 %"),
        (0.012, "1.2 %"),
        (-0.3, "-30 %"),
        (1.0, "100 %"),
    ],
)
def test_signed_percent(value: float | None, text: str) -> None:
    assert signed_percent(value) == text
