"""The columns of what `icl` records: linear regression in context as a spin glass."""

from __future__ import annotations

import pyarrow as pa

from lmscope.results.columns import Column, count, count_or_null, flag, flag_or_null, real, real_or_null, text

_REALS = pa.list_(pa.float64())


def _reals(meaning: str) -> Column:
    return Column(_REALS, meaning)


def _reals_or_null(meaning: str) -> Column:
    return Column(_REALS, meaning, nullable=True)


_SEED = {"seed": count("seed of the tasks and of every other draw: the run's first seed and those after it")}
_SIZES = {
    "dimension": count("D: entries of a token and of a teacher"),
    "prompt_length": count("N: labelled tokens in front of the query"),
    "tasks": count("P: prompts that the fields rest on, each with a teacher of its own unless said"),
}
_REGULARIZATION = {
    "regularization": real("lambda0: weight of |W|^2 / 2 in the energy; 0: the minimum-norm ground state"),
}
_TEMPERATURE = {"inverse_temperature": real("beta of the Boltzmann distribution")}
_REST = {
    "converged": flag_or_null(
        "the gradient fell to 1e-3 of that at the start; null where nothing is trained"
    ),
    "gradient": real_or_null("norm of the gradient at the end over that at the start; null if diverged"),
}
_END = {
    "seconds": real("time that the cell took, all of its rows together"),
    "reason": text("why a number is missing, in words; empty where all are there"),
}
_CONTRAST = {
    "contrast": real_or_null("<W, I> / (|W| |I|), I of size D + 1: sqrt(D / (D + 1)) at best"),
    "diagonal": real_or_null("mean of the D diagonal weights that multiply a token entry with its own"),
}
_UNIT = "the labels' mean square is 1"

EMERGENCE_COLUMNS: dict[str, Column] = {
    **_SEED,
    **_SIZES,
    **_REGULARIZATION,
    **_TEMPERATURE,
    "zero_modes": count_or_null(
        "directions of the (D+1)^2 weights that the tasks leave free, the D+1 of the last column with them"
    ),
    "zero_mode_ratio": real_or_null("zero_modes / (D+1)^2"),
    "expected_ratio": real("1 - min(P, D(D+1)) / (D+1)^2: what independent tasks give"),
    "unique": flag_or_null("without regularization the D(D+1) weights that enter have one ground state"),
    "smallest": real_or_null("least eigenvalue of the Gram matrix A that is not zero"),
    "spread": real_or_null("exact mean variance of the weights that enter, under the Boltzmann law"),
    "spread_sampled": real_or_null("the same over replicas drawn from it"),
    "overlap": real_or_null("mean cosine between the weights of two replicas"),
    "bend": real_or_null(
        "tasks at which the spread bends: where two straight lines through it meet, the same in all rows of "
        "a seed; null with fewer than 5 numbers of tasks"
    ),
    **_END,
}
"""One row per seed, prompt length and number of tasks: when the ground state becomes unique."""

PHASE_MAP_COLUMNS: dict[str, Column] = {
    **_SEED,
    **_SIZES,
    **_REGULARIZATION,
    "loss": real_or_null(f"exact mean squared error of the ground state on unseen tasks; {_UNIT}"),
    "training_loss": real_or_null("mean squared error on the tasks themselves"),
    **_CONTRAST,
    "best_loss": real("loss of the ground state of infinitely many tasks, the best merged linear attention"),
    **_END,
}
"""One row per seed, prompt length, number of tasks and regularization."""

LANDSCAPE_COLUMNS: dict[str, Column] = {
    **_SEED,
    **_SIZES,
    **_REGULARIZATION,
    "x": _reals("first coordinate of random weights in the plane of the projection, one a sample"),
    "y": _reals("second coordinate of them"),
    "energy": _reals("energy of these weights"),
    "axes_x": _reals("first coordinate of the grid's points"),
    "axes_y": _reals("second coordinate of the grid's points"),
    "grid": _reals("energy over the grid; one row of axes_x after the other, by axes_y"),
    "relaxed_x": _reals(
        "first coordinate of replicas after the descent, one a replica; stopped before "
        "regularization has moved directions that the tasks leave free"
    ),
    "relaxed_y": _reals("second coordinate of them"),
    "relaxed_energy": _reals("their energies"),
    "relaxed_overlap": real_or_null("mean cosine between two of them: 1 where there is one minimum"),
    "relaxed_distance": real_or_null("mean distance between two of them, over that before the descent"),
    "zero_modes": count("directions that the tasks leave free, the D+1 of the last column with them"),
    "ground_energy": real_or_null("energy of the exact ground state"),
    **_END,
}
"""One row per seed, prompt length and number of tasks."""

