"""Readers can do what the README and the pages say: every code block runs, in a folder as they suppose."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lmscope

from ..checkpoints.hub_server import Hub, folder_files, serve
from ..synthetic_tokens import TEXTS
from ..tiny_tokenizers import character_tokenizer
from ..written_llama import VOCABULARY, llama_tensors, save_llama

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "_generated" not in path.parts)
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]

Run = Callable[[Path], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = save_llama(tmp_path_factory.mktemp("hub") / "name", llama_tensors(2, seed=5), 2)
    with serve(Hub(folder_files(folder), name="org/name")) as served:
        yield served


@pytest.fixture
def run(tmp_path: Path, hub: Hub) -> Run:
    """Runs a document in a process of its own; the hub's client reads its environment once."""
    work = tmp_path / "work"
    for place, seed in {"checkpoint": 0, "base": 1, "tuned": 2}.items():
        save_llama(work / "path" / "to" / place, llama_tensors(2, seed), 2)
        character_tokenizer(VOCABULARY).save_pretrained(work / "path" / "to" / place)
    (work / "notes.txt").write_text("".join(TEXTS), encoding="utf-8")
    (work / "CKPT").symlink_to(work / "path" / "to" / "checkpoint")
    for name, place in {"OTHER": "tuned", "BASE": "base", "TUNED": "tuned"}.items():
        (work / name).symlink_to(work / "path" / "to" / place)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    settings = {
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_COLOR": "1",
    }

    def of(document: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", Path(__file__).with_name("run_document.py"), document, ROOT],
            cwd=work,
            env={**kept, **settings},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return of


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_blocks_of(document: Path, run: Run) -> None:
    done = run(document)
    assert done.returncode == 0, done.stderr
    runnable = re.findall(r"^```(?:sh|python|text)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert int(done.stdout.splitlines()[-1]) >= len(runnable)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\nimport lmscope\nlmscope.no_such_name\n```", "broken.md:1: AttributeError"),
        ("```sh\nlmscope inspect NO_SUCH_CKPT\n```", "exit code 3"),
        ("```sh\nlmscope --version    # RUN/report.html\n```", "left no RUN/report.html"),
        ("<!-- shows: 9[.]9 -->\n```sh\nlmscope --version\n```", "is not in the output"),
        ("```sh\nmake no-such-target\n```", "exit code 2"),
        ("```sh\nno-such-program\n```", "exit code 127"),
        ("```\nlmscope inspect CKPT\n```", "no language"),
        ("```console\n$ lmscope inspect CKPT\n```", "'console' cannot be run"),
        ("```text\nlmscope inspect CKPT\n```", "holds a command"),
    ],
)
def test_a_broken_block_fails(text: str, complaint: str, run: Run, tmp_path: Path) -> None:
    document = tmp_path / "broken.md"
    document.write_text(text + "\n", encoding="utf-8")
    done = run(document)
    assert done.returncode == 1
    assert complaint in done.stderr


def test_make_targets_in_the_text_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z-]+)[ `]", document.read_text(encoding="utf-8")))
        assert named <= targets, f"{document.name} names {named - targets}"


def test_every_public_name_has_its_place_in_the_reference() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    documented: dict[str, list[str]] = {}
    for directive, name in re.findall(r"^\.\. (\w+):: (lmscope[.\w]*|\w+)(?:\(\))?$", text, re.MULTILINE):
        if directive in ("module", "currentmodule"):
            names = documented.setdefault(name, [])
        elif directive in ("autofunction", "autoclass", "autoexception", "data") and "." not in name:
            names.append(name)
    assert sorted([*documented["lmscope"], "__version__", "spin_glass"]) == sorted(lmscope.__all__)
    assert sorted(documented["lmscope.spin_glass"]) == sorted(lmscope.spin_glass.__all__)
