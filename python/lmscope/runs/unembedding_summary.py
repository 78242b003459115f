"""What `unembedding` found, in a few rows: fits, steering by size of the factor, removals, courses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lmscope import html_repr
from lmscope.analyses.training_dynamics import Reached, StepsApart, reached, steps_apart
from lmscope.report.steering_rows import alone
from lmscope.report.words import count
from lmscope.runs import unembedding_words

if TYPE_CHECKING:
    import pyarrow

Row = Mapping[str, Any]

_SHARE = 0.9
"""Of the last R2, and of the drop of the loss."""


@dataclass(frozen=True)
class HeadSummary:
    """The output embedding of one checkpoint and how it reads the fitting text; `ninety`: coordinates, and
    principal components, that hold 90 % of the fit's squared contributions, None of an earlier step."""

    checkpoint: str
    series: str
    step: int | None
    vocabulary: int
    dimensions: int
    tied: bool
    positions: int
    loss: float
    logit_sd: float
    normaliser_sd: float
    ninety: tuple[int, int] | None


@dataclass(frozen=True)
class Fit:
    """A row of "encoding"; of several shuffles the mean."""

    checkpoint: str
    series: str
    step: int | None
    target: str
    scope: str
    control: str
    draws: int
    tokens: int
    r2: float | None
    adjusted_r2: float | None
    cosine: float | None
    ridge: float | None
    reason: str


@dataclass(frozen=True)
class Accuracy:
    """All edits of one way that ask for a factor of `size` or for its inverse, on one text.

    `median` and `worst` are of the distance from log realised to log factor; `covered` is the share of the
    edits whose 95 % interval over windows holds the factor, None without intervals; `others` the median
    distance from 0 of the log factor on all other tokens.
    """

    checkpoint: str
    allocation: str
    calibrated: bool
    control: str
    text: str
    size: float
    edits: int
    median: float
    worst: float
    covered: float | None
    js: float
    others: float


@dataclass(frozen=True)
class Removed:
    """A point of a removal curve; of random orders the mean over them."""

    checkpoint: str
    order: str
    share: float
    js: float
    loss: float
    baseline_loss: float
    same_top: float


@dataclass(frozen=True)
class RemovableSet:
    """A row of "mask"."""

    checkpoint: str
    fill: str
    limit: float
    windows: int
    share: float
    dimensions_removed: int
    js: float | None
    js_high: float | None
    checked_js: float | None
    checked_low: float | None
    checked_high: float | None
    other_js: float | None
    other_low: float | None
    other_high: float | None
    file: str | None


@dataclass(frozen=True)
class Generations:
    """A row of "generations", without the continuations themselves."""

    checkpoint: str
    kind: str
    share: float | None
    token: int | None
    token_text: str | None
    factor: float | None
    prompts: int
    new_tokens: int
    distinct_2: float | None
    repetition: float | None
    mauve: float | None
    mauve_reason: str
    same_tokens: float | None
    token_share: float | None
    untouched_token_share: float | None


@dataclass(frozen=True)
class Course:
    """One training: where adjusted R2 of the frequencies had come to 90 % of its last value, and the loss to
    90 % of its drop; None where there is no such value or drop, or a value is not known. The steps are
    interpolated; `apart` says what the checkpoints around them leave open."""

    series: str
    checkpoints: int
    first_step: int
    last_step: int
    r2: float | None
    r2_step: Reached | None
    loss_step: Reached | None
    apart: StepsApart | None


@dataclass(frozen=True, repr=False)
class UnembeddingSummary:
    """`together`: rows of "steering" of the saved edit of several tokens.

    `apart`: doublings of the steps from the R2's to the loss's, over `courses`; None without any.

    `failures` has analysis, record and reason; a factor that cannot be reached is one.
    """

    heads: tuple[HeadSummary, ...]
    fits: tuple[Fit, ...]
    steering: tuple[Accuracy, ...]
    together: tuple[Row, ...]
    removal: tuple[Removed, ...]
    masks: tuple[RemovableSet, ...]
    generations: tuple[Generations, ...]
    courses: tuple[Course, ...]
    apart: StepsApart | None
    failures: tuple[dict[str, str], ...]

    def __repr__(self) -> str:
        names = ", ".join(dict.fromkeys(head.checkpoint for head in self.heads))
        edits = sum(one.edits for one in self.steering if one.text == "fit" and not one.control)
        return (
            f"<UnembeddingSummary: {count(len(self.heads), 'head')} ({names}), {count(edits, 'edit')}, "
            f"{count(len(self.courses), 'training')}>"
        )

    def _repr_html_(self) -> str:
        parts = [html_repr.line(text) for text in unembedding_words.sentences(self)]
        for title, columns, rows in unembedding_words.tables(self):
            parts += [html_repr.line(title), html_repr.table(columns, rows)]
        return html_repr.block("The output embedding", *parts)


def summarise_unembedding(
    tables: Mapping[str, pyarrow.Table], failures: Mapping[str, Mapping[str, str]]
) -> UnembeddingSummary:
    """Reduce the tables; earlier steps of a training have no place but in heads, fits and courses."""
    rows = {name: list(_named(table.to_pylist())) for name, table in tables.items()}
    courses = _courses(rows["dynamics"])
    both = [(one.r2_step, one.loss_step) for one in courses]
    told = [(r2, loss) for r2, loss in both if r2 is not None and loss is not None]
    apart = steps_apart([r2 for r2, _ in told], [loss for _, loss in told]) if told else None
    kept = [
        {"analysis": analysis, "name": name, "reason": reason}
        for analysis, found in failures.items()
        for name, reason in found.items()
    ]
    return UnembeddingSummary(
        heads=tuple(_heads(rows["heads"], rows["slope"])),
        fits=tuple(_fits(rows["encoding"])),
        steering=tuple(_accuracies(alone(rows["steering"]))),
        together=tuple(row for row in rows["steering"] if row["together"]),
        removal=tuple(_removed(rows["removal"])),
        masks=tuple(_of(RemovableSet, row) for row in rows["mask"]),
        generations=tuple(_of(Generations, row) for row in rows["generations"]),
        courses=tuple(courses),
        apart=apart,
        failures=(*kept, *_unreached(rows["steering"])),
    )


