"""Windows of labelled texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.budget import Reading, spread
from lmscope.representations.windows import Window, encode

__all__ = ["commonest_share", "first_windows", "spread_labels"]

Integers = npt.NDArray[np.int64]


def first_windows(model: LanguageModel, texts: Sequence[str], size: int) -> list[Window]:
    """The beginning of each text, as far as ``size`` tokens reach."""
    encoded = (encode(model, text, number) for number, text in enumerate(texts))
    return [one.window(0, 1, 0, size - one.around) for one in encoded]


def spread_labels(
    places: Integers, windows: Sequence[Window], labels: Integers, reading: Reading, times: int = 1
) -> Integers:
    """Of ``places``, as many as ``times`` the reading's tokens allow, each label in its share; ascending."""
    by_label = places[np.lexsort((places, labels[places]))].tolist()
    chosen = spread(by_label, [len(windows[place].ids) for place in by_label], reading, times)
    return np.array(sorted(chosen), dtype=np.int64)


def commonest_share(labels: Integers) -> float:
    """Of the labels, that of the most frequent one."""
    return float(np.bincount(labels).max() / len(labels))
