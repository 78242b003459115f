"""Run the code blocks of a Markdown document: `python run_document.py DOCUMENT CLONE`, in a working folder.

The folder is what the document supposes: CKPT, path/to/checkpoint and so on. Python blocks share one
namespace; `sh` blocks run line by line. What a block promises must come true: a path in a command's comment,
such as RUN/report.html, exists afterwards, and <!-- shows: PATTERN --> before a block is found in its output.
A block in another language than these is an error, unless it is a page's directive or plain `text`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer

_DIRECTIVES = re.compile(r"\{(toctree|include|eval-rst|image|figure)\}.*")
_COMMAND = re.compile(r"^\s*([$>] )?(lmscope|make|pip|python|hf|import|from)\b", re.MULTILINE)
_SHOWS = re.compile(r"<!-- shows: (.+?) -->\n\Z")
_PROMISED = re.compile(r"\bRUN/[\w./-]*\w")
_PROGRAMS = {"lmscope": "lmscope", "hf": "huggingface_hub.cli.hf", "pip": "pip", "python": ""}


class Broken(Exception):
    """A block does not do what it says."""


def main(document: Path, clone: Path) -> int:
    shims = _programs(Path.cwd() / "bin")
    os.environ["PATH"] = f"{shims}{os.pathsep}{os.environ['PATH']}"
    blocks = Sybil(parsers=[lambda text: _blocks(text, clone)]).parse(document)
    count = 0
    for example in blocks.examples():
        try:
            example.evaluate()
        except Exception as error:
            print(f"{document.name}:{example.line}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        count += 1
    print(count)
    return 0


def _programs(folder: Path) -> Path:
    """Of this interpreter's environment, whatever else the machine has under these names."""
    folder.mkdir()
    for name, module in _PROGRAMS.items():
        command = shlex.join([sys.executable, *(["-m", module] if module else [])])
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def _blocks(document: Document, clone: Path) -> Iterator[Region]:
    hidden = DirectiveInHTMLCommentLexer(directive="invisible-code-block", arguments="python")
    for region in hidden(document):
        region.parsed, region.evaluator = region.lexemes["source"], PythonEvaluator()
        yield region
    fenced = RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)\n"))
    for region in fenced(document):
        language = region.lexemes["language"].strip()
        region.parsed = region.lexemes["source"]
        if language == "python":
            region.evaluator = PythonEvaluator()
        elif language == "sh":
            promise = _SHOWS.search(document.text[: region.start])
            region.evaluator = _shell(clone, promise[1] if promise else "")
        elif language == "text":
            region.evaluator = _plain_text
        elif not _DIRECTIVES.fullmatch(language):
            region.evaluator = _unknown(language)
        else:
            continue
        yield region


def _plain_text(example: Example) -> None:
    if _COMMAND.search(example.parsed):
        raise Broken("a block marked as text holds a command; mark it as sh or python")


def _unknown(language: str):
    def evaluate(example: Example) -> None:
        raise Broken(f"a block in {language or 'no language'!r} cannot be run; mark it as sh, python or text")

    return evaluate


def _shell(clone: Path, promise: str):
    def evaluate(example: Example) -> None:
        output = "".join(_command(line, clone) for line in example.parsed.splitlines() if line.strip())
        if not re.search(promise, output):
            raise Broken(f"{promise!r} is not in the output: {output}")

    return evaluate


def _command(line: str, clone: Path) -> str:
    """Run one line; gives what it prints, both streams."""
    command, _, comment = line.partition(" #")
    words = shlex.split(command)
    folder = Path.cwd()
    if words[0] == "make":
        # What the targets do, other tests and the continuous integration show.
        command, folder = f"make -n {shlex.join(words[1:])}", clone
    elif words[:2] == ["pip", "install"]:
        command, folder = f"{command} --dry-run --no-deps --no-build-isolation", clone
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise Broken(f"{line.strip()}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    for path in _PROMISED.findall(comment):
        if not Path(path).exists():
            raise Broken(f"{line.strip()}: left no {path}")
    return done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
