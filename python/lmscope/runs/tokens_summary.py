"""What the token analyses of a run found, in a few rows: entropies, selectors, the law over sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmscope import html_repr
from lmscope.report.words import count
from lmscope.runs import tokens_words

if TYPE_CHECKING:
    import pyarrow

    from lmscope.analyses.selection_summary import SelectionSummary

_USUAL_K = 8


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, None where it is of a single passage."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class LayerEntropy:
    """One layer of one checkpoint, all tokens pooled, but for `mean_normalized`, that of passages."""

    layer: int
    normalized: float
    mean_normalized: Interval | None
    iid: float
    cap: float
    untrained: float | None
    effective_rank: float
    diff_erank: float | None
    mean_diff_erank: Interval | None


@dataclass(frozen=True)
class CheckpointEntropy:
    """All layers of one checkpoint that were read."""

    checkpoint: str
    parameters: int
    blocks: int
    texts: int
    tokens: int
    dimensions: int
    passages: int
    conditional_entropy: Interval | None
    layers: tuple[LayerEntropy, ...]


@dataclass(frozen=True)
class Spread:
    """Shares of what all earlier tokens explain of a state: by the Lasso's `k` alone, and by all others."""

    k: int
    by_lasso: Interval
    by_others: Interval


@dataclass(frozen=True)
class LawSummary:
    """One form of the law of entropy over parameters; `refused` says why nothing was fitted."""

    form: str
    exponent: Interval | None
    r2: float | None
    aic: float | None
    aicc: float | None
    models: int
    refused: str | None


@dataclass(frozen=True)
class TextPair:
    """Two texts and how far apart their states are."""

    text_x: int
    text_y: int
    snippet_x: str
    snippet_y: str
    mean: float
    bures_wasserstein: float


@dataclass(frozen=True, repr=False)
class TokensSummary:
    """`selectors` are means of scores over positions; `k` is where sentences tell of them. Of
    `positions_asked` those were left out that have fewer than `min_context` tokens before them. `failures`
    has analysis, record and reason."""

    entropies: tuple[CheckpointEntropy, ...]
    selectors: tuple[SelectionSummary, ...]
    k: int | None
    spread: Spread | None
    positions: int
    positions_asked: int
    min_context: int
    passages: int
    left_out: tuple[str, ...]
    law: tuple[LawSummary, ...]
    nearest_texts: TextPair | None
    farthest_texts: TextPair | None
    failures: tuple[dict[str, str], ...]

    def __repr__(self) -> str:
        layers = sum(len(one.layers) for one in self.entropies)
        names = ", ".join(one.checkpoint for one in self.entropies)
        return (
            f"<TokensSummary: entropy of {count(layers, 'layer')} ({names}), "
            f"{count(self.positions, 'position')} in {count(self.passages, 'passage')}>"
        )

    def _repr_html_(self) -> str:
        parts = [html_repr.line(text) for text in tokens_words.sentences(self)]
        for title, columns, rows in tokens_words.tables(self):
            parts += [html_repr.line(title), html_repr.table(columns, rows)]
        return html_repr.block("Tokens", *parts)


def summarise_tokens(
    tables: Mapping[str, pyarrow.Table],
    failures: Mapping[str, Mapping[str, str]],
    *,
    sampled: Mapping[str, Any],
) -> TokensSummary:
    """Reduce the tables of the token analyses; `sampled` are the settings of the positions."""
    from lmscope.analyses.selection_summary import summarise_selection

    chosen = tables["selection"].drop_columns(["selected"]).to_pylist()
    ks = sorted({row["k"] for row in chosen})
    k = min(ks, key=lambda k: (abs(k - _USUAL_K), k)) if ks else None
    places = tables["positions"].select(["text", "window", "left_out"]).to_pylist()
    distances = sorted(tables["distances"].to_pylist(), key=lambda row: float(row["bures_wasserstein"]))
    return TokensSummary(
        entropies=_entropies(tables["entropy"].to_pylist()),
        selectors=tuple(summarise_selection(chosen)) if chosen else (),
        k=k,
        spread=None if k is None else _spread(chosen, k),
        positions=len(places),
        positions_asked=sampled["positions"],
        min_context=sampled["min_context"],
        passages=tables["passages"].num_rows,
        left_out=tuple(dict.fromkeys(row["left_out"] for row in places if row["left_out"])),
        law=tuple(_law(row) for row in tables["entropy_law"].to_pylist()),
        nearest_texts=_text_pair(distances[0]) if distances else None,
        farthest_texts=_text_pair(distances[-1]) if distances else None,
        failures=tuple(
            {"analysis": analysis, "name": name, "reason": reason}
            for analysis, found in failures.items()
            for name, reason in found.items()
        ),
    )


def _spread(rows: Sequence[Mapping[str, Any]], k: int) -> Spread:
    from lmscope.analyses.selection_summary import distributed_information

    found = distributed_information(rows)
    at = found.ks.index(k)

    def share(name: str) -> Interval:
        ends = (getattr(found, f"{name}_share{end}")[at] for end in ("", "_low", "_high"))
        return Interval(*map(float, ends))

    return Spread(k, share("lasso"), share("kept"))


def _interval(row: Mapping[str, Any], name: str) -> Interval | None:
    if row[name] is None:
        return None
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _entropies(rows: Iterable[Mapping[str, Any]]) -> tuple[CheckpointEntropy, ...]:
    by_checkpoint: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_checkpoint.setdefault(row["identity"], []).append(row)
    return tuple(
        CheckpointEntropy(
            checkpoint=mine[0]["checkpoint"],
            parameters=mine[0]["parameters"],
            blocks=mine[0]["layers"],
            texts=mine[0]["texts"],
            tokens=mine[0]["tokens"],
            dimensions=mine[0]["dimensions"],
            passages=mine[0]["passages"],
            conditional_entropy=_interval(mine[0], "conditional_entropy"),
            layers=tuple(
                LayerEntropy(
                    layer=row["layer"],
                    normalized=row["normalized"],
                    mean_normalized=_interval(row, "mean_normalized"),
                    iid=row["iid_normalized"],
                    cap=row["cap"],
                    untrained=row["untrained_normalized"],
                    effective_rank=row["effective_rank"],
                    diff_erank=row["diff_erank"],
                    mean_diff_erank=_interval(row, "mean_diff_erank"),
                )
                for row in mine
            ),
        )
        for mine in by_checkpoint.values()
    )


def _law(row: Mapping[str, Any]) -> LawSummary:
    return LawSummary(
        form=row["form"],
        exponent=_interval(row, "exponent"),
        r2=row["r2"],
        aic=row["aic"],
        aicc=row["aicc"],
        models=row["models"],
        refused=row["refused"],
    )


def _text_pair(row: Mapping[str, Any]) -> TextPair:
    names = ("text_x", "text_y", "snippet_x", "snippet_y", "mean", "bures_wasserstein")
    return TextPair(**{name: row[name] for name in names})
