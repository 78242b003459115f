"""What the next-token distribution loses with dimensions of the output embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.dimension_saliency import DimensionSaliency
from lmscope.analyses.lesion_impact import impact_of
from lmscope.output_embedding.removal_effects import removal_effects
from lmscope.representations.measures import Scores

if TYPE_CHECKING:
    from lmscope.representations.next_states import NextStates
    from lmscope.representations.output_head import OutputHead

__all__ = ["DEFAULT_SHARES", "RemovalPoint", "removal_curve"]

Floats = npt.NDArray[np.float64]

DEFAULT_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
_ORDERS = ("least", "most", "random")


@dataclass(frozen=True, repr=False, eq=False)
class RemovalPoint:
    """The head without a share of its dimensions, against the untouched one; means over positions, in nats.

    Attributes:
        order: ``"least"`` or ``"most"`` salient dimensions removed first, or ``"random"`` ones.
        draw: of the random order; 0 for the others.
        share: of the dimensions removed, as asked for.
        dimensions: removed.
        fill: what a removed dimension of the states is set to: ``"zero"``, as if the embedding's column were
            zero, or ``"mean"``.
        js: Jensen-Shannon divergence of the two distributions, at most log 2.
        js_low, js_high: 95 % interval of ``js`` over windows of text, taken as independent; None for fewer
            than 8 windows.
        kl: Kullback-Leibler divergence, the untouched distribution in front.
        loss, baseline_loss: of the text's next tokens, without the dimensions and with all.
        same_top: share of the positions whose most probable token is the same (or as probable as another).
        positions: how many.
        keep: bool, shape (dimensions of the states,): False for the removed ones.
        mean: float64, shape (dimensions of the states,): what removed dimensions are set to; None for zero.
    """

    order: str
    draw: int
    share: float
    dimensions: int
    fill: str
    js: float
    js_low: float | None
    js_high: float | None
    kl: float
    loss: float
    baseline_loss: float
    same_top: float
    positions: int
    keep: npt.NDArray[np.bool_]
    mean: npt.NDArray[np.float64] | None

    def __repr__(self) -> str:
        return (
            f"RemovalPoint({self.order}, {self.dimensions} of {len(self.keep)} dimensions, js={self.js:.4g}, "
            f"loss={self.loss:.4g} (untouched {self.baseline_loss:.4g}))"
        )

    def _repr_html_(self) -> str:
        facts = [
            ("Jensen-Shannon divergence, nats", html_repr.number(self.js)),
            ("95 % interval from", html_repr.number(self.js_low)),
            ("to", html_repr.number(self.js_high)),
            ("Kullback-Leibler divergence, nats", html_repr.number(self.kl)),
            ("loss", html_repr.number(self.loss)),
            ("loss untouched", html_repr.number(self.baseline_loss)),
            ("same most probable token", html_repr.number(self.same_top)),
            ("positions", self.positions),
        ]
        return html_repr.block(
            f"{self.dimensions} of {len(self.keep)} dimensions removed, {self.order}", html_repr.facts(facts)
        )


def removal_curve(
    head: OutputHead,
    states: NextStates,
    saliency: DimensionSaliency,
    *,
    shares: Sequence[float] = DEFAULT_SHARES,
    orders: Sequence[Literal["least", "most", "random"]] = ("least", "most", "random"),
    draws: int = 3,
    fill: Literal["zero", "mean"] = "zero",
    mean: Any = None,
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
) -> Iterator[RemovalPoint]:
    """Divergence, loss and agreement against the share of dimensions removed, for several orders of removal.

    Every point is measured on the same positions, against the untouched head's distribution there. All
    orders are gone through together, so that points come once the last position is done, order by order and
    with growing shares. Memory beside the arguments: 128 MiB and a little for float32 scores (see
    ``removal_effects``), and 25 bytes for each position and removal.

    Args:
        head: of the model, e.g. of :func:`lmscope.output_head`.
        states: what the head reads, with the next tokens, e.g. of held-out text.
        saliency: of the head's dimensions; decides ``"least"`` and ``"most"``.
        shares: of the dimensions, above 0 and at most 1; the nearest number of dimensions is removed, at
            least 1 and another one for each share.
        orders: any of ``"least"``, ``"most"`` and ``"random"``.
        draws: random orders; the dimensions of a smaller share are among those of a larger one.
        fill: ``"zero"``: removed dimensions are 0; ``"mean"``: they have one value at all positions.
        mean: those values, shape (dimensions,), e.g. the mean state of the fitting text; None takes the mean
            of ``states``.
        seed: of the random orders.
        advance: called with numbers of positions, each position once for each point.

    Raises:
        ValueError: no states, a saliency or mean of other dimensions than the head, shares, orders or draws
            as they may not be, scores that are not finite.
    """
    dimensions = head.weight.shape[1]
    counts = _counts(shares, dimensions)
    values = _fill_values(states, dimensions, fill, mean)
    if len(saliency.order) != dimensions:
        raise ValueError(
            f"saliency: of {len(saliency.order)} dimensions, but the head reads {dimensions}: it is "
            "another model's"
        )
    named = list(_orders(orders, draws, seed, saliency))
    return _points(head, states, counts, named, values, fill, advance)


def _points(
    head: OutputHead,
    states: NextStates,
    counts: dict[float, int],
    named: list[tuple[str, int, npt.NDArray[np.int64]]],
    values: Floats,
    fill: str,
    advance: Callable[[int], None] | None,
) -> Iterator[RemovalPoint]:
    stops = list(counts.values())
    chains = [np.split(order[: stops[-1]], stops[:-1]) for _, _, order in named]
    effects = removal_effects(head, states.states, states.targets, chains, values, advance=advance)
    removal = 0
    for order, draw, ranked in named:
        for share, count in counts.items():
            keep = np.ones(len(ranked), dtype=bool)
            keep[ranked[:count]] = False
            js, low, high = _interval(effects.js[removal], states.unit)
            yield RemovalPoint(
                order=order,
                draw=draw,
                share=share,
                dimensions=count,
                fill=fill,
                js=js,
                js_low=low,
                js_high=high,
                kl=float(effects.kl[removal].mean()),
                loss=float(effects.loss[removal].mean()),
                baseline_loss=float(effects.baseline_loss.mean()),
                same_top=float(effects.same_top[removal].mean()),
                positions=effects.js.shape[1],
                keep=keep,
                mean=values if fill == "mean" else None,
            )
            removal += 1


def _interval(values: Floats, unit: npt.NDArray[np.int64]) -> tuple[float, float | None, float | None]:
    """Mean over positions, and the ends of its interval over units; a divergence is not below 0."""
    _, which, positions = np.unique(unit, return_inverse=True, return_counts=True)
    weights = positions.astype(np.float64)
    means = np.bincount(which, values) / weights
    impact = impact_of(Scores(np.zeros_like(means), weights), Scores(means, weights), harm=1)
    low = None if impact.low is None else max(0.0, impact.low)
    return impact.impact, low, impact.high


def _counts(shares: Sequence[float], dimensions: int) -> dict[float, int]:
    """Dimensions of each share, ascending."""
    wanted = sorted(float(share) for share in shares)
    if not wanted:
        raise ValueError("shares: give at least one share of the dimensions to remove")
    for share in wanted:
        if not 0 < share <= 1:
            raise ValueError(f"shares: {share} is not above 0 and at most 1")
    counts = {share: round(share * dimensions) for share in wanted}
    by_count: dict[int, float] = {}
    for share, count in counts.items():
        if not count:
            raise ValueError(
                f"shares: {share} of {dimensions} dimensions rounds to none; one is {1 / dimensions:.4g}"
            )
        if count in by_count:
            raise ValueError(
                f"shares: {by_count[count]} and {share} of {dimensions} dimensions both round to {count}; "
                "give one of them"
            )
        by_count[count] = share
    return counts


def _fill_values(states: NextStates, dimensions: int, fill: str, mean: Any) -> Floats:
    if not len(states.states):
        raise ValueError("states: there are none; give text with at least two tokens")
    if states.states.shape[1] != dimensions:
        raise ValueError(
            f"states have {states.states.shape[1]} dimensions, but the head reads {dimensions}: they are "
            "another model's"
        )
    if fill not in ("zero", "mean"):
        raise ValueError(f"fill: {fill!r} is neither 'zero' nor 'mean'")
    if fill == "zero":
        if mean is not None:
            raise ValueError("mean: used only with fill='mean'")
        return np.zeros(dimensions)
    values = states.states.double().mean(0).cpu().numpy() if mean is None else mean
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (dimensions,) or not np.isfinite(values).all():
        raise ValueError(
            f"mean must hold {dimensions} finite values, one for each dimension; found shape "
            f"{list(values.shape)}"
        )
    return values


def _orders(
    orders: Sequence[str], draws: int, seed: int, saliency: DimensionSaliency
) -> Iterator[tuple[str, int, npt.NDArray[np.int64]]]:
    if not orders or len(set(orders)) < len(orders) or not set(orders) <= set(_ORDERS):
        raise ValueError(f"orders: {list(orders)} must name some of {', '.join(_ORDERS)}, each once")
    if "random" in orders and draws < 1:
        raise ValueError(f"draws: {draws} random orders; at least one is needed")
    for order in orders:
        if order == "random":
            for draw in range(draws):
                generator = np.random.default_rng([seed, draw])
                yield order, draw, generator.permutation(len(saliency.order)).astype(np.int64)
        else:
            yield order, 0, saliency.order if order == "least" else saliency.order[::-1].copy()
