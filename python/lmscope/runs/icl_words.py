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
    "solved": "solved",
    "runs": "runs",
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
    if all(one.numbers.get("solved") == one.numbers.get("runs") for one in findings):
        shown = [key for key in shown if key not in ("solved", "runs")]
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
    if one.low is None or number(one.low) == number(one.high):
        return number(one.mean)
    return f"{number(one.mean)} ({number(one.low)} to {number(one.high)})"


def sentences(summary: IclSummary) -> list[str]:
    """What can be said of each experiment, and why numbers are missing."""
    told = [
        sentence
        for name, findings in summary.findings.items()
        if findings and name in _SENTENCES
        for sentence in _SENTENCES[name](findings)
    ]
    missing = [
        f"In {number(one['rows'])} of {count(one['of'], 'row')} of {one['experiment'].replace('_', '-')} a "
        f"number is missing; the first: {one['reason']}"
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
        when = " or ".join(
            "at no P looked at" if one is None else f"from P = {number(one)} on" for one in found
        )
        yield f"D = {size}: the ground state is unique {when}, in every seed; D(D+1) = {size * (size + 1)}."


def _phase_map(findings: Sequence[Finding]) -> Iterator[str]:
    for level in sorted({one.of["regularization"] for one in findings}):
        own = [one for one in findings if one.of["regularization"] == level]
        rise = max(_known(own, "rise"))
        if rise < _NO_PEAK:
            yield (
                f"\u03bb\u2080 = {number(level)}: no peak: with more tasks the mean loss grows nowhere by more "
                f"than {percent(rise - 1)}."
            )
            continue
        for size in sorted({one.of["dimension"] for one in own}):
            here = [one for one in own if one.of["dimension"] == size]
            peaks = sorted(_known(here, "peak_tasks"))
            least = min(here, key=lambda one: one.numbers["fall"].mean)
            at = number(peaks[0]) if peaks[0] == peaks[-1] else f"{number(peaks[0])} to {number(peaks[-1])}"
            yield (
                f"\u03bb\u2080 = {number(level)}, D = {size}: the mean loss is largest at P = {at} "
                f"(D(D+1) = {least.numbers['spins']}), at least {_with_interval(least.numbers['fall'])} times "
                f"that at P = {number(least.numbers['behind_tasks'])} (least at N = "
                f"{least.of['prompt_length']}); with more tasks it grows by a factor of up to "
                f"{number(max(_known(here, 'rise')))}."
            )


def _amp(findings: Sequence[Finding]) -> Iterator[str]:
    for onsager in (True, False):
        own = [one for one in findings if one.of["onsager"] is onsager]
        which = f"Message passing {'with' if onsager else 'without'} the Onsager term converges"
        if not any(_known(own, "mean_error")):
            yield f"{which} nowhere."
            continue
        most = max(_known(own, "most_tasks"))
        runs, came = sum(_known(own, "runs")), sum(_known(own, "converged"))
        sentence = (
            f"{which} in {came} of {count(runs, 'run')}: means are up to {max(_known(own, 'mean_error')):.1e} "
            "off the exact ground state"
        )
        last = [one for one in own if one.numbers["most_tasks"] == most]
        if _known(last, "mean_error_most"):
            sentence += (
                f"; at P = {number(most)}, the most, {max(_known(last, 'mean_error_most')):.1e}, and variances "
                f"up to {percent(max(_known(last, 'variance_error_most')))} off the exact ones"
            )
        yield f"{sentence}."
    far = [one for one in findings if one.numbers["diverges_to"] is not None]
    if far:
        where = max(far, key=lambda one: one.numbers["diverges_to"])
        yield (
            f"It diverges for few tasks and weak regularization: with the most tasks at \u03bb\u2080 = "
            f"{number(where.of['regularization'])}, P = {number(where.numbers['diverges_to'])} "
            f"({_in(where.of)}, {'with' if where.of['onsager'] else 'without'} the Onsager term)."
        )


def _solvers(findings: Sequence[Finding]) -> Iterator[str]:
    over = "Correlated tokens: loss" if "correlation" in findings[0].of else "Loss"
    for solver, words in _OTHERS.items():
        own = [one for one in findings if one.of["solver"] == solver]
        told = [excess for one in own if isinstance(excess := one.numbers["excess"], Band)]
        if not told:
            yield f"{over} of {words}: none, it came to no end in any run."
            continue
        largest = max(told, key=lambda one: abs(one.mean))
        apart = sum(one.low is not None and not one.low <= 0 <= one.high for one in told)
        sentence = f"{over} of {words} minus that of the ground state of the same tasks: "
        if max(abs(largest.mean), abs(largest.high or 0), abs(largest.low or 0)) < _SAME:
            yield f"{sentence}0 to {_SAME:g} in all of {count(len(told), 'setting')}."
            continue
        sentence += f"{_with_interval(largest)} where it is largest, of {count(len(told), 'setting')}"
        if largest.low is not None:
            sentence += f"; the 95 % interval leaves out 0 in {apart} of them"
        yield f"{sentence}."


def _landscape(findings: Sequence[Finding]) -> Iterator[str]:
    least = min(one.of["regularization"] for one in findings)
    for one in findings:
        free, alike = one.numbers["zero_modes"], one.numbers["relaxed_overlap"]
        if one.of["regularization"] == least and isinstance(free, Band) and isinstance(alike, Band):
            yield (
                f"Landscape, {_in(one.of)}, P = {number(one.of['tasks'])}: {number(free.mean)} of "
                f"{number((one.of['dimension'] + 1) ** 2)} directions are free; after the descent at "
                f"\u03bb\u2080 = {number(least)} replicas have a mean cosine of {_with_interval(alike)}."
            )


def _coupling_spectrum(findings: Sequence[Finding]) -> Iterator[str]:
    for kind, words in (("tokens", "tokens of one prompt"), ("features", "features, behind the couplings")):
        own = [one for one in findings if one.of["kind"] == kind]
        if fitted := sum(_known(own, "fitted")):
            yield (
                f"Spectra of {words}: iid noise is refuted at 1 % in {sum(_known(own, 'refuted'))} of "
                f"{count(fitted, 'fit')}."
            )


def _architectures(findings: Sequence[Finding]) -> Iterator[str]:
    for one in findings:
        excess = one.numbers["excess"]
        if isinstance(excess, Band) and excess.low is not None:
            side = (
                "more than"
                if excess.low > 0
                else "less than"
                if excess.high < 0
                else "not shown to differ from"
            )
            yield (
                f"{plain(one.of['model']).capitalize()}, P = {number(one.of['tasks'])}: the loss is {side} the "
                f"ground state's, by {_with_interval(excess)}."
            )


def _diversity(findings: Sequence[Finding]) -> Iterator[str]:
    for teacher in dict.fromkeys(one.of["teacher"] for one in findings):
        own = [one for one in findings if (one.of["teacher"], one.of["solver"]) == (teacher, "ground_state")]
        for one in sorted(own, key=lambda one: one.of["distinct_teachers"])[:: max(len(own) - 1, 1)]:
            seen, unseen = one.numbers["loss_seen"], one.numbers["loss_unseen"]
            if isinstance(seen, Band) and isinstance(unseen, Band):
                yield (
                    f"{plain(teacher).capitalize()} teachers, {number(one.of['distinct_teachers'])} of them: the "
                    f"ground state's loss is {_with_interval(seen)} on those of the training, "
                    f"{_with_interval(unseen)} on new ones."
                )


_OTHERS = {
    "amp": "message passing",
    "amp_without_onsager": "message passing without the Onsager term",
    "adam": "training by Adam",
}
_SAME = 1e-6
_NO_PEAK = 1.05
"""Seeds alone make the mean loss grow by a few percent."""

_SENTENCES: dict[str, Callable[[Sequence[Finding]], Iterator[str]]] = {
    "emergence": _emergence,
    "phase_map": _phase_map,
    "amp": _amp,
    "amp_vs_training": _solvers,
    "correlated": _solvers,
    "landscape": _landscape,
    "coupling_spectrum": _coupling_spectrum,
    "architectures": _architectures,
    "diversity": _diversity,
}


def _known(findings: Iterable[Finding], name: str) -> list[Any]:
    return [one.numbers[name] for one in findings if one.numbers[name] is not None]


def _in(of: Mapping[str, Any]) -> str:
    return f"D = {of['dimension']}, N = {of['prompt_length']}"


def legend(summary: IclSummary) -> list[tuple[str, str]]:
    """Headings of the tables shown, and what they say."""
    shown = {heading for _, columns, _ in tables(summary) for heading in columns}
    told = [(heading, meaning) for heading, meaning in _LEGEND if heading in shown]
    return [*told, _INTERVAL] if any(seeds > 1 for seeds in summary.seeds.values()) else told


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
)
_INTERVAL = ("(a to b)", "95 % interval of the mean over seeds, Student's; none of a single seed")


def failures(summary: IclSummary) -> list[str]:
    """Record and reason of each."""
    return [f"{one['record']}: {one['reason']}" for one in summary.failures]
