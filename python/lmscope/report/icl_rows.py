"""What the experiments of `icl` recorded: choices of their dimensions, and bands over seeds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

from lmscope.report.figures import Variant, without_chart
from lmscope.report.records import Row
from lmscope.report.words import as_html, count, number

CONFIDENCE = 0.95
_MOST_REASONS = 3
BANDS = "Bands are 95 % intervals of the mean over seeds (Student's); without one there is a single seed"
LOG_BANDS = (
    "Lines are geometric means over seeds, bands 95 % intervals (Student's, of the logarithm); without one "
    "there is a single seed"
)

LABELS: Mapping[str, str] = {
    "dimension": "Dimension D",
    "prompt_length": "Prompt length N",
    "tasks": "Tasks P",
    "regularization": "Regularization λ₀",
    "inverse_temperature": "Inverse temperature β",
    "seed": "Seed",
}
"""Column of the settings -> what its choice is called."""
LOSSES = frozenset(("loss", "ground_loss", "loss_seen", "loss_unseen", "loss_isotropic", "training_loss"))
"""Columns that hold a mean squared error."""
GEOMETRIC = LOSSES | {
    "divergence",
    "divergence_null",
    "spread",
    "distance_w11",
    "distance_w21",
    "cross_task_w11",
    "cross_task_w21",
}
"""Columns whose mean over seeds is the geometric one: never negative, and seeds may lie decades apart."""
_IN_KEYS: Mapping[str, str] = {
    "dimension": "D",
    "prompt_length": "N",
    "tasks": "P",
    "regularization": "lambda",
    "inverse_temperature": "beta",
}
SIGNS: Mapping[str, str] = {
    "dimension": "D",
    "prompt_length": "N",
    "tasks": "P",
    "regularization": "λ₀",
    "inverse_temperature": "β",
    "seed": "seed",
}


@dataclass(frozen=True)
class Choice:
    """One part of a figure's states: a column of the settings, or what the chart shows.

    ``options`` are key -> what it is called, ``values`` key -> value in the records.
    """

    column: str
    label: str
    options: Mapping[str, str]
    values: Mapping[str, Any]


def choice_of(rows: Iterable[Row], column: str) -> Choice:
    """The column's values, from small to large, under keys that say them."""
    values = {value_key(column, value): value for value in sorted({row[column] for row in rows})}
    options = {key: number(value, 4) for key, value in values.items()}
    return Choice(column, LABELS.get(column, column), options, values)


def value_key(column: str, value: float) -> str:
    """Of a state's key: ``P336``, ``lambda0.001``; the same whatever other values there are."""
    short = f"{value:g}"
    return f"{_IN_KEYS.get(column, column)}{short if float(short) == value else value}"


def choices_of(rows: Sequence[Row], columns: Iterable[str], *views: Choice) -> list[Choice]:
    """Views first, then the columns, in this order however many options each has: keys stay as they are."""
    return [*views, *(choice_of(rows, column) for column in columns)]


def view_choice(column: str, label: str, options: Mapping[str, str]) -> Choice:
    """What a chart shows; its keys are its values."""
    return Choice(column, label, options, {key: key for key in options})


def states_of(choices: Sequence[Choice]) -> dict[str, str]:
    """Every combination: key (parts joined by colons) -> name."""
    return {
        ":".join(keys): ", ".join(_named(one, key) for one, key in zip(choices, keys, strict=True))
        for keys in product(*(one.options for one in choices))
    }


def _named(choice: Choice, key: str) -> str:
    sign = SIGNS.get(choice.column)
    return f"{sign} = {choice.options[key]}" if sign else choice.options[key]


def chosen(choices: Sequence[Choice], key: str) -> dict[str, Any]:
    """Column -> value of a state's key."""
    return {one.column: one.values[part] for one, part in zip(choices, key.split(":"), strict=True)}


def key_of(choices: Sequence[Choice], settings: Mapping[str, Any]) -> str:
    """The key of the state that `chosen` gives these settings for; others among them are passed over."""
    return ":".join(
        next(key for key, value in one.values.items() if value == settings[one.column]) for one in choices
    )


def opening(choices: Sequence[Choice], *last: str) -> str:
    """The key of the state that a page opens with: the first option of every choice, the last one of the
    columns named."""
    return ":".join(list(one.options)[-1 if one.column in last else 0] for one in choices)


def at_settings(rows: Iterable[Row], settings: Mapping[str, Any]) -> list[Row]:
    """Rows that hold these values; names that are no columns of theirs, such as of views, are passed over."""
    return [row for row in rows if all(row.get(name, value) == value for name, value in settings.items())]


def fixed_words(choices: Sequence[Choice]) -> str:
    """What there is no choice of: ``D = 20, λ₀ = 0.01``; empty where there is nothing such."""
    fixed = [one for one in choices if len(one.options) == 1 and one.column in SIGNS]
    return ", ".join(_named(one, key) for one in fixed for key in one.options)


def reasons(rows: Iterable[Row]) -> str:
    """Why there are no numbers: the most frequent reasons; empty where there are all."""
    told = Counter(row["reason"] for row in rows if row["reason"])
    words = [
        f"{count(times, 'row')} without a number: {one}" for one, times in told.most_common(_MOST_REASONS)
    ]
    more = [f"{count(len(told) - len(words), 'further reason')}"] if len(told) > len(words) else []
    return "; ".join([*words, *more])