def _named(rows: Sequence[Row]) -> Iterable[Row]:
    """Of several series, the checkpoints' names with those of their series: steps are called alike."""
    several = len({row["series"] for row in rows}) > 1
    for row in rows:
        alone = not several or row["series"] == row["checkpoint"]
        yield row if alone else {**row, "checkpoint": f"{row['series']}/{row['checkpoint']}"}


def _of(kind: Any, row: Row) -> Any:
    return kind(**{name: row[name] for name in kind.__dataclass_fields__})


def _heads(heads: Iterable[Row], slopes: Iterable[Row]) -> Iterable[HeadSummary]:
    ninety = {(row["identity"], row["basis"]): row["ninety"] for row in slopes}
    for row in heads:
        both = [ninety.get((row["identity"], basis)) for basis in ("coordinates", "components")]
        names = [name for name in HeadSummary.__dataclass_fields__ if name != "ninety"]
        yield HeadSummary(
            **{name: row[name] for name in names},
            ninety=None if both[0] is None or both[1] is None else (both[0], both[1]),
        )


def _fits(rows: Iterable[Row]) -> Iterable[Fit]:
    grouped: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("identity", "target", "scope", "control"))
        grouped.setdefault(key, []).append(row)
    for draws in grouped.values():
        one = draws[0]
        means: dict[str, Any] = {
            name: _mean(row[name] for row in draws) for name in ("r2", "adjusted_r2", "cosine", "ridge")
        }
        about = ("checkpoint", "series", "step", "target", "scope", "control", "tokens", "reason")
        yield Fit(**{name: one[name] for name in about}, **means, draws=len(draws))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def size_of(factor: float) -> float:
    """A factor, or its inverse where that is above 1."""
    return float(f"{math.exp(abs(math.log(factor))):.6g}")


def _accuracies(rows: Iterable[Row]) -> Iterable[Accuracy]:
    grouped: dict[tuple[Any, ...], list[Row]] = {}
    way = ("checkpoint", "allocation", "calibrated", "control", "text")
    for row in rows:
        if not row["reason"]:
            key = (*(row[name] for name in way), size_of(row["factor"]))
            grouped.setdefault(key, []).append(row)
    for key in sorted(grouped, key=lambda one: one[-1]):
        edits = grouped[key]
        errors = np.abs([row["log_error"] for row in edits])
        within = [
            row["realised_low"] <= row["factor"] <= row["realised_high"]
            for row in edits
            if row["realised_low"] is not None and row["realised_high"] is not None
        ]
        yield Accuracy(
            **{name: edits[0][name] for name in way},
            size=key[-1],
            edits=len(edits),
            median=float(np.median(errors)),
            worst=float(errors.max()),
            covered=float(np.mean(within)) if within else None,
            js=float(np.median([row["js"] for row in edits])),
            others=float(np.median(np.abs([row["others"] for row in edits]))),
        )


def _removed(rows: Iterable[Row]) -> Iterable[Removed]:
    grouped: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row["identity"], row["order"], row["share"]), []).append(row)
    for draws in grouped.values():
        means: dict[str, Any] = {
            name: float(np.mean([row[name] for row in draws]))
            for name in ("js", "loss", "baseline_loss", "same_top")
        }
        yield Removed(**{name: draws[0][name] for name in ("checkpoint", "order", "share")}, **means)


def _courses(rows: Iterable[Row]) -> list[Course]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["series"], []).append(row)
    return [_course(name, of) for name, of in grouped.items() if all(row["step"] is not None for row in of)]


def _course(series: str, rows: Sequence[Row]) -> Course:
    rows = sorted(rows, key=lambda row: int(row["step"]))
    steps = [int(row["step"]) for row in rows]
    r2_step = _reached(steps, [row["frequency_adjusted_r2"] for row in rows], "last")
    loss_step = _reached(steps, [row["loss"] for row in rows], "way")
    return Course(
        series=series,
        checkpoints=len(rows),
        first_step=steps[0],
        last_step=steps[-1],
        r2=rows[-1]["frequency_adjusted_r2"],
        r2_step=r2_step,
        loss_step=loss_step,
        apart=None if r2_step is None or loss_step is None else steps_apart([r2_step], [loss_step]),
    )


def _reached(
    steps: Sequence[int], values: Sequence[float | None], of: Literal["way", "last"]
) -> Reached | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values) or len(steps) < 2 or len(set(steps)) < len(steps):
        return None
    return reached(steps, known, _SHARE, of=of)


def _unreached(rows: Iterable[Row]) -> Iterable[dict[str, str]]:
    """Factors that cannot be reached, each once whatever the ways that it was tried in."""
    found: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in rows:
        if row["reason"]:
            name = f"{row['checkpoint']}, {row['token_text']!r} ({row['token']}), {row['factor']:g} times"
            found.setdefault(
                (row["identity"], row["token"], row["factor"]),
                {"analysis": "steering", "name": name, "reason": row["reason"]},
            )
    return found.values()
