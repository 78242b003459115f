"""How each competitor solves the problems, and what it says about itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from lmscope.runs.benchmarks.family import OURS, Answer, Arrays, Competitor
from lmscope.runs.benchmarks.lasso.problems import TOLERANCE, Floats, Problem, problems_of

# Shares of TOLERANCE, largest first.
_SHARES = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)
Solve = Callable[[Any, float], Floats]


def _lmscope() -> Competitor:
    from lmscope import __version__
    from lmscope.kernels.lasso import lasso
    from lmscope.kernels.prefix_lasso import prefix_lasso
    from lmscope.kernels.runtime import get_num_threads, isa, multiply_add_peak

    def compute(inputs: Arrays) -> Answer:
        ratio = float(inputs["alpha_ratio"])
        if "tokens" in inputs:
            prefixes = prefix_lasso(inputs["tokens"], alpha_ratio=ratio, tol=TOLERANCE)
            coef, gaps, targets = np.concatenate(prefixes.coef), prefixes.gap, inputs["tokens"][1:]
        else:
            one = lasso(inputs["x"], inputs["y"], alpha_ratio=ratio, tol=TOLERANCE)
            coef, gaps, targets = one.coef, np.array([one.gap]), inputs["y"][None]
        scales = np.einsum("td,td->t", targets, targets) / targets.shape[1]
        return Answer({"coef": coef, "gap": gaps / scales}, {})

    def describe() -> dict[str, Any]:
        return {"lmscope": __version__, "isa": isa(), "threads": get_num_threads()}

    def rates(quick: bool) -> dict[str, float]:
        return {"float32_peak": multiply_add_peak("float32", 0.1 if quick else 2.0)}

    return Competitor(lambda inputs: inputs, compute, describe, rates)


def _sklearn() -> Competitor:
    import sklearn
    from sklearn.linear_model import Lasso

    def prepare(problem: Problem, *, prefixes: bool) -> Any:
        gram = np.ascontiguousarray(problem.x.T @ problem.x) if prefixes else False
        return problem, gram

    def solve(prepared: Any, tol: float) -> Floats:
        problem, gram = prepared
        model = Lasso(
            alpha=problem.alpha,
            fit_intercept=False,
            precompute=gram,
            copy_X=False,
            tol=tol,
            max_iter=1_000_000,
        )
        coef: Floats = model.fit(problem.x, problem.y, check_input=False).coef_
        return coef

    return _loop(prepare, solve, {"scikit-learn": sklearn.__version__})


def _celer() -> Competitor:
    import celer

    def solve(problem: Problem, tol: float) -> Floats:
        model = celer.Lasso(alpha=problem.alpha, fit_intercept=False, tol=tol, max_iter=1000)
        coef: Floats = model.fit(problem.x, problem.y).coef_
        return coef

    return _loop(_as_it_is, solve, {"celer": celer.__version__})


def _skglm() -> Competitor:
    import skglm

    def solve(problem: Problem, tol: float) -> Floats:
        # Its tolerance is of the optimality conditions: their violation over alpha, squared, is like a gap.
        model = skglm.Lasso(
            alpha=problem.alpha, fit_intercept=False, tol=problem.alpha * np.sqrt(tol), max_iter=1000
        )
        coef: Floats = np.ravel(model.fit(problem.x, problem.y).coef_)
        return coef

    return _loop(_as_it_is, solve, {"skglm": skglm.__version__})


def _as_it_is(problem: Problem, *, prefixes: bool) -> Problem:
    return problem


def _loop(prepare: Callable[..., Any], solve: Solve, versions: dict[str, str]) -> Competitor:
    """One problem after the other, all at the largest tolerance at which every gap is within the limit."""

    def all_of(prepared: list[Any], tol: float) -> list[Floats]:
        with warnings.catch_warnings():
            # What has not converged shows in its gap.
            warnings.simplefilter("ignore")
            return [solve(each, tol) for each in prepared]

    def take(inputs: Arrays) -> Any:
        problems = problems_of(inputs)
        prepared = [prepare(problem, prefixes="tokens" in inputs) for problem in problems]
        for share in _SHARES:
            found = all_of(prepared, share * TOLERANCE)
            gaps = [problem.gap(coef) for problem, coef in zip(problems, found, strict=True)]
            if max(gaps) <= TOLERANCE:
                break
        return prepared, share * TOLERANCE

    def compute(taken: Any) -> Answer:
        prepared, tol = taken
        return Answer({"coef": np.concatenate(all_of(prepared, tol))}, {"tol": tol})

    return Competitor(take, compute, lambda: {**versions, "threads": 1})


COMPETITORS: dict[str, Callable[[], Competitor]] = {
    OURS: _lmscope,
    "scikit-learn": _sklearn,
    "celer": _celer,
    "skglm": _skglm,
}
