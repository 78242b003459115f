"""What the experiments of `icl` found, as cells of tables and sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmscope.report.icl_rows import Band
from lmscope.report.words import count, number, percent, plain

if TYPE_CHECKING:
    from lmscope.runs.icl_findings import Finding
    from lmscope.runs.icl_summary import IclSummary

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]

_SETTINGS = {
    "solver": "solver",
    "model": "model",
    "teacher": "teachers",
    "kind": "of",
    "block": "block",
    "onsager": "Onsager term",
    "dimension": "D",
    "prompt_length": "N",
    "tasks": "P",
    "correlation": "correlation",
    "distinct_teachers": "distinct",
    "regularization": "\u03bb\u2080",
}
"""Column of the settings -> heading, in the order of a table's first columns."""

_TITLES: dict[str, tuple[str, dict[str, str]]] = {
    "emergence": (
        "Uniqueness of the ground state",
        {
            "spins": "D(D+1)",
            "unique_from": "unique from P",
            "formula_error": "off formula",
            "few_tasks": "few",
            "spread_few": "spread at few",
            "many_tasks": "many",
            "spread_many": "spread at many",
            "sampled_error": "sampled off",
        },
    ),
    "phase_map": (
        "Loss of the ground state on unseen tasks",
        {
            "spins": "D(D+1)",
            "peak_tasks": "largest at P",
            "peak_loss": "loss there",
            "behind_tasks": "behind, at P",
            "behind_loss": "loss behind",
            "fall": "ratio",
            "rise": "rise",
            "best_loss": "best possible",
        },
    ),
    "landscape": (
        "Energy landscape",
        {
            "zero_modes": "free directions",
            "relaxed_overlap": "overlap at rest",
            "relaxed_distance": "distance at rest",
            "ground_energy": "ground energy",
        },
    ),
    "amp": (
        "Message passing against the exact ground state",
        {
            "runs": "runs",
            "converged": "converged",
            "converges_from": "all from P",
            "diverges_to": "diverges up to P",
            "mean_error": "mean off",
            "variance_error": "variance off",
        },
    ),
    "amp_vs_training": ("Solvers on the same tasks", {}),
    "correlated": ("Solvers on tasks with correlated tokens", {}),
    "couplings": ("Fields and couplings", {"mean": "mean", "sd": "sd", "divergence": "divergence, nats"}),
    "coupling_spectrum": (
        "Eigenvalues against the Marchenko-Pastur law",
        {
            "eigenvalues": "eigenvalues",
            "n_below": "below edge",
            "n_above": "above edge",
            "label_outliers": "of label row",
            "ks": "KS distance",
            "refuted": "refuted",
            "fitted": "fits",
        },
    ),
    "architectures": (
        "Models trained on the same tasks",
        {
            "parameters": "parameters",
            "loss": "loss, fresh tasks",
            "training_loss": "training loss",
            "excess": "above ground state",
        },
    ),
    "diversity": (
        "Loss by teachers",
        {
            "loss_seen": "seen",
            "loss_unseen": "unseen",
            "loss_isotropic": "dense unseen",
            "training_loss": "training loss",
        },
    ),
}
"""Experiment -> title, and number -> heading."""

_SOLVED = {
    "solved": "with loss",
    "runs": "of",
    "loss": "loss, unseen tasks",
    "excess": "above ground state",
    "contrast": "contrast",
}


def tables(summary: IclSummary) -> Iterator[Table]:
    """Title, columns and rows of every experiment; settings that all rows share stand in the title."""
    for name, findings in summary.findings.items():
        if findings:
            yield _table(name, findings, summary.seeds[name])


