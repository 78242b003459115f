"""A model's own head on hidden states that are at hand, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    import torch

    from lmscope.representations.language_model import LanguageModel

__all__ = ["check_head", "head_rounding", "log_probabilities", "logits", "losses"]

_LOGITS_BYTES = 32 << 20
_ROW_BYTES = 16 << 20
# Rounding of logits, as a share of the largest.
_ROUNDING = {"torch.float64": 1e-9, "torch.float32": 1e-4}
_COARSE_ROUNDING = 0.05
# Models whose head gave their logits.
_parted: WeakSet[LanguageModel] = WeakSet()


def check_head(model: LanguageModel) -> None:
    """ValueError where the head on the body's states does not give the model's own logits; looked at once."""
    import torch

    if model in _parted:
        return
    with torch.inference_mode():
        rows = [model.some_ids(4)]
        own = model.outputs(rows).logits[0].double()
        states = model.forward(rows).last_hidden_state[0]
        made = torch.cat([block for _, block in logits(model, states)])
        difference = float((made.double() - own).abs().max() / own.abs().max().clamp_min(1e-300))
    if difference > head_rounding(model.dtype):
        raise ValueError(
            f"models of type {model.model_type!r} do not keep head and body apart: the head of "
            f"{type(model.model).__name__} on the states of its {type(model.base).__name__} gives "
            f"logits that differ from the model's own by {difference:.2g} of the largest"
        )
    _parted.add(model)


def head_rounding(dtype: torch.dtype) -> float:
    """How far logits of a model in ``dtype`` may differ by rounding, as a share of the largest."""
    return _ROUNDING.get(str(dtype), _COARSE_ROUNDING)


def logits(model: LanguageModel, states: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """The model's own head on rows of hidden states, a block of rows at a time: (first row, logits).

    The head is the model's whole forward pass but for the body: with the scaling and capping that some have.
    """
    vocabulary = model.model.get_output_embeddings().weight.shape[0]
    block = max(1, _LOGITS_BYTES // (4 * vocabulary))
    given = model.forward([[0]])
    for start in range(0, len(states), block):
        given.last_hidden_state = states[None, start : start + block]
        with _body_gives(model, given):
            made = model.outputs([[0]]).logits[0]
        yield start, made.float() if made.itemsize < 4 else made


def log_probabilities(model: LanguageModel, states: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Log-probabilities of tokens in float64 from rows of hidden states: (first row, rows x vocabulary)."""
    for start, block in logits(model, states):
        rows = max(1, _ROW_BYTES // (8 * block.shape[1]))
        for first in range(0, len(block), rows):
            wide = block[first : first + rows].double()
            normaliser = wide.logsumexp(1, keepdim=True)
            if not normaliser.isfinite().all():
                row = start + first + int((~normaliser[:, 0].isfinite()).nonzero()[0, 0])
                raise ValueError(f"the model's logits are not finite at row {row}")
            yield start + first, wide - normaliser


def losses(model: LanguageModel, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Minus the log-probability of each of ``tokens`` given its row of ``states``: float64, in nats."""
    import torch

    found = [states.new_zeros(0, dtype=torch.float64)]
    for start, block in log_probabilities(model, states):
        wanted = tokens[start : start + len(block), None]
        found.append(-block.gather(1, wanted)[:, 0])
    return torch.cat(found)


@contextmanager
def _body_gives(model: LanguageModel, output: Any) -> Iterator[None]:
    """Inside, the model's body returns ``output`` for any input, so that the model is its head alone."""
    body = model.base
    # An instance may carry a forward of its own, as accelerate's hooks set one.
    before = body.__dict__.get("forward")
    calls = 0

    def forward(*_: Any, **__: Any) -> Any:
        nonlocal calls
        calls += 1
        return output

    body.forward = forward
    try:
        yield
    finally:
        if before is None:
            del body.forward
        else:
            body.forward = before
    if not calls:
        raise ValueError(
            f"models of type {model.model_type!r} do not keep head and body apart: "
            f"{type(model.model).__name__} never called its {type(body).__name__}"
        )
