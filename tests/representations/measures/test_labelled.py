"""Labelled texts are read whole; what is wrong with a file is named by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmscope.representations.measures import read_labelled
from lmscope.representations.texts import TextError


def test_both_formats(tmp_path: Path) -> None:
    csv = tmp_path / "set.csv"
    csv.write_text('label,text,more\ngood,"one, two\nthree",x\n1,four,y\n', encoding="utf-8-sig")
    assert read_labelled(csv) == (["one, two\nthree", "four"], ["good", "1"])
    lines = tmp_path / "set.jsonl"
    lines.write_text('{"text": "one", "label": 1}\n\n{"label": "good", "text": "zwei ü"}\n', encoding="utf-8")
    assert read_labelled(str(lines)) == (["one", "zwei ü"], ["1", "good"])


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", b"", r"a\.csv, line 1: no column 'text'; found none"),
        ("a.csv", b"text,class\na,b\n", r"a\.csv, line 1: no column 'label'; found 'text', 'class'"),
        ("a.csv", b"text,label\na,b\nc\n", r"a\.csv, line 3: label None is neither a string nor"),
        ("a.csv", b"text,label\na,b\n ,c\n", r"a\.csv, line 3: no text in column 'text'"),
        ("a.csv", b"text,label\na,b,c\n", r"a\.csv, line 2: more fields than columns; .* quotes"),
        ("a.csv", b"text,label\n", r"a\.csv: no labelled text in it"),
        ("a.csv", b"text,label\n\xff,b\n", r"a\.csv: not UTF-8"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text"\n', r"a\.jsonl, line 2: not JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl, line 1: an object with text and label is expected"),
        ("a.jsonl", b'{"text": "a", "label": 0.5}\n', r"line 1: label 0\.5 is neither"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TextError, match=complaint):
        read_labelled(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"none\.csv: No such file"):
        read_labelled(tmp_path / "none.csv")
