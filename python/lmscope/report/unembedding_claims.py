"""What terminal and page both say of an `unembedding` run, in the same words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lmscope.report.words import count, number

AS_WELL = 0.9
"""Of the fit's adjusted R²: from here on the untrained model is said to fit nearly as well."""

FREQUENCY_TEXT = "the whole text, with the part that is held out where that is cut from it"
"""Unless another is given."""

UNTRAINED_NULL = (
    "For the mean probability the untrained model is no null: its own probabilities are nearly linear in its "
    "rows too. Shuffled rows are. For frequency it is one."
)


def untrained_claim(fit: float | None, untrained: float | None) -> str:
    """Of adjusted R² of the mean probabilities; empty where the untrained model fits clearly worse."""
    if fit is None or untrained is None or untrained < AS_WELL * fit or fit <= 0:
        return ""
    nearly = "" if untrained >= fit else "nearly "
    return (
        f"The untrained model fits {nearly}as well ({number(untrained)}): its own probabilities are nearly "
        "linear in its rows too. Shuffled rows are the null; a good fit alone is no sign of training."
    )


def steps_claim(series: str, checkpoints: Sequence[str]) -> str:
    """Which checkpoints the training `series` has; their names may hold its own."""
    first, last = (checkpoints[at].removeprefix(f"{series}/") for at in (0, -1))
    return f"{count(len(checkpoints), 'checkpoint')}, {first} to {last}; tables are of the last"


def lone_steps_claim(heads: Iterable[tuple[str, int | None]]) -> str:
    """Of each checkpoint's series and step; empty unless two with steps are each a series of its own."""
    known = list(heads)
    named = [name for name, _ in known]
    steps = {step for name, step in known if step is not None and named.count(name) == 1}
    if len(steps) < 2:
        return ""
    return (
        f"{len(steps)} training steps were given one by one: each is looked at by itself, and nothing is "
        "said of dynamics. Give the folder that holds them instead, as one argument."
    )
