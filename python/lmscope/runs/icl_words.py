"""What the experiments of `icl` found, as cells of tables with their legend, and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lmscope.report.icl_names import MODELS, SOLVERS, TEACHERS
from lmscope.report.icl_rows import Band
from lmscope.report.words import count, number, plain
from lmscope.runs.icl_sentences import SENTENCES, with_interval

if TYPE_CHECKING:
    from lmscope.runs.icl_findings import Finding
    from lmscope.runs.icl_summary import IclSummary

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]

_ROUNDING = 1e-12
"""What is no larger is 0 but for rounding: shares of zero modes, distances between replicas that met."""

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
    "correlated": "correlated",
    "correlation": "correlation",
    "distinct_teachers": "distinct",
    "regularization": "\u03bb\u2080",
}
"""Column of the settings -> heading, in the order of a table's first columns."""

_NAMES = {**SOLVERS, **MODELS, **TEACHERS, "ground_state": SOLVERS["ground_state"]}

_TITLES: dict[str, tuple[str, dict[str, str]]] = {
    "emergence": (
        "Uniqueness of the ground state",
        {
            "spins": "D(D+1)",
            "unique_from": "unique from P",
            "formula_error": "off formula",
            "bend": "bends at P",
            "few_tasks": "few P",
            "spread_few": "spread at few P",
            "many_tasks": "many P",
            "spread_many": "spread at many P",
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
            "best_loss": "infinitely many tasks",
        },
    ),
    "landscape": (
        "Energy landscape",
        {
            "zero_modes": "free directions",
            "relaxed_overlap": "overlap after the descent",
            "relaxed_distance": "distance after the descent",
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
    "correlated": ("Solvers on correlated tokens or coordinates", {}),
    "couplings": (
        "Fields and couplings",
        {"mean": "mean", "sd": "sd", "divergence": "divergence, nats", "divergence_null": "by chance"},
    ),
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
            "loss": "loss, unseen tasks",
            "training_loss": "training loss",
            "ratio": "times ground state's",
            "epochs": "epochs",
            "at_rest": "converged",
            "runs": "runs",
        },
    ),
    "diversity": (
        "Loss by teachers",
        {
            "loss_seen": "seen",
            "loss_unseen": "unseen",
            "loss_isotropic": "dense unseen",
            "training_loss": "training loss",
            "at_rest": "converged",
            "runs": "runs",
        },
    ),
}
"""Experiment -> title, and number -> heading."""

_GEOMETRIC = {
    "emergence": "spreads are geometric means",
    "couplings": "divergences are geometric means",
    **dict.fromkeys(
        ("phase_map", "amp_vs_training", "correlated", "architectures", "diversity"),
        "losses are geometric means",
    ),
}
"""Experiment -> what its table holds no arithmetic means of."""

