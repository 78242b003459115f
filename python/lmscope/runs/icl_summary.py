"""What the experiments of a run of `icl` found, in a few rows each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmscope import html_repr
from lmscope.report.words import count
from lmscope.runs import icl_words
from lmscope.runs.icl_findings import FINDINGS, Finding

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Missing:
    """Rows of one experiment that lack a number, such as message passing that does not converge, of how many;
    `reason` is that of the first."""

    experiment: str
    rows: int
    of: int
    reason: str


@dataclass(frozen=True, repr=False)
class IclSummary:
    """`findings`: experiment -> what it found; `seeds`: experiment -> repeats that stand.

    `failures` has experiment, record and reason of cells that could not be computed.
    """

    findings: dict[str, tuple[Finding, ...]]
    seeds: dict[str, int]
    missing: tuple[Missing, ...]
    failures: tuple[dict[str, str], ...]

    def __repr__(self) -> str:
        told = (f"{name} of {count(self.seeds[name], 'seed')}" for name in self.findings)
        return f"<IclSummary: {', '.join(told)}>"

    def _repr_html_(self) -> str:
        parts = [html_repr.line(text) for text in icl_words.sentences(self)]
        for title, columns, rows in icl_words.tables(self):
            parts += [html_repr.line(title), html_repr.table(columns, rows)]
        return html_repr.block("In-context learning as a spin glass", *parts)


def summarise_icl(
    tables: Mapping[str, pyarrow.Table], failures: Mapping[str, Mapping[str, str]]
) -> IclSummary:
    """Reduce the tables, by experiment."""
    rows = {name: table.to_pylist() for name, table in tables.items()}
    reasons = {name: [row["reason"] for row in own if row["reason"]] for name, own in rows.items()}
    return IclSummary(
        findings={name: tuple(FINDINGS[name](own)) for name, own in rows.items()},
        seeds={name: len({row["seed"] for row in own}) for name, own in rows.items()},
        missing=tuple(
            Missing(name, len(told), len(rows[name]), told[0]) for name, told in reasons.items() if told
        ),
        failures=tuple(
            {"experiment": name, "record": record, "reason": reason}
            for name, found in failures.items()
            for record, reason in found.items()
        ),
    )
