"""A result folder, open for reading."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lmscope import html_repr
from lmscope.runs.errors import UsageError

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects
    import pyarrow

    from lmscope.report import Records
    from lmscope.results.run_tables import Stamp
    from lmscope.runs.difference_summary import DifferenceSummary
    from lmscope.runs.icl_summary import IclSummary
    from lmscope.runs.localize_summary import LocalizeSummary
    from lmscope.runs.similarity_summary import SimilaritySummary
    from lmscope.runs.summary import RunSummary
    from lmscope.runs.tokens_summary import TokensSummary
    from lmscope.runs.unembedding_summary import UnembeddingSummary

_LOG = logging.getLogger(__name__)

_MOST_READ_TO_SHOW = 2000
"""A cell's output should not take seconds: above, records are read when somebody asks for them."""


class Run:
    """Records of one checkpoint, or of experiments without one: tables by analysis, the ledger, the page.

    `path` is the result folder. Reading takes no lock: a run that another process is writing shows what
    stands so far. Tables are kept, and read again once the folder has changed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from lmscope.results import RunFolder, RunTables

        self.path = Path(path)
        self._folder = RunFolder.open(self.path)
        self._tables = RunTables(self._folder)
        self._shown: tuple[Stamp, Records] | None = None

    @property
    def manifest(self) -> dict[str, Any]:
        """Checkpoint, settings, versions and machine of the run."""
        return self._folder.manifest

    @property
    def ledger(self) -> pyarrow.Table:
        """One row per tensor of the checkpoint, with the columns of `lmscope.results.LEDGER`.

        Status is analysed, skipped, refused or failed; in a run that was killed or is going on, planned for
        what is left. In a run of hidden states alone, nothing is analysed and the rest skipped.
        """
        return self._folder.ledger

    def table(self, name: str) -> pyarrow.Table:
        """Records of one analysis under the run's settings, in the checkpoint's order: one row per matrix, or
        per pair of matrices ("similarity", its "control", "twins", "difference", "indices"); of hidden states
        per layer ("entropy"), passage, position or pair of texts; of `localize` per checkpoint and matrix
        ("vectors", "overlap"), slice or lesion; of `unembedding` per checkpoint and fit ("encoding"), edit
        ("steering"), removal or continuation; of `icl` per experiment ("phase_map"), its sizes and seed.

        "spectra" has the Benjamini-Hochberg q-values over the checkpoint beside the p-values; "ledger" is
        `ledger`. Raises `UsageError` (a `ValueError`) for a name that the run does not hold.
        """
        if name == "ledger":
            return self.ledger
        analyses = list(self.manifest["settings"])
        if name not in analyses:
            holds = ", ".join(map(repr, ["ledger", *analyses]))
            raise UsageError(f"table: the run {self.path} holds {holds}, not {name!r}")
        return self._tables.table(name)

    def to_pandas(self, name: str) -> pandas.DataFrame:
        """`table` as a data frame with one dtype a column whatever it holds.

        Integers that may be missing, such as layer and learnt, are pandas' nullable ones; other numbers are
        numpy's, with NaN where a null gave no verdict; lists, such as singular_values, are one float64 array
        a row.
        """
        from lmscope.results.data_frames import data_frame

        return data_frame(self.table(name))

    def summary(self, *, top: int = 5) -> RunSummary:
        """The verdict per role, the matrices that stand out, and what went wrong.

        A run without spectra has neither roles nor matrices in it.
        """
        from lmscope.runs.summary import summarise

        settings = self.manifest["settings"].get("spectra", {})
        return summarise(self.table("spectra") if settings else None, self.ledger, settings, top=top)

    def similarity(self) -> SimilaritySummary:
        """Per role: how alike neighbouring layers are beside chance, blocks of layers, experts, and twins.

        Raises `UsageError` where the run holds no similarities.
        """
        from lmscope.results import PAIR_ANALYSES
        from lmscope.runs.similarity_summary import summarise_similarity

        held = [name for name in self.manifest["settings"] if name in PAIR_ANALYSES]
        if not held:
            raise UsageError(f"similarity: the run {self.path} holds none; `lmscope similarity` adds them")
        settings = self.manifest["settings"]
        if settings.get("control") != settings.get("similarity"):
            # Of other vectors or another seed: nothing to compare with.
            held = [name for name in held if name != "control"]
        if settings.get("indices", {}).get("vectors") != settings.get("similarity", {}).get("vectors"):
            held = [name for name in held if name != "indices"]
        tables = {name: self.table(name) for name in held}
        of = "similarity" if "similarity" in held else "twins"
        return summarise_similarity(
            tables.get("similarity"),
            tables.get("control"),
            tables.get("twins"),
            tables.get("indices"),
            self._cost("similarity") or self._cost("twins"),
            seed=settings[of]["seed"],
            false_positive_rate=settings[of]["false_positive_rate"],
        )

    def difference(self, *, top: int = 5) -> DifferenceSummary:
        """What moved between two checkpoints: per role, and the layers and matrices that moved most.

        Raises `UsageError` where the run holds no differences.
        """
        from lmscope.runs.difference_summary import summarise_difference

        settings = self.manifest["settings"]
        if "difference" not in settings:
            raise UsageError(f"difference: the run {self.path} holds none; `lmscope compare` adds them")
        twins = None
        if settings.get("twins", {}).get("other") == settings["difference"]["other"]:
            twins = self.table("twins")
        return summarise_difference(self.table("difference"), twins, settings["difference"], top=top)

    def tokens(self) -> TokensSummary:
        """Entropies of hidden states beside noise and untrained twins, and selected tokens by every score.

        Raises `UsageError` where the run holds none.
        """
        from lmscope.results import TOKEN_ANALYSES
        from lmscope.runs.tokens_summary import summarise_tokens

        if "entropy" not in self.manifest["settings"]:
            raise UsageError(f"tokens: the run {self.path} holds none; `lmscope tokens` adds them")
        return summarise_tokens(
            {name: self.table(name) for name in TOKEN_ANALYSES},
            {name: self._failures(name) for name in sorted(TOKEN_ANALYSES)},
            sampled=self.manifest["settings"]["positions"],
        )

    def localize(self) -> LocalizeSummary:
        """Vectors and overlaps that are no random directions, by role; what lesions cost; claims.

        Raises `UsageError` where the run holds none.
        """
        from lmscope.report.location_rows import lesion_remarks, remarks
        from lmscope.report.location_words import location_sentences
        from lmscope.results import LOCATION_ANALYSES
        from lmscope.runs.localize_summary import summarise_localize

        held = self.manifest["settings"]
        if "vectors" not in held:
            raise UsageError(f"localize: the run {self.path} holds none; `lmscope localize` adds them")
        records = self._records()
        return summarise_localize(
            {name: self.table(name) for name in ("vectors", "overlap", "lesions", "claims")},
            {name: self._failures(name, "localize") for name in sorted(LOCATION_ANALYSES & held.keys())},
            sentences=location_sentences(records),
            remarks=[*remarks(records), *lesion_remarks(records)],
            shown=records.shown_label,
        )

    def unembedding(self) -> UnembeddingSummary:
        """Fits with controls, steering by size of the factor, removals, continuations, courses of trainings.

        Raises `UsageError` where the run holds none.
        """
        from lmscope.results import UNEMBEDDING_ANALYSES
        from lmscope.runs.unembedding_summary import summarise_unembedding

        held = self.manifest["settings"]
        if "heads" not in held:
            raise UsageError(f"unembedding: the run {self.path} holds none; `lmscope unembedding` adds them")
        names = [name for name in held if name in UNEMBEDDING_ANALYSES]
        return summarise_unembedding(
            {name: self.table(name) for name in names if name != "token_values"},
            {name: self._failures(name, "unembedding") for name in names},
        )

    def icl(self) -> IclSummary:
        """What every experiment on in-context learning found, with intervals over its seeds.

        Raises `UsageError` where the run holds none.
        """
        from lmscope.results import ICL_ANALYSES
        from lmscope.results.icl_cells import cells
        from lmscope.runs.icl_settings import told
        from lmscope.runs.icl_summary import summarise_icl

        held = [name for name in self.manifest["settings"] if name in ICL_ANALYSES]
        if not held:
            raise UsageError(f"icl: the run {self.path} holds none; `lmscope icl` makes a run of them")
        asked = self.manifest["asked"]["icl"]
        failures = {}
        for name in held:
            found = self._folder.failures(name)
            own = [told(name, cell) for cell in cells(asked[name])]
            failures[name] = {record: found[record] for record in own if record in found}
        return summarise_icl({name: self.table(name) for name in held}, failures)

    def _failures(self, analysis: str, verb: str = "tokens") -> dict[str, str]:
        """Those of the checkpoints that the run is of: earlier calls may have named others."""
        found = self._folder.failures(analysis)
        asked = self.manifest.get("asked", {}).get(verb)
        if asked is None or (verb == "tokens" and analysis != "entropy"):
            return found
        own = tuple(f"{one.get('told', one['name'])}, " for one in asked["checkpoints"])
        if analysis == "vectors":
            tensors = set(self.ledger.column("name").to_pylist())
            own += tuple(tensors)
        return {name: reason for name, reason in found.items() if name.startswith(own)}

    def _cost(self, analysis: str) -> dict[str, Any]:
        """What the last pass took; where that cannot be read a warning and nothing: no result hangs on it."""
        from lmscope.results import ResultsError
        from lmscope.runs.pair_pass import Costs

        try:
            cost = self._folder.cost(analysis)
        except ResultsError as error:
            _LOG.warning(str(error))
            return {}
        missing = {field.name for field in fields(Costs)} - cost.keys() if cost else set()
        if missing:
            file = self.path / analysis / "cost.json"
            _LOG.warning(
                "%s: has no %s, so that nothing is told of the pass", file, ", ".join(sorted(missing))
            )
        return {} if missing else cost

    def report(self) -> Path:
        """Build ``report.html`` from the records; gives its path."""
        from lmscope.report import build

        return build(self.path)

    def plot(self, figure: str = "overview", state: str | None = None) -> plotly.graph_objects.Figure:
        """One figure of the report, as on its light page.

        ``run.plot("overview", "ks")``, ``run.plot("depth", "effective_rank")``, with a matrix's name
        ``run.plot("spectrum", NAME)``; without a state the one that the page opens with. Raises
        `lmscope.report.NoSuchFigure` (a `ValueError`) that lists what there is, and TypeError where figure or
        state is no string.
        """
        from lmscope.report import plot

        return plot(self._records(), figure, state)

    def _records(self) -> Records:
        """The rows behind the figures, made again only where the folder changed."""
        from lmscope.report import Records

        stamp = self._tables.stamp()
        if self._shown is None or self._shown[0] != stamp:
            self._shown = stamp, Records(self.path, self._tables)
        return self._shown[1]

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
        return f"<Run {str(self.path)!r} of {self.manifest['checkpoint']['name']!r}: {self._states()}>"

    def _states(self) -> str:
        from lmscope.results import ICL_ANALYSES, TOKEN_ANALYSES, ResultsError

        try:
            held = self.manifest["settings"].keys()
            if held & ICL_ANALYSES:
                return ", ".join(f"{_number(self.table(name).num_rows, 'row')} of {name}" for name in held)
            if held <= TOKEN_ANALYSES:
                layers, positions = (self.table(name).num_rows for name in ("entropy", "positions"))
                return f"entropy of {_number(layers, 'layer')}, {_number(positions, 'position')}"
            statuses = self.ledger.column("status").to_pylist()
        except ResultsError as error:
            return str(error)
        return ", ".join(f"{count} {status}" for status, count in Counter(statuses).most_common())

    def _repr_html_(self) -> str:
        from lmscope.results import ICL_ANALYSES, PAIR_ANALYSES, ResultsError

        manifest = self.manifest
        checkpoint, asked = manifest["checkpoint"], manifest["settings"]
        if ICL_ANALYSES & asked.keys():
            facts = [("records", self._states()), ("results", self.path)]
            hint = html_repr.line("run.icl() shows what the experiments found.")
            return html_repr.block(checkpoint["name"], html_repr.facts(facts), hint, self._page_link())
        settings = next(iter(asked.values()), {}) if "spectra" not in asked else asked["spectra"]
        known = [("model type", checkpoint["model_type"] or "unknown"), ("results", self.path)]
        known += [(name.replace("_", " "), _in_words(value)) for name, value in settings.items()]
        try:
            verdict = [self._verdict_html()] if "spectra" in asked else []
        except ResultsError as error:
            verdict = [html_repr.line(error)]
        if PAIR_ANALYSES & asked.keys():
            verdict.append(html_repr.line("run.similarity() shows how alike matrices are."))
        if "entropy" in asked:
            verdict.append(html_repr.line("run.tokens() shows entropies and selected tokens."))
        if "heads" in asked:
            verdict.append(html_repr.line("run.unembedding() shows what the output embedding holds."))
        if "vectors" in asked:
            verdict.append(html_repr.line("run.localize() shows where information sits."))
        if "difference" in asked:
            verdict.append(html_repr.line("run.difference() shows what moved."))
        return html_repr.block(checkpoint["name"], html_repr.facts(known), *verdict, self._page_link())

    def _verdict_html(self) -> str:
        matrices = self.ledger.column("status").to_pylist().count("analysed")
        if matrices > _MOST_READ_TO_SHOW and not self._tables.at_hand("spectra"):
            return html_repr.line(
                f"{self._states()}; run.summary() reads the {matrices} records for the verdict."
            )
        return self.summary().html()

    def _page_link(self) -> str:
        page = self.path / "report.html"
        if not page.is_file():
            return html_repr.line("No page yet: run.report() builds it.")
        # Notebook servers serve what lies below the notebook, and browsers open no file from a served page.
        near = page.resolve().is_relative_to(Path.cwd())
        href = quote(page.resolve().relative_to(Path.cwd()).as_posix()) if near else page.resolve().as_uri()
        return html_repr.link(href, page, before="Page: ")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _in_words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a result folder that `analyze` wrote; raises `UsageError` where there is none."""
    if not (Path(path) / "manifest.json").is_file():
        raise UsageError(
            f"{os.fspath(path)!r} is no result folder: it has no manifest.json; `lmscope analyze` makes one"
        )
    return Run(path)
