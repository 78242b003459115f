"""Which earlier tokens matter for a token: Lasso, attention, cosines, pursuit, and chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses import intake
from lmscope.analyses.representation_entropy import prepared_rows
from lmscope.kernels.lasso import prefix_lasso_order

__all__ = ["CURVES", "METHODS", "Selections", "attention_sinks", "select_tokens", "unit_rows"]

METHODS = (
    "lasso",
    "attention",
    "attention_without_sinks",
    "attention_value_norm",
    "cosine",
    "omp",
    "recent",
    "random",
    "complement",
)
CURVES = ("all_but_lasso", "all")
"""What :func:`lmscope.distributed_information` needs beside lasso, attention and random."""

_OF_ATTENTION = ("attention", "attention_without_sinks", "attention_value_norm")
_OF_LASSO = ("lasso", "complement", "all_but_lasso")
_SINK_QUERIES = 16
# Entries and exits of the Lasso's path for each token of the largest budget.
_STEPS_A_TOKEN = 8
_NOTHING_LEFT = 1e-9

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, repr=False)
class Selections:
    """The tokens of one passage that each method chooses for each position and budget.

    Attributes:
        positions: int64, shape (positions,): the tokens that are explained.
        ks: the budgets, ascending.
        sets: ``sets[method][i][k]`` holds what the method chooses for ``positions[i]``: sorted int64 indices
            below it, at most k.
        sinks: bool, shape (tokens,): what :func:`attention_sinks` found; None without attention.
        sink_share: float64, shape (positions,): how much of its attention each position gives to them, as a
            mean over heads; None without attention.
        lasso_order: for each position the tokens in the order in which they enter the Lasso's path; empty
            lists where no method needed the path.
        lasso_alphas: beside them, the alpha at which each enters.
        lasso_short: for each position why the Lasso has fewer tokens than wanted although more could enter;
            empty where it does not.
        normalize_rows, center: how the states were prepared; scores do the same.
    """

    positions: Indices
    ks: tuple[int, ...]
    sets: dict[str, list[dict[int, Indices]]]
    sinks: Flags | None
    sink_share: Floats | None
    lasso_order: list[Indices]
    lasso_alphas: list[Floats]
    lasso_short: list[str]
    normalize_rows: bool
    center: bool

    def __repr__(self) -> str:
        return f"Selections({len(self.positions)} positions, {len(self.sets)} methods, ks={self.ks})"

    def _repr_html_(self) -> str:
        most = self.ks[-1]
        rows = [
            (position, *(" ".join(map(str, self.sets[method][place][most])) for method in self.sets))
            for place, position in enumerate(self.positions[:10])
        ]
        return html_repr.block(
            f"Selected tokens, {len(self.positions)} positions",
            html_repr.table(("position", *self.sets), rows),
            html_repr.line(f"Up to {most} tokens each, the first {len(rows)} positions."),
        )


def select_tokens(
    states: Any,
    positions: npt.ArrayLike,
    *,
    ks: Iterable[int],
    attention: Any = None,
    value_norms: Any = None,
    special: npt.ArrayLike | None = None,
    seed: int = 0,
    methods: Sequence[str] = METHODS,
    normalize_rows: bool = True,
    center: bool = False,
    select_special: bool = False,
    sink_share: float = 0.1,
) -> Selections:
    """Choose k earlier tokens for each position, by every method.

    - ``lasso``: the support at the smallest alpha of the Lasso's exact path before there are more than k
      tokens (arXiv 2402.03471: token t regressed on tokens 0..t-1, dimensions as samples).
    - ``attention``: the largest weights of the query at t, mean over heads.
    - ``attention_without_sinks``: the same without special tokens and without :func:`attention_sinks`.
    - ``attention_value_norm``: the largest sums over heads of weight times norm of the value vector.
    - ``cosine``: the largest absolute cosines with token t.
    - ``omp``: orthogonal matching pursuit, the first k steps.
    - ``recent``: the k tokens right before t.
    - ``random``: k tokens at random; those of a smaller k are among those of a larger.
    - ``complement``: k tokens at random of those that the Lasso does not choose at the largest k.
    - ``all_but_lasso``: every token but the Lasso's k (no budget). ``all``: every token.

    Ties go to the earlier token. Where fewer than k tokens may be chosen, all of them are; Lasso and pursuit
    give fewer where nothing is left to explain. Token t is never chosen for itself. Special tokens are
    chosen by ``attention`` and ``attention_value_norm`` only, unless ``select_special``.

    Args:
        states: tokens x dimensions, one passage, of one layer; numpy array or torch tensor.
        positions: each from 1 to tokens - 1.
        ks: budgets, from 1 up.
        attention: heads x tokens x tokens of one block, rows are queries; the methods of attention need it.
        value_norms: heads x tokens, norm of the value vector of each key as each head sees it.
        special: bool, shape (tokens,); none where not given.
        seed: of the random choices; each position has its own stream.
        methods: of those above.
        normalize_rows: each token's state divided by its norm.
        center: the mean over the passage's tokens taken off first.
        select_special: all methods may choose special tokens.
        sink_share: see :func:`attention_sinks`.

    Raises:
        ValueError: an unknown method; a method whose attention or value norms are missing; positions, ks or
            shapes that do not fit; NaN/Inf, named with row and column.
        TypeError: another dtype.
    """
    rows = unit_rows(states, normalize_rows=normalize_rows, center=center)
    tokens = len(rows)
    at, budgets, flags = _positions(positions, tokens), _budgets(ks), _special(special, tokens)
    _check_methods(methods, attention, value_norms)
    mean_attention = weighted = sinks = None
    if attention is not None:
        heads = _attention(attention, tokens)
        mean_attention = heads.mean(axis=0)
        sinks = attention_sinks(mean_attention, special=flags, share=sink_share)
        if value_norms is not None:
            weighted = np.einsum("hqk,hk->qk", heads, _value_norms(value_norms, heads.shape[:2]))
    allowed = np.ones(tokens, dtype=bool) if select_special else ~flags
    gram = rows @ rows.T
    most = budgets[-1]

    lasso: list[dict[int, Indices]] = []
    orders: list[Indices] = [np.empty(0, dtype=np.int64) for _ in at]
    alphas: list[Floats] = [np.empty(0) for _ in at]
    short = [""] * len(at)
    if set(_OF_LASSO) & set(methods):
        lasso, orders, alphas, short = _lasso(rows, at, allowed, budgets)

    def earlier(position: int) -> Indices:
        return np.flatnonzero(allowed[:position])

    def shuffled(position: int, among: Indices, stream: int) -> Indices:
        return np.random.default_rng([seed, position, stream]).permutation(among)

    def largest(values: Floats, among: Indices) -> Indices:
        return among[np.argsort(-values[among], kind="stable")]

    def by_weight(weights: Floats | None, among: Callable[[int], Indices]) -> Callable[[int, int], Indices]:
        def order(_: int, position: int) -> Indices:
            assert weights is not None
            return largest(weights[position], among(position))

        return order

    ranked: dict[str, Callable[[int, int], Indices]] = {
        "attention": by_weight(mean_attention, np.arange),
        "attention_without_sinks": by_weight(
            mean_attention, lambda position: np.flatnonzero((allowed & ~_flags(sinks))[:position])
        ),
        "attention_value_norm": by_weight(weighted, np.arange),
        "cosine": lambda _, position: largest(_cosines(gram, position), earlier(position)),
        "omp": lambda _, position: _pursuit(gram, position, earlier(position), most),
        "recent": lambda _, position: earlier(position)[::-1],
        "random": lambda _, position: shuffled(position, earlier(position), 0),
        "complement": lambda place, position: shuffled(
            position, np.setdiff1d(earlier(position), lasso[place][most]), 1
        ),
    }

    def sets_of(method: str, place: int, position: int) -> dict[int, Indices]:
        if method == "lasso":
            return lasso[place]
        if method == "all":
            return {k: earlier(position) for k in budgets}
        if method == "all_but_lasso":
            return {k: np.setdiff1d(earlier(position), lasso[place][k]) for k in budgets}
        order = ranked[method](place, position)
        return {k: np.sort(order[:k]) for k in budgets}

    sets = {
        method: [sets_of(method, place, int(position)) for place, position in enumerate(at)]
        for method in methods
    }
    to_sinks = None if mean_attention is None else mean_attention[at] @ _flags(sinks)
    return Selections(at, budgets, sets, sinks, to_sinks, orders, alphas, short, normalize_rows, center)


def unit_rows(states: Any, *, normalize_rows: bool = True, center: bool = False) -> Floats:
    """States in float64, tokens x dimensions; the mean over tokens off where asked, then rows of norm 1.

    Raises:
        ValueError: not 2-D, NaN/Inf (named with row and column), or a row that is zero, or nothing but
            rounding once centred, and cannot have norm 1.
        TypeError: another dtype.
    """
    rows = intake.states("states", states)
    return prepared_rows("states", rows, rows.mean(axis=0) if center else None, normalize_rows)


def attention_sinks(
    attention: Any, *, special: npt.ArrayLike | None = None, share: float = 0.1
) -> npt.NDArray[np.bool_]:
    """Tokens that draw attention whatever is read: the special ones, and those that later queries keep to.

    A token is a sink where it is special, or where the mean over all later queries of the weight that they
    give to it exceeds ``share``. Tokens with fewer than 16 later queries are not judged: their neighbours'
    ordinary attention would make them sinks.

    Args:
        attention: queries x keys of one passage, mean over heads.
        special: bool, shape (tokens,); none where not given.
        share: above 0.

    Raises:
        ValueError: shapes that do not fit, NaN/Inf, a share out of range.
    """
    weights = intake.states("attention", attention)
    tokens = len(weights)
    if weights.shape != (tokens, tokens):
        raise ValueError(f"attention must be queries x keys of one passage, got shape {weights.shape}")
    threshold = intake.positive("sink share", share)
    received = np.tril(weights, -1).sum(axis=0)
    later = np.arange(tokens)[::-1]
    sinks: Flags = _special(special, tokens) | ((later >= _SINK_QUERIES) & (received > threshold * later))
    return sinks


def _lasso(
    rows: Floats, at: Indices, allowed: Flags, ks: tuple[int, ...]
) -> tuple[list[dict[int, Indices]], list[Indices], list[Floats], list[str]]:
    """Supports for each k, tokens in the order of entering, their alphas, and why a support is short.

    The design has the allowed tokens.
    """
    most = ks[-1]
    sets: list[dict[int, Indices]] = [{} for _ in at]
    orders: list[Indices] = [np.empty(0, dtype=np.int64) for _ in at]
    alphas: list[Floats] = [np.empty(0) for _ in at]
    short = [""] * len(at)

    def solve(design: Indices, places: Indices, within: Indices) -> None:
        path = prefix_lasso_order(
            rows[design], steps=_STEPS_A_TOKEN * most, positions=within, most_nonzeros=most
        )
        supports = {k: path.supports(k) for k in ks}
        for number, place in enumerate(places):
            events = np.asarray(path.events[number])
            entered, first = np.unique(events[events >= 0], return_index=True)
            by_time = np.argsort(first)
            orders[place] = design[entered[by_time]]
            before = design[: within[number]]
            for k in ks:
                # Tokens that tie enter together: the first k of them.
                support = design[supports[k][number]]
                first_k = orders[place][np.isin(orders[place], support)][:k]
                # All of them, where no more than k may be chosen.
                sets[place][k] = before if len(before) <= k else np.sort(first_k)
                if len(sets[place][k]) < min(k, len(before)) and path.ends[number] != "alpha_zero":
                    reason = "rounding" if path.ends[number] == "rounding" else "too many entries and exits"
                    got = len(sets[place][k])
                    short[place] = f"the Lasso has {got} of {k} tokens: {reason} ended its path"
            alphas[place] = np.asarray(path.knots[number])[np.flatnonzero(events >= 0)[first[by_time]]]

    some: Indices = np.cumsum(allowed) - allowed
    plain = np.flatnonzero(allowed[at] & (some[at] > 0))
    if plain.size:
        solve(np.flatnonzero(allowed), plain, some[at[plain]])
    for place, position in enumerate(at):
        if some[position] == 0:
            sets[place] = {k: np.empty(0, dtype=np.int64) for k in ks}
        elif not allowed[position]:
            # A special token as the target, behind the tokens that may explain it.
            design = np.append(np.flatnonzero(allowed[:position]), position)
            solve(design, np.array([place]), np.array([len(design) - 1]))
    return sets, orders, alphas, short


def _cosines(gram: Floats, position: int) -> Floats:
    norms = np.sqrt(np.diag(gram))
    scale = norms * norms[position]
    cosines: Floats = np.abs(np.divide(gram[position], scale, out=np.zeros(len(gram)), where=scale > 0))
    return cosines


def _pursuit(gram: Floats, position: int, among: Indices, most: int) -> Indices:
    """Orthogonal matching pursuit in Gram form: tokens in the order in which they are chosen."""
    target = gram[among, position]
    norms = np.sqrt(np.diag(gram))
    floor = _NOTHING_LEFT * norms[position]
    inner = gram[np.ix_(among, among)]
    chosen: list[int] = []
    left = target
    while len(chosen) < min(most, len(among)):
        correlations = np.divide(np.abs(left), norms[among], out=np.zeros(len(among)), where=norms[among] > 0)
        correlations[chosen] = 0
        best = int(np.argmax(correlations))
        if correlations[best] <= floor:
            break
        chosen.append(best)
        weights = np.linalg.lstsq(inner[np.ix_(chosen, chosen)], target[chosen], rcond=None)[0]
        left = target - inner[:, chosen] @ weights
    return among[np.array(chosen, dtype=np.int64)]


def _check_methods(methods: Sequence[str], attention: Any, value_norms: Any) -> None:
    for method in methods:
        if method not in METHODS + CURVES:
            raise ValueError(f"methods must be of {', '.join(METHODS + CURVES)}, got {method!r}")
    missing = [method for method in methods if method in _OF_ATTENTION and attention is None]
    if missing:
        raise ValueError(f"attention is needed for {', '.join(missing)}: give it, or other methods")
    if "attention_value_norm" in methods and value_norms is None:
        raise ValueError("value_norms is needed for attention_value_norm: give it, or other methods")


def _positions(positions: npt.ArrayLike, tokens: int) -> Indices:
    at = np.asarray(positions)
    if at.ndim != 1 or not np.issubdtype(at.dtype, np.integer):
        raise ValueError(f"positions must be whole numbers in one dimension, got {positions!r}")
    if at.size and not (at.min() >= 1 and at.max() < tokens):
        wrong = at[(at < 1) | (at >= tokens)][0]
        raise ValueError(f"positions must be from 1 to {tokens - 1}, the last token's, got {wrong}")
    return at.astype(np.int64)


def _budgets(ks: Iterable[int]) -> tuple[int, ...]:
    budgets = tuple(sorted({intake.whole("ks", k, 1) for k in ks}))
    if not budgets:
        raise ValueError("ks must hold at least one budget")
    return budgets


def _special(special: npt.ArrayLike | None, tokens: int) -> Flags:
    flags = np.zeros(tokens, dtype=bool) if special is None else np.asarray(special, dtype=bool)
    if flags.shape != (tokens,):
        raise ValueError(f"special must have shape ({tokens},), one for each token, got {flags.shape}")
    return flags


def _attention(attention: Any, tokens: int) -> Floats:
    shape = tuple(attention.shape)
    if len(shape) != 3 or shape[1:] != (tokens, tokens) or not shape[0]:
        raise ValueError(f"attention must be heads x {tokens} x {tokens} tokens, got shape {shape}")
    return intake.states("attention", attention.reshape(-1, tokens)).reshape(shape)


def _value_norms(value_norms: Any, shape: tuple[int, ...]) -> Floats:
    norms = intake.states("value_norms", value_norms)
    if norms.shape != shape:
        raise ValueError(f"value_norms must be heads x tokens as attention, {shape}, got shape {norms.shape}")
    return norms


def _flags(sinks: Flags | None) -> Flags:
    assert sinks is not None
    return sinks
