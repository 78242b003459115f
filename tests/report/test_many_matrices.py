"""A model with more matrices than a page can hold spectra of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import lmscope
from lmscope.report import Records, build
from lmscope.report.sections import spectrum

from ..browsing import Watched

pytestmark = pytest.mark.browser


def test_the_page_keeps_the_most_remarkable_and_says_so(
    make_run: Callable[..., Path], watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectrum, "ALL_UP_TO", 13)
    monkeypatch.setattr(spectrum, "MOST_OTHERWISE", 9)
    folder = make_run(layers=3, apart=())
    rows = Records(folder).spectra
    assert len(rows) == 18
    watched.open(build(folder))
    kept = [
        int(key)
        for key in watched.page.locator("#section-spectrum option").evaluate_all(
            "all => all.map((o) => o.value)"
        )
    ]
    assert len(kept) == 9
    for layer in range(3):
        learnt = {i: row["learnt"] for i, row in enumerate(rows) if row["layer"] == layer}
        here = [i for i in kept if i in learnt]
        assert len(here) == 3
        assert min(learnt[i] for i in here) >= max(learnt[i] for i in learnt if i not in here)
    assert "the spectra of 9 of 18 matrices" in watched.page.inner_text("#section-spectrum .caption")
    assert watched.page.locator("#verdict-table tbody tr").count() == 18
    gone = next(i for i in range(18) if i not in kept)
    watched.page.click(f"#verdict-table [data-key='{gone}']")
    assert watched.title() == "No spectrum of this matrix on the page"
    assert 'run.plot("spectrum", NAME)' in watched.page.inner_text("[data-html=spectrum]")
    assert watched.plot("spectrum", "plot.querySelectorAll('.bars path').length") == 0
    assert "chosen" in (
        watched.page.locator("#verdict-table tbody tr").nth(gone).get_attribute("class") or ""
    )
    watched.page.click(f"#verdict-table [data-key='{kept[0]}']")
    assert watched.title().startswith(rows[kept[0]]["name"])
    assert watched.plot("spectrum", "plot.querySelectorAll('.bars path').length") > 5
    assert (
        rows[gone]["name"] in lmscope.open_run(folder).plot("spectrum", rows[gone]["name"]).layout.title.text
    )
    assert watched.complaints == []


def test_up_to_the_bound_the_page_holds_all(make_run: Callable[..., Path], watched: Watched) -> None:
    watched.open(build(make_run(layers=1)))
    assert watched.page.locator("#section-spectrum option").count() == 8
    assert "To stay small" not in watched.page.inner_text("#section-spectrum")
