"""Gates for what is uploaded: each file holds what it should and no more, is small, runs on old systems."""

from __future__ import annotations

import argparse
import re
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import tomllib
from commands import output
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
# The package index takes no larger file.
MOST_BYTES = 100_000_000
NEWEST_GLIBC = (2, 34)
ARCHITECTURES = ("x86_64", "aarch64")
CORE = re.compile(r"lmscope/_core\.cpython-3\d+-\w+-linux-gnu\.so")
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
RUN_PATH = "$ORIGIN/../scipy_openblas64/lib"
# Symbols and debug sections are stripped, and no path of the machine that built it is left.
NOT_IN_CORE = (
    b".symtab",
    b".debug_",
    b"/tmp/",
    b"/home/",
    b"/root/",
    b"/project/",
    b"/opt/",
    f"{ROOT}/".encode(),
)


def tracked() -> set[str]:
    listed = output(
        *("git", "ls-files", "-z"),
        cwd=ROOT,
        hint="what is packed is compared with a git clone; run this in one",
    )
    return set(listed.split("\0")) - {""}


def differences(found: Iterable[str], expected: Iterable[str]) -> list[str]:
    found, expected = set(found), set(expected)
    return [f"should not hold {name}" for name in sorted(found - expected)] + [
        f"lacks {name}" for name in sorted(expected - found)
    ]


def sdist_problems(path: Path, files: set[str]) -> list[str]:
    top = path.name.removesuffix(".tar.gz") + "/"
    with tarfile.open(path) as archive:
        found = {member.name.removeprefix(top) for member in archive if not member.isdir()}
    return differences(found, files | {"PKG-INFO"})


def core_problems(content: bytes) -> list[str]:
    problems = [f"its core contains {text.decode()}" for text in NOT_IN_CORE if text in content]
    with tempfile.NamedTemporaryFile(suffix=".so") as core:
        core.write(content)
        core.flush()
        listed = output(
            "readelf", "--dynamic", core.name, hint="it is part of binutils, and reads shared objects"
        )
    run_paths = re.findall(r"Library r(?:un)?path: \[(.*)\]", listed)
    if run_paths != [RUN_PATH]:
        problems.append(f"its core looks for OpenBLAS in {run_paths}, not in {RUN_PATH}")
    return problems


def wheel_problems(path: Path, files: set[str]) -> list[str]:
    package = {name.removeprefix("python/") for name in files if name.startswith("python/lmscope/")}
    metadata = "-".join(path.name.split("-")[:2]) + ".dist-info/"
    with zipfile.ZipFile(path) as archive:
        found = {name for name in archive.namelist() if not name.endswith("/")}
        cores = {name for name in found if CORE.fullmatch(name)}
        problems = differences(found - cores, package | {metadata + name for name in METADATA})
        if len(cores) != 1:
            return [*problems, f"should hold one compiled core, holds {sorted(cores)}"]
        return problems + core_problems(archive.read(*cores))


def platform_problems(name: str) -> list[str]:
    try:
        platforms = sorted({tag.platform for tag in parse_wheel_filename(name)[3]})
    except InvalidWheelFilename as error:
        return [f"is no name of a wheel: {error}"]
    known = [re.fullmatch(r"manylinux_(\d+)_(\d+)_(.+)", platform) for platform in platforms]
    if any(
        found is None or (int(found[1]), int(found[2])) > NEWEST_GLIBC or found[3] not in ARCHITECTURES
        for found in known
    ):
        return [
            f"is for {', '.join(platforms)}, not for manylinux_{NEWEST_GLIBC[0]}_{NEWEST_GLIBC[1]} or older"
        ]
    return []


def missing(names: list[str], *, wheels: bool) -> list[str]:
    """One sdist and, where ``wheels`` are due, at least one."""
    sdists = [name for name in names if name.endswith(".tar.gz")]
    problems = [] if len(sdists) == 1 else [f"there should be one sdist, there are {len(sdists)}"]
    if wheels and not any(name.endswith(".whl") for name in names):
        problems.append("there is no wheel")
    return problems