AMP_COLUMNS: dict[str, Column] = {
    **_SEED,
    **_SIZES,
    **_REGULARIZATION,
    **_TEMPERATURE,
    "onsager": flag("with the Onsager reaction term"),
    "converged": flag("means and variances stopped changing within the steps"),
    "diverged": flag("a variance became negative, or means grew without bound"),
    "steps": count("sweeps that were made"),
    "mean_error": real_or_null("largest |mean - exact ground state| over the weights; null if diverged"),
    "variance_error": real_or_null("largest relative error of a variance, beside the exact one"),
    "loss": real_or_null("exact mean squared error of the means on unseen tasks"),
    "ridge_loss": real_or_null("the same of the exact ground state"),
    "changes": _reals("mean squared change of means and variances in every sweep"),
    **_END,
}
"""One row per seed, prompt length, number of tasks, regularization and kind of AMP."""

_SOLVED = {
    "solver": text(
        "ground_state, amp, amp_without_onsager, adam, or population: the ground state of infinitely "
        "many tasks"
    ),
    **_REGULARIZATION,
    "weight_decay": real_or_null("of Adam, twice the regularization that it amounts to; null otherwise"),
    "loss": real_or_null(f"mean squared error on unseen tasks, exact without an interval; {_UNIT}"),
    "loss_low": real_or_null("lower end of its 95 % interval over test tasks; null where exact"),
    "loss_high": real_or_null("upper end of it"),
    **_CONTRAST,
    "converged": flag_or_null("the solver came to an end; null where there is nothing to iterate"),
    **_END,
}

AMP_VS_TRAINING_COLUMNS: dict[str, Column] = {**_SEED, **_SIZES, **_SOLVED}
"""One row per seed, prompt length and solver."""

CORRELATED_COLUMNS: dict[str, Column] = {
    **_SEED,
    **_SIZES,
    "correlated": text("tokens: of a prompt, the query one of them; coordinates: of every token"),
    "correlation": real("c: of any two of them"),
    **_SOLVED,
}
"""One row per seed, correlation and solver."""

COUPLINGS_COLUMNS: dict[str, Column] = {
    **_SEED,
    **_SIZES,
    "kind": text("field, h_i, or coupling, J_ij of i != j"),
    "block": text(
        "A: fields of the D x D block of W, B: fields of its label row; C: couplings within the block, "
        "D: between block and label row, E: within the label row"
    ),
    "mean": real("over all entries of the block and all draws"),
    "sd": real("standard deviation over them"),
    "edges": _reals("of the bins, one more than counts"),
    "counts": _reals("entries in each bin, over all draws"),
    "divergence": real_or_null(
        "Kullback-Leibler divergence to the distribution at the next prompt length, nats; null for the last"
    ),
    "divergence_null": real_or_null(
        "the same to as many sets drawn anew at this prompt length: what equal distributions give"
    ),
    "draws": count("sets of tasks that were drawn"),
    "mixture_share": _reals_or_null("share of each Gaussian part, where a mixture was fitted"),
    "mixture_mean": _reals_or_null("mean of each part"),
    "mixture_sd": _reals_or_null("standard deviation of each part"),
    **_END,
}
"""One row per seed, prompt length, kind and block."""

COUPLING_SPECTRUM_COLUMNS: dict[str, Column] = {
    **_SEED,
    **_SIZES,
    "kind": text("tokens: of X X' / N of one prompt; features: of the Gram matrix A of the couplings"),
    "values": _reals("eigenvalues, descending"),
    "scale": real_or_null("standard deviation of one entry of the fitted iid noise; null without a fit"),
    "lower_edge": real_or_null("iid noise has an eigenvalue below it, or above upper_edge, ..."),
    "upper_edge": real_or_null("... with probability 0.01, both together"),
    "n_below": count_or_null("eigenvalues below lower_edge"),
    "n_above": count_or_null("eigenvalues above upper_edge"),
    "ks": real_or_null("Kolmogorov distance between the eigenvalues and the Marchenko-Pastur law: 0 to 1"),
    "p_value": real_or_null("of the more extreme of largest and smallest eigenvalue, under iid noise"),
    "label_outliers": count_or_null("of n_above, those of the label row of W; null of tokens"),
    **_END,
}
"""One row per seed, prompt length, number of tasks and kind."""

