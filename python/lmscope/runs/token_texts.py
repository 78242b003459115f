"""Distances between texts, from the last layer's states of their tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lmscope.runs.cost import forward_seconds
from lmscope.runs.progress import Reporter
from lmscope.runs.reading import Reading, snippet
from lmscope.runs.record_store import RecordStore
from lmscope.runs.streaming import reason_of
from lmscope.runs.token_settings import MOST_DISTANCE_TEXTS, MOST_DISTANCE_TOKENS, TokenSettings

if TYPE_CHECKING:
    from lmscope.representations.windows import Window


def write_distances(
    store: RecordStore, reading: Reading, settings: TokenSettings, reporter: Callable[[], Reporter]
) -> None:
    """Write the missing records of the first texts, one for each of them with all that follow it.

    The states of all of them are held: of each the windows up to `MOST_DISTANCE_TOKENS` tokens.
    """
    from lmscope.analyses.text_distances import text_distances

    texts = range(min(len(reading.texts), MOST_DISTANCE_TEXTS))
    names = {x: f"text {x}" for x in texts[:-1]}
    missing = [x for x in names if not store.has("distances", names[x])]
    if not missing:
        return
    windows = _beginnings(reading.windows, len(texts))
    failed: dict[str, str] = {}
    with reporter() as tell:
        seconds = sum(forward_seconds(reading.model, len(window.ids)) for window in windows)
        tell.start(matrices=len(windows), total_bytes=0, seconds=seconds, noun="windows for distances")
        states = _states(reading, windows, settings, tell)
        for x in missing:
            rows: list[dict[str, Any]] = []
            try:
                for y in texts[x + 1 :]:
                    found = text_distances(
                        _known(states[x]),
                        _known(states[y]),
                        epsilon2=settings.epsilon2,
                        normalize_rows=settings.normalize_rows,
                    )
                    rows.append(
                        {
                            "text_x": x,
                            "text_y": y,
                            "snippet_x": snippet(reading.texts[x]),
                            "snippet_y": snippet(reading.texts[y]),
                            "mean": found.mean,
                            "frobenius": found.frobenius,
                            "bures_wasserstein": found.bures_wasserstein,
                            "log_det": found.log_det,
                        }
                    )
            except ValueError as error:
                failed[names[x]] = reason_of(error)
            else:
                store.write("distances", names[x], rows)
    store.settle("distances", [names[x] for x in missing], failed)


def _beginnings(windows: Sequence[Window], texts: int) -> list[Window]:
    """The first windows of the first texts, at least one of each."""
    return [
        window
        for window in windows
        if window.text < texts
        and (window.window == 0 or window.start + len(window.ids) <= MOST_DISTANCE_TOKENS)
    ]


def _states(
    reading: Reading, windows: Sequence[Window], settings: TokenSettings, reporter: Reporter
) -> dict[int, Any]:
    """By text tokens x dimensions, or what is wrong with it."""
    import torch

    from lmscope.representations.passages import capture_windows

    model = reading.model
    parts: dict[int, list[Any]] = {}
    problems: dict[int, str] = {}
    passages = capture_windows(
        model,
        windows,
        special_tokens="drop" if settings.special == "drop" else "keep",
        nonfinite="keep",
    )
    text = f"{reading.label}, distances of texts"
    for window in windows:
        reporter.begin(text, seconds=forward_seconds(model, len(window.ids)))
        passage = next(passages)
        # A copy: what is captured is a view of the whole batch.
        parts.setdefault(passage.text, []).append(passage.states[model.depth].cpu().clone())
        if passage.problems:
            problems[passage.text] = passage.problems[model.depth]
        reporter.finish(text, read_bytes=0)
    return {number: problems.get(number) or torch.cat(found) for number, found in parts.items()}


def _known(states: Any) -> Any:
    if isinstance(states, str):
        raise ValueError(states)
    return states
