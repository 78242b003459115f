"""Objects compiled for one instruction set must not define symbols that the linker may merge with the
baseline's.

An inline function of a header, compiled with AVX-512 and emitted as a weak symbol, can become the copy that
the whole program uses, and then crash on a CPU without AVX-512.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("avx2.cpp.o", "avx512.cpp.o", "scalar.cpp.o", "amx.cpp.o")


def merged_symbols(listing: str) -> list[str]:
    """Names that `nm` lists as weak and defined (V, W) or unique (u); undefined ones (v, w) do no harm."""
    fields = (line.split() for line in listing.splitlines())
    return [parts[-1] for parts in fields if len(parts) >= 3 and parts[-2] in ("V", "W", "u")]


def test_the_reader_of_nm() -> None:
    listing = "0 T kernel\n0 W _ZNSt6vectorIdE\n                 w __gmon_start__\n0 V table\n0 u unique\n"
    assert merged_symbols(listing) == ["_ZNSt6vectorIdE", "table", "unique"]


def test_isa_objects_define_no_weak_symbols() -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm (binutils) is not installed")
    objects = [path for name in NAMES for path in sorted((ROOT / "build").glob(f"**/csrc/**/{name}"))]
    objects = [path for path in objects if not {"asan", "ubsan"} & set(path.parts)]
    if not objects:
        pytest.skip("no build tree: install from source with `pip install --no-build-isolation -e .`")
    assert {path.name for path in objects} >= {"avx2.cpp.o", "avx512.cpp.o", "scalar.cpp.o"}
    wrong = {}
    for path in objects:
        listing = subprocess.run(
            [nm, "--defined-only", str(path)], capture_output=True, text=True, check=True
        ).stdout
        assert " T " in listing or " R " in listing or " D " in listing, f"{path} defines nothing"
        if found := merged_symbols(listing):
            wrong[str(path.relative_to(ROOT))] = found
    assert not wrong
