"""Dimensions of the output embedding that a model does without: chosen, kept in a file, and applied."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.checkpoints import CheckpointError

if TYPE_CHECKING:
    import torch

    from lmscope.output_embedding.removal import RemovalPoint
    from lmscope.representations.language_model import LanguageModel
    from lmscope.representations.next_states import NextStates
    from lmscope.representations.output_head import OutputHead

__all__ = ["DimensionMask", "load_mask", "masked", "removable_set"]

_FORMAT = "lmscope dimensions 1"
_CHECKED = ("checked_js", "checked_low", "checked_high")
_MEASURED = ("share", "js", "js_low", "js_high", *_CHECKED, "limit", "fill", "identity")
_AT_ONCE = 7
"""Numbers of dimensions that are tried in one go through the text: eight pieces of a bracket."""


@dataclass(frozen=True, repr=False, eq=False)
class DimensionMask:
    """Dimensions of the states before the head that are kept, and what it costs to remove the others.

    Attributes:
        keep: bool, shape (dimensions,): False for the removed ones.
        share: of the dimensions, removed.
        js: mean Jensen-Shannon divergence, in nats, from the untouched distribution.
        js_low, js_high: its 95 % interval over windows of text; None for fewer than 8 windows.
        checked_js, checked_low, checked_high: the same of other text than the set was chosen on, by
            :meth:`checked`; None before.
        limit: the divergence that was allowed.
        fill: ``"zero"`` or ``"mean"``: what a removed dimension is set to.
        mean: float64, shape (dimensions,): those values; None for zero.
        identity: of the checkpoint whose head it is; None where unknown.
    """

    keep: npt.NDArray[np.bool_]
    share: float
    js: float
    js_low: float | None
    js_high: float | None
    limit: float
    fill: str
    mean: npt.NDArray[np.float64] | None = None
    identity: str | None = None
    checked_js: float | None = None
    checked_low: float | None = None
    checked_high: float | None = None

    @property
    def removed(self) -> int:
        """How many dimensions are removed."""
        return int((~self.keep).sum())

    def __repr__(self) -> str:
        return (
            f"DimensionMask({self.removed} of {len(self.keep)} dimensions removed, js={self.js:.4g}, "
            f"limit={self.limit:.4g})"
        )

    def _repr_html_(self) -> str:
        facts = [
            ("Jensen-Shannon divergence, nats", html_repr.number(self.js)),
            ("95 % interval from", html_repr.number(self.js_low)),
            ("to", html_repr.number(self.js_high)),
            ("on text that it was not chosen on", html_repr.number(self.checked_js)),
            ("95 % interval from", html_repr.number(self.checked_low)),
            ("to", html_repr.number(self.checked_high)),
            ("limit", html_repr.number(self.limit)),
            ("removed dimensions are", "zero" if self.fill == "zero" else "their mean"),
        ]
        return html_repr.block(
            f"{self.removed} of {len(self.keep)} dimensions removed", html_repr.facts(facts)
        )

    def checked(self, head: OutputHead, states: NextStates) -> DimensionMask:
        """This mask with its divergence on states that it was not chosen on.

        Without removed dimensions it is 0, whatever the text.

        Raises:
            ValueError: no states, or a head of other dimensions.
        """
        from lmscope.analyses.dimension_saliency import dimension_saliency
        from lmscope.output_embedding.removal import removal_curve

        if not self.removed:
            return replace(self, checked_js=0.0)
        (point,) = removal_curve(
            head,
            states,
            dimension_saliency(slope=self.keep.astype(np.float64), by="slope"),
            shares=[self.removed / len(self.keep)],
            orders=["least"],
            fill="zero" if self.fill == "zero" else "mean",
            mean=self.mean,
        )
        return replace(self, checked_js=point.js, checked_low=point.js_low, checked_high=point.js_high)

    @contextmanager
    def applied(self, model: LanguageModel) -> Iterator[None]:
        """:func:`masked` with these dimensions; ValueError for a mask of another checkpoint."""
        if None not in (self.identity, model.identity) and self.identity != model.identity:
            raise ValueError(
                f"mask: it was made for the checkpoint {self.identity}, but {model.label} is {model.identity}"
            )
        with masked(model, self.keep, mean=self.mean):
            yield

    def save(self, path: Path | str) -> None:
        """Write the mask as a safetensors file: ``keep`` (BOOL), ``mean`` (F64) where there is one, and the
        other attributes in its metadata."""
        from safetensors.numpy import save_file

        tensors: dict[str, npt.NDArray[Any]] = {"keep": self.keep}
        if self.mean is not None:
            tensors["mean"] = self.mean
        measured = {name: getattr(self, name) for name in _MEASURED}
        save_file(tensors, Path(path), metadata={"format": _FORMAT, "mask": json.dumps(measured)})


def load_mask(path: Path | str) -> DimensionMask:
    """The mask that :meth:`DimensionMask.save` wrote.

    CheckpointError for a file that is none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"the mask cannot be read: {error}", file=path) from error
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(
            "is no mask of dimensions",
            file=path,
            expected=_FORMAT,
            found=metadata.get("format") or "no format",
        )
    keep = tensors.get("keep")
    if keep is None or keep.dtype != np.bool_ or keep.ndim != 1:
        found = "none" if keep is None else f"{keep.dtype} {list(keep.shape)}"
        raise CheckpointError(
            "cannot be the mask", file=path, tensor="keep", expected="bool [dimensions]", found=found
        )
    mean = tensors.get("mean")
    if mean is not None and (mean.dtype != np.float64 or mean.shape != keep.shape):
        raise CheckpointError(
            "cannot be what removed dimensions are set to",
            file=path,
            tensor="mean",
            expected=f"float64 {list(keep.shape)}",
            found=f"{mean.dtype} {list(mean.shape)}",
        )
    try:
        measured = {name: json.loads(metadata["mask"])[name] for name in _MEASURED}
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"the mask's metadata does not say what was measured: {error}", file=path
        ) from error
    if (measured["fill"] == "mean") != (mean is not None):
        raise CheckpointError(
            f"a mask filled with {measured['fill']!r} has {'no' if mean is None else 'a'} tensor mean",
            file=path,
        )
    return DimensionMask(keep=keep, mean=mean, **measured)