ARCHITECTURES_COLUMNS: dict[str, Column] = {
    **_SEED,
    **_SIZES,
    "model": text("merged, separate, multi_head, full, softmax or transformer; ground_state: not trained"),
    "parameters": count("numbers that are trained"),
    "epochs": count("steps of full-batch Adam; of softmax and transformer passes over the tasks in batches"),
    "loss": real_or_null(f"mean squared error on unseen tasks, the same for all models; {_UNIT}"),
    "loss_low": real_or_null("lower end of its 95 % interval over tasks"),
    "loss_high": real_or_null("upper end of it"),
    "training_loss": real_or_null("mean squared error on the tasks themselves, at the end"),
    "steps": _reals("epochs at which the losses were taken"),
    "losses": _reals("training loss at these"),
    "test_losses": _reals("loss on unseen tasks at these"),
    "contrast": real_or_null("<W, I> / (|W| |I|) where the model is one matrix W; null otherwise"),
    "ground_loss": real("loss of the ground state of the same tasks, on the same unseen ones"),
    "ground_unique": flag("it is the only one; else the one of minimum norm"),
    **_REST,
    **_END,
}
"""One row per seed and model."""

DIVERSITY_COLUMNS: dict[str, Column] = {
    **_SEED,
    **_SIZES,
    "distinct_teachers": count("teachers that the tasks share"),
    "teacher": text("dense, sparse or low_rank: what the teachers are"),
    "solver": text("ground_state or adam"),
    "loss_seen": real_or_null("exact mean squared error on unseen prompts of the teachers of the training"),
    "loss_unseen": real_or_null("the same of unseen teachers of the same kind"),
    "loss_isotropic": real_or_null("the same of unseen dense teachers"),
    "training_loss": real_or_null("mean squared error on the tasks themselves"),
    "distance_w11": real_or_null("mean over the D x D entries of (W11 - I)^2, the block of these weights"),
    "distance_w21": real_or_null("mean over the D entries of W21^2, their label row"),
    "cross_task_w11": real(
        "mean (W11 - I)^2 of weights that minimise |(w W21'/sqrt(D) + W11) C - I|^2 over the tasks, C a "
        "prompt's tokens X X'/N and w its teacher: the cross-task argument, the same for every solver"
    ),
    "cross_task_w21": real("mean W21^2 of these"),
    **_REST,
    **_END,
}
"""One row per seed, number of distinct teachers, kind of teacher and solver."""

ICL_COLUMNS: dict[str, dict[str, Column]] = {
    "emergence": EMERGENCE_COLUMNS,
    "phase_map": PHASE_MAP_COLUMNS,
    "landscape": LANDSCAPE_COLUMNS,
    "amp": AMP_COLUMNS,
    "amp_vs_training": AMP_VS_TRAINING_COLUMNS,
    "correlated": CORRELATED_COLUMNS,
    "couplings": COUPLINGS_COLUMNS,
    "coupling_spectrum": COUPLING_SPECTRUM_COLUMNS,
    "architectures": ARCHITECTURES_COLUMNS,
    "diversity": DIVERSITY_COLUMNS,
}
"""Experiment -> columns of its records."""

ICL_ORDER: dict[str, tuple[str, ...]] = {
    "emergence": ("dimension", "prompt_length", "tasks", "seed"),
    "phase_map": ("dimension", "regularization", "prompt_length", "tasks", "seed"),
    "landscape": ("dimension", "prompt_length", "tasks", "seed"),
    "amp": ("dimension", "regularization", "prompt_length", "tasks", "onsager", "seed"),
    "amp_vs_training": ("dimension", "tasks", "prompt_length", "solver", "seed"),
    "correlated": ("correlated", "dimension", "tasks", "correlation", "solver", "seed"),
    "couplings": ("dimension", "tasks", "prompt_length", "block", "seed"),
    "coupling_spectrum": ("kind", "dimension", "prompt_length", "tasks", "seed"),
    "architectures": ("dimension", "prompt_length", "tasks", "model", "seed"),
    "diversity": ("teacher", "dimension", "tasks", "distinct_teachers", "solver", "seed"),
}
"""Columns that order the rows of one experiment."""