def _table(name: str, findings: Sequence[Finding], seeds: int) -> Table:
    title, headings = _TITLES[name]
    headings = headings or _SOLVED
    settings = [column for column in _SETTINGS if column in findings[0].of]
    shared = [
        column
        for column in settings
        if column not in ("solver", "model") and len({one.of[column] for one in findings}) == 1
    ]
    own = [column for column in settings if column not in shared]
    # What has no number in any row, such as errors where nothing converged, has no column.
    shown = [key for key in headings if any(one.numbers[key] is not None for one in findings)]
    told = [*(f"{_SETTINGS[column]} = {_value(findings[0].of[column])}" for column in shared)]
    return (
        f"{title} ({', '.join([*told, count(seeds, 'seed')])})",
        (*(_SETTINGS[column] for column in own), *(headings[key] for key in shown)),
        [
            (*(_value(one.of[column]) for column in own), *(_value(one.numbers[key]) for key in shown))
            for one in findings
        ],
    )


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "with" if value else "without"
    if isinstance(value, str):
        return plain(value)
    return _with_interval(value) if isinstance(value, Band) else number(value)


def _with_interval(one: Band) -> str:
    if one.low is None or one.low == one.high:
        return number(one.mean)
    return f"{number(one.mean)} ({number(one.low)} to {number(one.high)})"


def sentences(summary: IclSummary) -> list[str]:
    """What can be said of each experiment, and why numbers are missing."""
    told = [
        sentence
        for name, findings in summary.findings.items()
        if name in _SENTENCES
        for sentence in _SENTENCES[name](findings)
    ]
    missing = [
        f"In {count(int(one['rows']), 'row')} of {_hyphened(one['experiment'])} a number is missing: "
        f"{one['reason']}"
        for one in summary.missing
    ]
    return [*told, *(text if text.endswith(".") else f"{text}." for text in missing)]


def _emergence(findings: Sequence[Finding]) -> Iterator[str]:
    worst = max(_known(findings, "formula_error"), default=None)
    if worst is not None:
        how = "exactly" if worst < 1e-12 else f"up to {number(worst)} off"
        yield f"Zero modes: their share is {how} 1 - min(P, D(D+1)) / (D+1)\u00b2, as of independent tasks."
    for size in sorted({one.of["dimension"] for one in findings}):
        found = {one.numbers["unique_from"] for one in findings if one.of["dimension"] == size}
        when = " or ".join("at no P looked at" if one is None else f"from P = {number(one)} on" for one in found)
        yield f"D = {size}: the ground state is unique {when}, in every seed; D(D+1) = {size * (size + 1)}."


def _phase_map(findings: Sequence[Finding]) -> Iterator[str]:
    for level in sorted({one.of["regularization"] for one in findings}):
        own = [one for one in findings if one.of["regularization"] == level]
        rises = sorted(one.numbers["rise"] for one in own)
        if rises[-1] < _NO_PEAK:
            yield (
                f"\u03bb\u2080 = {number(level)}: no peak: with more tasks the mean loss grows nowhere by more "
                f"than {percent(rises[-1] - 1)}."
            )
            continue
        first = max(own, key=lambda one: one.numbers["rise"])
        told = _in(first.of)
        yield (
            f"\u03bb\u2080 = {number(level)}, {told}: the mean loss grows by a factor of {number(rises[-1])} "
            f"with more tasks; it is largest at P = {number(first.numbers['peak_tasks'])}, D(D+1) being "
            f"{first.numbers['spins']}, {_with_interval(first.numbers['fall'])} times that at "
            f"P = {number(first.numbers['behind_tasks'])}."
        )


def _amp(findings: Sequence[Finding]) -> Iterator[str]:
    for onsager in (True, False):
        own = [one for one in findings if one.of["onsager"] is onsager and one.numbers["converged"]]
        which = "With" if onsager else "Without"
        if not own:
            yield f"{which} the Onsager term message passing converges nowhere."
            continue
        yield (
            f"{which} the Onsager term, where it converges ({sum(_known(own, 'converged'))} of "
            f"{sum(one.numbers['runs'] for one in findings if one.of['onsager'] is onsager)} runs): means up "
            f"to {max(_known(own, 'mean_error')):.1e} off the exact ground state, variances up to "
            f"{percent(max(_known(own, 'variance_error')))} off the exact ones."
        )
    far = [one for one in findings if one.numbers["diverges_to"] is not None]
    if far:
        where = max(far, key=lambda one: one.numbers["diverges_to"])
        yield (
            f"It diverges for few tasks and weak regularization: farthest at \u03bb\u2080 = "
            f"{number(where.of['regularization'])}, up to P = {number(where.numbers['diverges_to'])} "
            f"({_in(where.of)}, {'with' if where.of['onsager'] else 'without'} the Onsager term)."
        )