def not_at_rest(what: str, rows: Iterable[Row]) -> str:
    """How many runs stopped before they came to rest; empty where none did."""
    known = [row["converged"] for row in rows if row["converged"] is not None]
    left = known.count(False)
    return f"{what} had not come to rest in {number(left)} of {count(len(known), 'run')}" if left else ""


@dataclass(frozen=True)
class Band:
    """Mean over seeds and its Student interval; no ends where there is one seed."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


def band(values: Sequence[float], *, logarithmic: bool = False) -> Band:
    """Of at least one value; ``logarithmic``: of values that are not negative, the geometric mean and the
    interval of the logarithm; with a 0 among them that mean is 0, and there is no interval."""
    if logarithmic and not all(values):
        return Band(0.0, None, None, len(values))
    if logarithmic:
        logs = band([math.log(value) for value in values])
        low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
        return Band(math.exp(logs.mean), low, high, logs.seeds)
    mean, seeds = fmean(values), len(values)
    if seeds < 2:
        return Band(mean, None, None, seeds)
    reach = float(stdtrit(seeds - 1, (1 + CONFIDENCE) / 2)) * stdev(values) / math.sqrt(seeds)
    return Band(mean, mean - reach, mean + reach, seeds)


@dataclass(frozen=True)
class Point:
    """The band of one quantity at one place of the x axis, and the rows behind it."""

    x: float
    band: Band
    rows: Sequence[Row]


def band_of(rows: Iterable[Row], column: str) -> Band | None:
    """Over the rows that have the number: the geometric mean of the columns `GEOMETRIC`."""
    values = [row[column] for row in rows if row[column] is not None]
    return band(values, logarithmic=column in GEOMETRIC) if values else None


def points_of(rows: Iterable[Row], x: str, y: str, *, logarithmic: bool | None = None) -> list[Point]:
    """One point per value of the column ``x``, from left to right, of the rows that have a ``y`` (for a
    geometric mean a positive one); ``logarithmic``: as of `band`, by default of the columns `GEOMETRIC`."""
    logarithmic = y in GEOMETRIC if logarithmic is None else logarithmic
    at: dict[float, list[Row]] = defaultdict(list)
    for row in rows:
        if row[y] is not None and (row[y] > 0 or not logarithmic):
            at[row[x]].append(row)
    return [
        Point(place, band([row[y] for row in at[place]], logarithmic=logarithmic), at[place])
        for place in sorted(at)
    ]


def band_words(found: Band) -> str:
    if found.low is None or found.high is None:
        return f"{number(found.mean, 4)}, one seed"
    ends = f"95 % {number(found.low)} to {number(found.high)}"
    return f"{number(found.mean, 4)} ({ends}, {count(found.seeds, 'seed')})"


def line_traces(
    name: str, colour: str, *, dash: str = "solid", symbol: str = "circle"
) -> list[dict[str, Any]]:
    """Three traces of a figure's base: lower and upper edge of the band, and the line; `line_data` fills
    them."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    edge = {
        "type": "scatter",
        "mode": "lines",
        "line": {"width": 0, "color": colour},
        "showlegend": False,
        "hoverinfo": "skip",
    }
    return [
        edge,
        {**edge, "fill": "tonexty", "fillcolor": f"rgba({red},{green},{blue},0.2)"},
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "line": {"color": colour, "width": 2, "dash": dash},
            "marker": {"symbol": symbol, "size": 6},
            "cliponaxis": False,
            "hoverinfo": "text",
        },
    ]


def line_data(points: Sequence[Point], hover: Callable[[Point], str]) -> list[dict[str, Any]]:
    """What fills `line_traces`; invisible where there is nothing."""
    known = [one for one in points if one.band.low is not None]
    ends = [
        {
            "x": [one.x for one in known],
            "y": [getattr(one.band, end) for one in known],
            "visible": len(known) > 1,
        }
        for end in ("low", "high")
    ]
    line = {
        "x": [one.x for one in points],
        "y": [one.band.mean for one in points],
        "hovertext": [hover(one) for one in points],
        "visible": bool(points),
    }
    return [*ends, line]


LINE_COLUMNS: list[str | dict[str, Any]] = ["line", "x", "mean", "low", "high", "seeds"]
"""Of the data of lines: `line_part` fills them. The first is the line's name; name the second by its axis."""


def line_part(name: str, points: Sequence[Point]) -> list[Any]:
    return [
        name,
        [one.x for one in points],
        [one.band.mean for one in points],
        [one.band.low for one in points],
        [one.band.high for one in points],
        [one.band.seeds for one in points],
    ]


def fixed_note(choices: Sequence[Choice]) -> str:
    """A sentence of `fixed_words`; empty where there is a choice of everything."""
    words = fixed_words(choices)
    return f"Everything here is at {words}." if words else ""


def nothing_there(label: str, rows: Sequence[Row], traces: int) -> Variant:
    """In place of a chart without a number: why."""
    why = reasons(rows) or "no record of these settings"
    return without_chart(label, f"<p>{as_html(why[0].upper() + why[1:])}.</p>", traces)