def removable_set(
    points: Iterable[RemovalPoint],
    *,
    js: float = 0.01,
    refine: Callable[[Sequence[float]], Iterable[RemovalPoint]] | None = None,
    identity: str | None = None,
) -> DimensionMask:
    """The largest set of least salient dimensions whose removal moves the distribution by at most ``js``.

    The upper end of the 95 % interval must stay within the limit, for this share and for every smaller one
    that was measured; the mean, where there are too few windows for an interval.

    The share is chosen on the text of the points, so that what is measured there is no test of it: of 150
    masks chosen on 12 windows of unlike divergence (states of log-normal scale, sd 0.7) 19 exceeded the limit
    on fresh windows, and with too few windows for an interval it is more. :meth:`DimensionMask.checked`
    measures on other windows: 2 of those 150 exceeded the limit and yet had their interval on 12 more windows
    within it.

    Args:
        points: of :func:`lmscope.removal_curve`; those of other orders than ``"least"`` are passed over.
        js: limit of the Jensen-Shannon divergence, in nats.
        refine: measures the same curve at other shares, as
            ``functools.partial(removal_curve, head, states, saliency, orders=["least"])`` called with
            ``shares=`` does; the limit is then found to a single dimension. None takes the largest measured.
        identity: of the checkpoint, for the file.

    Raises:
        ValueError: no point of the order ``"least"``, points of several fills, a limit that is not above 0.
    """
    if not js > 0:
        raise ValueError(f"js: the limit must be above 0 nats, got {js}")
    known = {point.dimensions: point for point in points if point.order == "least"}
    if not known:
        raise ValueError("points: none of them removes the least salient dimensions first")
    if len({point.fill for point in known.values()}) > 1:
        raise ValueError("points: some are filled with zero and some with the mean; give one curve")
    sample = next(iter(known.values()))
    dimensions = len(sample.keep)

    def bracket() -> tuple[int, int]:
        """The most dimensions that may go, and the fewest known that may not."""
        may = 0
        for count in sorted(known):
            if _upper(known[count]) > js:
                return may, count
            may = count
        return may, dimensions + 1

    may, may_not = bracket()
    while refine is not None and may_not - may > 1:
        counts = {may + (may_not - may) * part // (_AT_ONCE + 1) for part in range(1, _AT_ONCE + 1)}
        for point in refine([count / dimensions for count in sorted(counts) if may < count < may_not]):
            known[point.dimensions] = point
        may, may_not = bracket()
    if may == 0:
        return DimensionMask(
            np.ones(dimensions, dtype=bool), 0.0, 0.0, None, None, js, sample.fill, sample.mean, identity
        )
    point = known[may]
    return DimensionMask(
        keep=point.keep,
        share=may / dimensions,
        js=point.js,
        js_low=point.js_low,
        js_high=point.js_high,
        limit=js,
        fill=point.fill,
        mean=point.mean,
        identity=identity,
    )


def _upper(point: RemovalPoint) -> float:
    return point.js if point.js_high is None else point.js_high


@contextmanager
def masked(
    model: LanguageModel, keep: npt.NDArray[np.bool_], *, mean: npt.NDArray[np.float64] | None = None
) -> Iterator[None]:
    """Within the ``with`` block the model's head reads states without the dimensions that are not kept.

    The weights are not touched: a tied embedding still gives the inputs as before.

    Args:
        model: a causal model.
        keep: bool, shape (dimensions,).
        mean: what the others are set to, shape (dimensions,); None for zero.

    Raises:
        ValueError: the model is an encoder, or its forward pass does not call its output embedding; shapes
            that do not fit.
    """
    import torch

    if model.kind != "causal":
        raise ValueError(f"model is of type {model.model_type!r}, an encoder: it has no head to mask")
    head = model.model.get_output_embeddings()
    read = head.weight.shape[1]
    for name, array in (("keep", keep), ("mean", mean)):
        if array is not None and np.shape(array) != (read,):
            raise ValueError(
                f"{name} has shape {list(np.shape(array))}, but the head of {model.label} reads {read} "
                "dimensions"
            )
    kept = torch.as_tensor(np.asarray(keep, dtype=bool), device=model.device)
    other = torch.as_tensor(np.zeros(read) if mean is None else mean, device=model.device)
    calls = 0

    def only_kept(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        nonlocal calls
        calls += 1
        return (torch.where(kept, inputs[0], other.to(inputs[0])), *inputs[1:])

    hook = head.register_forward_pre_hook(only_kept)
    try:
        model.outputs([[0]])
        if not calls:
            raise ValueError(
                f"model: {type(model.model).__name__} does not call its output embedding, so that nothing "
                "can be taken out of what it reads"
            )
        yield
    finally:
        hook.remove()
