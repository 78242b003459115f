"""Pages made from the program: the command line's help, and the columns of the result files."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path

from lmscope.results.q_values import Q_VALUES
from lmscope.results.schemas import COLUMNS, LEDGER_COLUMNS, Column

_ROWS = {
    "spectra": "One row per analysed matrix.",
    "similarity": "One row per pair of matrices of one role.",
    "control": "The same for random matrices of the same shapes.",
    "twins": "One row per matrix and its twin in a second checkpoint.",
    "indices": "One row per pair of layers of the roles that other indices were asked for.",
    "difference": "One row per matrix and its twin in a tuned checkpoint: tuned minus base.",
    "entropy": "One row per checkpoint and layer: entropy of its hidden states, pooled and by passage.",
    "entropy_law": "One row per form of the law of entropy over size, where several checkpoints were given.",
    "passages": "One row per window of a text that holds a sampled position.",
    "positions": "One row per sampled position.",
    "selection": "One row per sampled position, method and k. Lower is better in all but `cosine`.",
    "distances": "One row per pair of texts.",
    "vectors": "One row per checkpoint and matrix: its singular vectors against random directions.",
    "overlap": "One row per checkpoint and matrix that has inputs of its own on the text.",
    "overlap_map": "One row per matrix whose whole map was asked for.",
    "lesions": "One row per checkpoint, target, slice, kind, draw and measure.",
    "slices": "One row per checkpoint, matrix and slice of its singular values.",
    "claims": "One row per checkpoint, claim, score and what it is held against.",
    "heads": "One row per checkpoint: its head, and how it reads the fitting text.",
    "encoding": "One row per checkpoint, target, scope, control and draw: token probabilities from rows.",
    "token_values": "One row per checkpoint that is the last of its series: lists over the vocabulary.",
    "slope": "One row per such checkpoint and basis.",
    "vocabulary_size": "One row per such checkpoint, size and draw of a random sub-vocabulary.",
    "steering": "One row per such checkpoint, token, factor, way to change it, control and text.",
    "removal": "One row per such checkpoint, order of removal, draw and share of the coordinates.",
    "mask": "One row per such checkpoint: the removable set that is proposed.",
    "generations": "One row per such checkpoint and what was changed before its continuations.",
    "dynamics": "One row per checkpoint of a series.",
    "emergence": "One row per prompt length, number of tasks and seed of `icl`.",
    "phase_map": "One row per prompt length, number of tasks, regularization and seed.",
    "landscape": "One row per number of tasks, regularization and seed.",
    "amp": "One row per prompt length, number of tasks, regularization, kind of message passing and seed.",
    "amp_vs_training": "One row per prompt length, solver and seed.",
    "correlated": "One row per correlation of the tokens, solver and seed.",
    "couplings": "One row per prompt length, block of fields or couplings and seed.",
    "coupling_spectrum": "One row per spectrum, of tokens or of features, and seed.",
    "architectures": "One row per number of tasks, model and seed.",
    "diversity": "One row per kind and number of teachers, solver and seed.",
}
_EXAMPLE = re.compile(r'<span style="font-weight: bold">(Examples?)</span>: (lmscope .+(?:\n\nlmscope .+)*)')
_PROSE = re.compile(r"^(?!lmscope |\* ).+$", re.MULTILINE)
_OPTION = re.compile(r"(?<=[ (])(--[a-z-]+)(?=[ ,.;)])")


def write_pages(folder: Path) -> None:
    """Write one Markdown file a page; a page that stays the same keeps its time."""
    folder.mkdir(exist_ok=True)
    pages = {"command_line.md": command_line(), "result_files.md": "\n".join(result_files())}
    for name, text in pages.items():
        page = folder / name
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def command_line() -> str:
    """What `lmscope VERB --help` says, of every verb, as typer writes it in Markdown."""
    command = [sys.executable, "-m", "typer", "lmscope.cli", "utils", "docs", "--name", "lmscope"]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    text = _EXAMPLE.sub(_example, text)
    prose = (
        line if line.startswith(("lmscope ", "* ")) else _OPTION.sub(r"`\1`", line)
        for line in text.splitlines()
    )
    text = "\n".join(prose)
    # The page that includes this has its title; usage lines are no commands to copy.
    return text.split("\n", 1)[1].replace("```console\n$ ", "```text\n")


def _example(found: re.Match[str]) -> str:
    commands = unescape(found[2]).replace("\n\n", "\n")
    return f"**{found[1]}**:\n\n```sh\n{commands}\n```"


def result_files() -> Iterator[str]:
    """Columns of every table of a RUN folder."""
    yield from _table("ledger.parquet", "One row per tensor of the checkpoint.", LEDGER_COLUMNS)
    for analysis, columns in COLUMNS.items():
        yield from _table(f"{analysis}/*.parquet", _ROWS[analysis], columns)
    yield "To `spectra`, `run.table` and `run.to_pandas` append what only all matrices together tell:\n"
    yield "| column | type | meaning |\n|---|---|---|"
    for p_value, q_value in Q_VALUES.items():
        meaning = f"Benjamini-Hochberg q-value of `{p_value}` over the checkpoint"
        yield f"| `{q_value}` | double | {meaning} |"
    yield ""


def _table(file: str, rows: str, columns: Mapping[str, Column]) -> Iterator[str]:
    yield f"## `{file}`\n\n{rows}\n\n| column | type | meaning |\n|---|---|---|"
    for name, column in columns.items():
        kind = f"{column.kind}, may be null" if column.nullable else str(column.kind)
        yield f"| `{name}` | {_kind(kind)} | {column.meaning} |"
    yield ""


def _kind(text: str) -> str:
    """``list<item: double>`` as words."""
    return text.replace("list<item: ", "list of ").replace(">", "")