_SOLVED = {
    "at_rest": "converged",
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
    shown = [key for key in headings if any(_found(one, key) is not None for one in findings)]
    if "at_rest" in headings and all(
        one.numbers["at_rest"] in (None, one.numbers["runs"]) for one in findings
    ):
        shown = [key for key in shown if key not in ("at_rest", "runs")]
    told = [*(f"{_SETTINGS[column]} = {_value(findings[0].of[column])}" for column in shared)]
    means = [_GEOMETRIC[name]] if seeds > 1 and name in _GEOMETRIC else []
    return (
        f"{title} ({', '.join([*told, count(seeds, 'seed'), *means])})",
        (*(_SETTINGS[column] for column in own), *(headings[key] for key in shown)),
        [
            (*(_value(one.of[column]) for column in own), *(_value(_found(one, key)) for key in shown))
            for one in findings
        ],
    )


def _found(one: Finding, key: str) -> Band | float | None:
    return one.bands[key] if key in one.bands else one.numbers[key]


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "with" if value else "without"
    if isinstance(value, str):
        return _NAMES.get(value) or plain(value)
    if isinstance(value, Band):
        return "0" if abs(value.mean) < _ROUNDING else with_interval(value)
    return "0" if abs(value) < _ROUNDING else number(value)


def sentences(summary: IclSummary) -> list[str]:
    """What can be said of each experiment, and how many rows lack a number, with a reason."""
    told = [
        sentence
        for name, findings in summary.findings.items()
        if findings and name in SENTENCES
        for sentence in SENTENCES[name](findings)
    ]
    missing = [
        f"In {number(one.rows)} of {count(one.of, 'row')} of {one.experiment.replace('_', '-')} a number is "
        f"missing; the first: {one.reason.rstrip('.')}."
        for one in summary.missing
    ]
    return [*told, *missing]


def legend(summary: IclSummary) -> list[tuple[str, str]]:
    """Headings of the tables shown, and what they say."""
    shown = {heading for _, columns, _ in tables(summary) for heading in columns}
    told = [(heading, meaning) for heading, meaning in _LEGEND if heading in shown]
    return [*told, _INTERVAL] if any(seeds > 1 for seeds in summary.seeds.values()) else told


_LEGEND = (
    ("\u03bb\u2080", "regularization; 0: the ground state of least norm"),
    ("unique from P", "least number of tasks from which on every seed has one ground state only"),
    ("off formula", "largest |share of zero modes - formula|"),
    ("bends at P", "where two straight lines through the spread over P meet, seed by seed"),
    ("few P", "D(D+1) / 2, or the nearest number of tasks"),
    (
        "spread at few P",
        "mean variance of the weights that enter, over replicas; 1 / (beta \u03bb\u2080) of a free one; "
        "geometric mean",
    ),
    ("spread at many P", "the same at 2 D(D+1) tasks, or the nearest number"),
    ("sampled off", "largest relative error of the spread of sampled replicas"),
    ("loss there", "mean squared error; the labels' mean square is 1"),
    (
        "infinitely many tasks",
        "loss of the ground state of infinitely many tasks: the best merged linear attention",
    ),
    ("loss, unseen tasks", "mean squared error; the labels' mean square is 1"),
    ("seen", "loss on unseen prompts of the teachers of the training; the labels' mean square is 1"),
    ("unseen", "loss on unseen teachers of the same kind"),
    ("dense unseen", "loss on unseen dense teachers"),
    ("ratio", "loss there / loss behind, seed by seed"),
    ("rise", "largest factor by which the mean loss grows with more tasks; 1: it falls throughout"),
    (
        "overlap after the descent",
        "mean cosine between replicas: 1 where they meet; stopped on the floor of the valley, where "
        "\u03bb\u2080 > 0 and directions are free",
    ),
    ("all from P", "least number of tasks from which on every run converges"),
    ("mean off", "largest |mean - exact ground state|, over the runs that converge"),
    ("variance off", "largest relative error of a variance, over these"),
    (
        "above ground state",
        "loss minus that of the exact ground state of the same tasks, paired by seed; arithmetic mean",
    ),
    ("times ground state's", "loss over that of the ground state on the same unseen tasks; geometric mean"),
    (
        "epochs",
        "full-batch steps; softmax and transformer: passes over the tasks in batches, on whose "
        "number their loss depends",
    ),
    ("converged", "runs that came to rest; of training: its gradient fell to a thousandth of the first"),
    ("contrast", "cosine between W and the identity"),
    ("divergence, nats", "Kullback-Leibler, to the distribution at the next prompt length"),
    ("by chance", "divergence to as many sets drawn anew at the same prompt length"),
    ("refuted", "fits whose outermost eigenvalue iid noise has with probability 0.01 at most"),
)
_INTERVAL = ("(a to b)", "95 % interval of the mean over seeds, Student's; none of a single seed")


def failures(summary: IclSummary) -> list[str]:
    """Record and reason of each."""
    return [f"{one['record']}: {one['reason']}" for one in summary.failures]
