"""A result folder, open for reading."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lmscope.runs.errors import UsageError

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects
    import pyarrow

    from lmscope.runs.summary import RunSummary


class Run:
    """Records of one checkpoint: tables by analysis, the ledger, and the page.

    `path` is the result folder. Reading takes no lock: a run that another process is writing shows what
    stands so far.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from lmscope.results import RunFolder

        self.path = Path(path)
        self._folder = RunFolder.open(self.path)

    @property
    def manifest(self) -> dict[str, Any]:
        """Checkpoint, settings, versions and machine of the run."""
        return self._folder.manifest

    @property
    def ledger(self) -> pyarrow.Table:
        """One row per tensor of the checkpoint: columns of `lmscope.runs.ledger.LEDGER_COLUMNS`.

        Status is analysed, skipped, refused or failed; in a run that was killed or is going on, planned for
        what is left.
        """
        return self._folder.ledger

    def table(self, name: str) -> pyarrow.Table:
        """Records of one analysis under the run's settings, one row per matrix, in the checkpoint's order.

        "spectra" has the Benjamini-Hochberg q-values over the checkpoint beside the p-values. Raises
        `UsageError` (a `ValueError`) for an analysis that the run does not hold.
        """
        analyses = list(self.manifest["settings"])
        if name not in analyses:
            raise UsageError(
                f"table: the run {self.path} holds {', '.join(analyses) or 'nothing'}, not {name!r}"
            )
        table = self._folder.rows(name)
        if name == "spectra":
            from lmscope.results.q_values import with_q_values

            return with_q_values(table)
        return table

    def to_pandas(self, name: str) -> pandas.DataFrame:
        """`table` as a data frame."""
        return cast("pandas.DataFrame", self.table(name).to_pandas())

    def summary(self, *, top: int = 5) -> RunSummary:
        """The verdict per role, the matrices that stand out, and what went wrong."""
        from lmscope.runs.summary import summarise

        return summarise(self.table("spectra"), self.ledger, self.manifest["settings"]["spectra"], top=top)

    def report(self) -> Path:
        """Build ``report.html`` from the records; gives its path."""
        from lmscope.report import build

        return build(self.path)

    def plot(self, figure: str = "overview", state: str | None = None) -> plotly.graph_objects.Figure:
        """One figure of the report, as on its light page.

        ``run.plot("overview", "ks")``, ``run.plot("depth", "effective_rank")``, with a matrix's name
        ``run.plot("spectrum", NAME)``; without a state the one that the page opens with. Raises
        `lmscope.report.NoSuchFigure` (a `ValueError`) that lists what there is.
        """
        from lmscope.report import Records, plot

        return plot(Records(self.path), figure, state)

    def write_figures(
        self,
        *,
        include: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] | None = None,
        layers: str | int | Iterable[int] | None = None,
        roles: str | Iterable[str] | None = None,
        progress: bool = True,
    ) -> list[Path]:
        """Write every figure of the report in every state to the run's ``figures/``, as PNG and SVG.

        The conditions choose whose spectra are drawn, as in `lmscope.analyze`. Gives the files. Needs Chrome
        or Chromium: raises `lmscope.report.NoBrowser` without one, `UsageError` where the conditions hold for
        no matrix of the run.
        """
        from lmscope.report import write_figures
        from lmscope.runs.progress import figures_told
        from lmscope.runs.selection import select

        selection = select(include=include, exclude=exclude, layers=layers, roles=roles)

        def wanted(row: Mapping[str, Any]) -> bool:
            return selection.holds({row["name"], row["name"].partition("#")[0]}, row["role"], row["layer"])

        analysed = [row for row in self.ledger.to_pylist() if row["status"] == "analysed"]
        if analysed and not any(map(wanted, analysed)):
            raise UsageError(f"figures: no matrix of the run {self.path} matches {selection}")
        with figures_told(progress) as tell:
            return write_figures(self.path, wanted=wanted, tell=tell)

    def __repr__(self) -> str:
        counts = Counter(self.ledger.column("status").to_pylist())
        states = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        return f"<Run {str(self.path)!r} of {self.manifest['checkpoint']['name']!r}: {states}>"


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a result folder that `analyze` wrote; raises `UsageError` where there is none."""
    if not (Path(path) / "manifest.json").is_file():
        raise UsageError(
            f"{os.fspath(path)!r} is no result folder: it has no manifest.json; `lmscope analyze` makes one"
        )
    return Run(path)