def missing_from_release(names: list[str]) -> list[str]:
    """Every wheel that [tool.cibuildwheel] asks for must be there."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [build.removesuffix("-*") for build in settings["tool"]["cibuildwheel"]["build"].split()]
    built = {
        (tag.interpreter, tag.platform.removeprefix("manylinux_").split("_", 2)[-1])
        for name in names
        if name.endswith(".whl")
        for tag in parse_wheel_filename(name)[3]
    }
    return [
        f"there is no wheel for {tag} on {architecture}"
        for tag in wanted
        for architecture in ARCHITECTURES
        if (tag, architecture) not in built
    ]


def metadata_of(path: Path) -> Message:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return message_from_bytes(archive.read(name))
    with tarfile.open(path) as archive:
        content = archive.extractfile(path.name.removesuffix(".tar.gz") + "/PKG-INFO")
        assert content is not None, "PKG-INFO is a file"
        return message_from_bytes(content.read())


def page_problems(metadata: Message) -> list[str]:
    """The README is the page on the index, where nothing lies beside it."""
    text = metadata.get_payload(decode=True).decode()
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r"(?:href|src)=[\"']([^\"']+)", text)
    relative = sorted({target for target in targets if not re.match(r"https?://|mailto:|#", target)})
    problems = [f"its README links to {target}, which the package index does not have" for target in relative]
    if "not on the package index yet" in text:
        problems.append('its README says "not on the package index yet"')
    if not metadata.get_all("Project-URL"):
        problems.append("names no Project-URL: [project.urls] of pyproject.toml is missing")
    return problems


def changelog_problems(version: str, changelog: str) -> list[str]:
    if re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        return []
    return [f"CHANGELOG.md has no line `## {version} - YYYY-MM-DD`"]


def released_problems(paths: list[Path]) -> list[str]:
    problems = []
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for path in paths:
        metadata = metadata_of(path)
        problems += [f"{path.name} {problem}" for problem in page_problems(metadata)]
        if path.suffix != ".whl":
            problems += changelog_problems(metadata["Version"], changelog)
    return problems


def file_problems(path: Path, files: set[str]) -> list[str]:
    if path.name.endswith(".tar.gz"):
        problems = sdist_problems(path, files)
    elif path.suffix == ".whl":
        problems = platform_problems(path.name) + wheel_problems(path, files)
    else:
        problems = ["is neither a wheel nor an sdist"]
    if (size := path.stat().st_size) >= MOST_BYTES:
        problems.append(f"has {size} bytes, the package index takes fewer than {MOST_BYTES}")
    return [f"{path.name} {problem}" for problem in problems]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path)
    stage = parser.add_mutually_exclusive_group()
    stage.add_argument("--sdist", action="store_true", help="before the wheels are built: the sdist alone")
    stage.add_argument("--complete", action="store_true", help="every wheel of a release must be there")
    stage.add_argument(
        "--released", action="store_true", help="and what the package index will show is ready"
    )
    arguments = parser.parse_args()
    if not arguments.dist.is_dir():
        sys.exit(f"packaging: there is no folder {arguments.dist}")
    files = tracked()
    paths = sorted(arguments.dist.iterdir())
    names = [path.name for path in paths]
    problems = missing(names, wheels=not arguments.sdist)
    for path in paths:
        print(f"packaging: {path.name}: {path.stat().st_size / 1e6:.2f} MB", file=sys.stderr)
        problems += file_problems(path, files)
    # What follows opens the files by names that hold by now.
    if not problems and (arguments.complete or arguments.released):
        problems = missing_from_release(names)
        if arguments.released:
            problems += released_problems(paths)
    if problems:
        sys.exit("packaging: " + "\npackaging: ".join(problems))


if __name__ == "__main__":
    main()