def _solvers(findings: Sequence[Finding]) -> Iterator[str]:
    for solver, words in (("adam", "training by Adam"), ("amp", "message passing")):
        own = [one for one in findings if one.of["solver"] == solver]
        told = [one.numbers["excess"] for one in own if isinstance(one.numbers["excess"], Band)]
        if not told:
            continue
        largest = max(told, key=lambda one: abs(one.mean))
        apart = sum(one.low is not None and not one.low <= 0 <= one.high for one in told)
        yield (
            f"Loss of {words} minus that of the ground state of the same tasks: at most "
            f"{_with_interval(largest)} in size; its 95 % interval leaves out 0 in {apart} of "
            f"{count(len(told), 'setting')}."
        )


_NO_PEAK = 1.05
"""Seeds alone make the mean loss grow by a few percent."""

_SENTENCES: dict[str, Callable[[Sequence[Finding]], Iterator[str]]] = {
    "emergence": _emergence,
    "phase_map": _phase_map,
    "amp": _amp,
    "amp_vs_training": _solvers,
    "correlated": _solvers,
}


def _known(findings: Iterable[Finding], name: str) -> list[Any]:
    return [one.numbers[name] for one in findings if one.numbers[name] is not None]


def _in(of: Mapping[str, Any]) -> str:
    return f"D = {of['dimension']}, N = {of['prompt_length']}"


def _hyphened(experiment: object) -> str:
    return str(experiment).replace("_", "-")


def legend(summary: IclSummary) -> list[tuple[str, str]]:
    """Headings of the tables shown, and what they say."""
    shown = {heading for _, columns, _ in tables(summary) for heading in columns}
    return [(heading, meaning) for heading, meaning in _LEGEND if heading in shown]


_LEGEND = (
    ("\u03bb\u2080", "regularization; 0: the ground state of least norm"),
    ("unique from P", "least number of tasks from which on every seed has one ground state only"),
    ("off formula", "largest |share of zero modes - formula|"),
    ("spread at few", "mean variance of a weight at few tasks, D(D+1) / 2 or nearest; geometric mean"),
    ("spread at many", "the same at 2 D(D+1) or nearest"),
    ("sampled off", "largest relative error of the spread of sampled replicas"),
    ("loss there", "mean squared error, labels having 1; geometric mean over seeds, as all of this table"),
    ("ratio", "loss there / loss behind, seed by seed"),
    ("rise", "largest factor by which the mean loss grows with more tasks; 1: it falls throughout"),
    ("overlap at rest", "mean cosine between replicas after the descent: 1 where they meet"),
    ("all from P", "least number of tasks from which on every run converges"),
    ("mean off", "largest |mean - exact ground state|, over the runs that converge"),
    ("variance off", "largest relative error of a variance, over these"),
    ("above ground state", "loss minus that of the exact ground state of the same tasks, paired by seed"),
    ("contrast", "cosine between W and the identity"),
    ("divergence, nats", "Kullback-Leibler, to the distribution at the next prompt length"),
    ("refuted", "fits whose outermost eigenvalue iid noise has with probability 0.01 at most"),
    ("(a to b)", "95 % interval of the mean over seeds, Student's"),
)


def failures(summary: IclSummary) -> list[str]:
    """Record and reason of each."""
    return [f"{one['record']}: {one['reason']}" for one in summary.failures]
