"""Texts come whole, by paragraph or by line; what is no text is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmscope.representations import TextError, read_texts


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    path = tmp_path / "prose.txt"
    path.write_bytes("\ufeffOne line,\r\nanother.\r\n \t\r\n\r\nDéjà vu.\r\n".encode())
    return path


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("file", ["One line,\nanother.\n \t\n\nDéjà vu.\n"]),
        ("paragraph", ["One line,\nanother.", "Déjà vu."]),
        ("line", ["One line,", "another.", "Déjà vu."]),
    ],
)
def test_parts_of_a_file(prose: Path, split, expected: list[str]) -> None:
    assert read_texts(prose, split=split) == expected
    assert read_texts([str(prose), prose], split=split) == expected * 2


def test_files_that_are_no_text(tmp_path: Path) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"\xef\xbb\xbfd\xe9j\xe0 vu")
    with pytest.raises(TextError, match=r"latin\.txt: not UTF-8: byte 4 is 0xe9; save the text as UTF-8$"):
        read_texts(latin)
    blank = tmp_path / "blank.txt"
    blank.write_text(" \n\n\t\n")
    with pytest.raises(TextError, match=r"blank\.txt: no text in it$"):
        read_texts(blank, split="paragraph")
    with pytest.raises(TextError, match=r"missing\.txt: No such file or directory$"):
        read_texts(tmp_path / "missing.txt")
    with pytest.raises(ValueError, match=r"^split: 'word' is not"):
        read_texts(blank, split="word")  # type: ignore[arg-type]
