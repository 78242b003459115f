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

from ..levels import LEVELS

ROOT = Path(__file__).resolve().parents[2]
NAMES = tuple(f"{level}.cpp.o" for level in LEVELS)


def merged_symbols(listing: str) -> list[str]:
    """Names that `nm` lists as weak and defined (V, W) or unique (u); undefined ones (v, w) do no harm."""
    fields = (line.split() for line in listing.splitlines())
    return [parts[-1] for parts in fields if len(parts) >= 3 and parts[-2] in ("V", "W", "u")]


def test_the_reader_of_nm() -> None:
    listing = "0 T kernel\n0 W _ZNSt6vectorIdE\n                 w __gmon_start__\n0 V table\n0 u unique\n"
    assert merged_symbols(listing) == ["_ZNSt6vectorIdE", "table", "unique"]


def output_of(tool: str, option: str, path: Path) -> str:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} (binutils) is not installed")
    return subprocess.run([found, option, str(path)], capture_output=True, text=True, check=True).stdout


def built_objects() -> list[Path]:
    objects = [path for name in NAMES for path in sorted((ROOT / "build").glob(f"**/csrc/**/{name}"))]
    objects = [path for path in objects if not {"asan", "ubsan"} & set(path.parts)]
    if not objects:
        pytest.skip("no build tree: install from source with `pip install --no-build-isolation -e .`")
    return objects


def test_isa_objects_define_no_weak_symbols() -> None:
    objects = built_objects()
    assert {path.name for path in objects} == set(NAMES)
    wrong = {}
    for path in objects:
        listing = output_of("nm", "--defined-only", path)
        assert " T " in listing or " R " in listing or " D " in listing, f"{path} defines nothing"
        if found := merged_symbols(listing):
            wrong[str(path.relative_to(ROOT))] = found
    assert not wrong


def test_amx_objects_hold_the_instructions() -> None:
    """tests/kernels/emulated_amx replaces them; what is built must not be that."""
    for path in built_objects():
        product = "tdpbssd" if path.parent.name == "integer_gram" else "tdpbf16ps"
        wanted = {"ldtilecfg", "tilezero", "tileloadd", product, "tilestored", "tilerelease"}
        code = set(output_of("objdump", "--disassemble", path).split())
        assert (wanted & code) == (wanted if path.name == "amx.cpp.o" else set()), path
