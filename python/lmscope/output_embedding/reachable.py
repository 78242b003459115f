"""Tokens and factors that can be asked for."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmscope.output_embedding.steering_error import SteeringError

if TYPE_CHECKING:
    from lmscope.representations.language_model import LanguageModel
    from lmscope.representations.output_head import OutputHead

__all__ = ["check_factor", "check_together", "check_tokens", "factor_of", "token_id"]

Floats = npt.NDArray[np.float64]

# Log of the least mean probability; float64 loses digits from exp(-708) down.
_LEAST = -690.0


def token_id(model: LanguageModel | None, token: int | str) -> int:
    """The id of a token that is given as an id, or as a text that is one token.

    Raises:
        SteeringError: a text that is none or several tokens, which are named, or that comes without a model.
        TypeError: neither an id nor a text.
    """
    if not isinstance(token, str):
        try:
            return operator.index(token)
        except TypeError:
            raise TypeError(f"a token must be an id or a text, got {token!r}") from None
    if model is None:
        raise SteeringError(f"token {token!r}: a text needs a model's tokenizer; give its id beside a head")
    ids = model.tokenizer(token, add_special_tokens=False)["input_ids"]
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    if len(ids) == 1 and (ids[0] != unknown or token == model.tokenizer.unk_token):
        return int(ids[0])
    if not ids or unknown in ids:
        raise SteeringError(f"token {token!r} is unknown to the tokenizer of {model.label}")
    parts = ", ".join(
        f"{text!r} ({number})" for text, number in zip(model.token_strings(ids), ids, strict=True)
    )
    raise SteeringError(f"token {token!r} is {len(ids)} tokens of {model.label}: {parts}; steer one of these")


def check_tokens(head: OutputHead, tokens: Iterable[int]) -> npt.NDArray[np.int64]:
    """As an array; SteeringError for none, one twice, and ids that the head has no row for."""
    chosen = [operator.index(token) for token in tokens]
    if not chosen:
        raise SteeringError("no token is given")
    seen: set[int] = set()
    for token in chosen:
        if not 0 <= token < head.vocabulary:
            raise SteeringError(f"token {token}: the head has rows for tokens 0 to {head.vocabulary - 1}")
        if token in seen:
            raise SteeringError(f"token {token} is given twice: give one factor for it")
        seen.add(token)
    return np.array(chosen, dtype=np.int64)


def factor_of(token: int, given: float) -> float:
    """SteeringError for what is no number above 0."""
    try:
        factor = float(given)
    except OverflowError:
        raise SteeringError(f"token {token}: a factor of more than 1e308 is too large") from None
    except (TypeError, ValueError):
        raise SteeringError(f"token {token}: a factor must be a number, got {given!r}") from None
    if not (math.isfinite(factor) and factor > 0):
        raise SteeringError(f"token {token}: a factor must be above 0 and finite, got {factor:g}")
    return factor


def check_factor(token: int, factor: float, log_probability: float) -> None:
    """SteeringError for a factor that no edit of the row can give a token of this log mean probability."""
    if not log_probability >= _LEAST:
        raise SteeringError(
            f"token {token}: its mean probability on the fitting text is exp({log_probability:.6g}), below "
            f"exp({_LEAST:g}), the least that can be steered in float64"
        )
    mean = math.exp(log_probability)
    if factor * mean >= 1:
        along = factor / (1 + (factor - 1) * mean)
        raise SteeringError(
            f"token {token}: {factor:g} times its mean probability, {mean:.4g}, is {factor * mean:.4g}, but "
            f"a probability cannot pass 1: factors below {1 / mean:.4g} can be asked for (saturation: a "
            f"logit raised by log({factor:g}) where the probability is {mean:.4g} gives {along:.4g})"
        )


def check_together(wanted: Mapping[int, float], vocabulary: int) -> None:
    """SteeringError where the mean probabilities that are wanted (by token) add up to 1 or more.

    And where every token of the vocabulary is given one: none would be left to make them add up to 1.
    """
    if len(wanted) == vocabulary:
        raise SteeringError(
            f"all {vocabulary} tokens are given a factor, but their probabilities must add up to 1: leave "
            "out one at least, which takes what the others leave"
        )
    total = sum(wanted.values())
    if total >= 1:
        largest = max(wanted, key=lambda token: wanted[token])
        raise SteeringError(
            f"the mean probabilities asked for of {len(wanted)} tokens add up to {total:.4g}, but they "
            f"cannot pass 1 together: ask for smaller factors; token {largest} has most, "
            f"{wanted[largest]:.4g}"
        )
