"""Windows with some of their tokens masked, drawn once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.windows import Window, window_size

__all__ = ["MaskedWindow", "mask_token", "masked", "short_window"]

_SHARE = 0.15
# Short, so that an evaluation has many windows, which its interval is over.
_WINDOW = 128

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MaskedWindow:
    """A window whose tokens at ``places`` are masked, and which tokens they were: int64, ascending places."""

    window: Window
    places: Integers
    targets: Integers


def short_window(model: LanguageModel, window: int | None) -> int:
    """As :func:`lmscope.representations.windows.window_size`, with 128 tokens where not given."""
    return min(_WINDOW, window_size(model, None)) if window is None else window_size(model, window)


def mask_token(model: LanguageModel, measure: str) -> int:
    """Its id; ValueError where the tokenizer has none."""
    token = model.tokenizer.mask_token_id
    if token is None:
        raise ValueError(
            f"{measure}: the tokenizer of {model.label} has no mask token; embedding and retrieval need none"
        )
    return int(token)


def masked(
    windows: Iterable[Window], token: int, seed: int, among: Integers | None = None, draw: int = 0
) -> Iterator[MaskedWindow]:
    """15 % of each window's own tokens, at least one, replaced by the mask token ``token``.

    The seed, the window's text and number and ``draw`` decide which, whatever other windows there are. With
    ``among``, only such tokens are masked, fewer than 15 % where there are not as many. A window without
    a token to mask is left out.
    """
    for window in windows:
        ids = np.asarray(window.ids, dtype=np.int64)
        own = np.flatnonzero(~window.special)
        eligible = own if among is None else own[np.isin(ids[own], among)]
        count = min(len(eligible), max(1, round(_SHARE * len(own))))
        if not count:
            continue
        generator = np.random.default_rng([seed, window.text, window.window, draw])
        places = np.sort(generator.choice(eligible, count, replace=False))
        hidden = ids.copy()
        hidden[places] = token
        yield MaskedWindow(replace(window, ids=hidden.tolist()), places, ids[places])
