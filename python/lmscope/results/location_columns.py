"""The columns of what `localize` records: singular vectors, overlaps, lesions, slices and claims."""

from __future__ import annotations

import pyarrow as pa

from lmscope.results.columns import Column, real, real_or_null

_REALS = pa.list_(pa.float64())
_BY_RANK = "one a singular value, in descending order"


def _by_rank(meaning: str) -> Column:
    return Column(_REALS, f"{meaning}; {_BY_RANK}")


def _by_rank_or_null(meaning: str) -> Column:
    return Column(_REALS, f"{meaning}; {_BY_RANK}; null without an untrained twin", nullable=True)


_CHECKPOINT = {
    "checkpoint": Column(pa.string(), "the checkpoint's name"),
    "identity": Column(pa.string(), "its identity, as the manifest gives it of the run's own"),
    "step": Column(
        pa.int64(),
        "training step: the last whole number in the name of its folder, where it is one of a folder of "
        "checkpoints or called step or checkpoint; null otherwise",
        nullable=True,
    ),
}
_PLACE = {
    "role": Column(pa.string(), "what the matrix does in the model: query, key, up, ..."),
    "layer": Column(pa.int32(), "number of its layer, from 0; null outside the layers", nullable=True),
    "expert": Column(
        pa.int32(), "number of its expert, from 0; null outside mixtures of experts", nullable=True
    ),
}
_MATRIX = {
    **_CHECKPOINT,
    "name": Column(pa.string(), "the tensor's name; a part of a fused tensor has #part behind it"),
    **_PLACE,
}
_SIZES = {
    "rows": Column(pa.int64(), "output size: length of a left singular vector"),
    "columns": Column(pa.int64(), "input size: length of a right singular vector"),
}
_SECONDS = {"seconds": Column(pa.float64(), "time that it took")}
_SLICE = {
    "slice": Column(pa.int32(), "number of the slice of singular values, from 1: the smallest ones"),
    "slices": Column(pa.int32(), "into how many slices of equal count the singular values are cut"),
}

VECTOR_COLUMNS: dict[str, Column] = {
    **_MATRIX,
    **_SIZES,
    "dtype": Column(pa.string(), "stored type of its elements"),
    "singular_values": _by_rank("in the matrix's units"),
    "residual": real("largest |W v - s u| and |W^T u - s v| of its vectors, over the largest singular value"),
    "orthogonality": real("largest absolute entry of V^T V - 1 and U^T U - 1"),
    "method": Column(pa.string(), "how the singular vectors were computed"),
    "scale": real_or_null("standard deviation of one entry of the iid noise, from the median value"),
    "lower_edge": real_or_null("iid noise has a value below it, or above upper_edge, ..."),
    "upper_edge": real_or_null("... with probability 0.01, both together"),
    "n_below": Column(pa.int64(), "singular values below lower_edge; null without verdict", nullable=True),
    "n_above": Column(pa.int64(), "singular values above upper_edge; null without verdict", nullable=True),
    "mp_reason": Column(pa.string(), "why there is no verdict under iid noise; empty if there is one"),
    "p_right": _by_rank(
        "Porter-Thomas test of the right singular vector: how often a random unit vector's entries are as "
        "far from Gaussian"
    ),
    "p_left": _by_rank("the same of the left singular vector"),
    "deviation_right": _by_rank("its Kolmogorov distance, in standard deviations of random vectors' from 0"),
    "deviation_left": _by_rank("the same of the left singular vector"),
    "windowed_right": _by_rank("mean of p_right over the window of neighbouring singular values"),
    "windowed_left": _by_rank("mean of p_left over it"),
    "windowed_low": real("lower end of the band in which such a mean lies under random vectors"),
    "windowed_high": real("upper end of it"),
    "window": Column(pa.int32(), "singular values in such a mean; fewer at the ends"),
    "draws": Column(pa.int64(), "random vectors that the test is calibrated with"),
    "untrained_singular_values": _by_rank_or_null(
        "of the same matrix of the untrained twin: same configuration, random weights"
    ),
    "untrained_p_right": _by_rank_or_null("p_right of the twin"),
    "untrained_p_left": _by_rank_or_null("p_left of the twin"),
    "untrained_windowed_right": _by_rank_or_null("windowed_right of the twin"),
    "untrained_windowed_left": _by_rank_or_null("windowed_left of the twin"),
    "levels": real_or_null("median count of distinct values among 32 neighbouring entries: 16 after 4 bits"),
    "warning": Column(pa.string(), "what limits the verdict, in words; empty where nothing does"),
    **_SECONDS,
}
"""One row per checkpoint and matrix."""

OVERLAP_COLUMNS: dict[str, Column] = {
    **_MATRIX,
    **_SIZES,
    "tokens": Column(pa.int64(), "tokens that the covariance of the matrix's inputs rests on"),
    "effective_sample": real_or_null(
        "independent inputs that would estimate it as well, as neighbouring tokens are alike; null unknown"
    ),
    "covariance_rank": Column(pa.int64(), "highest rank that the covariance can have with these tokens"),
    "centered": Column(pa.bool_(), "whether the mean over tokens was subtracted"),
    "variances": Column(_REALS, "eigenvalues of the covariance, descending; of the inputs' squared unit"),
    "overlap": _by_rank("largest |cosine| between the right singular vector and an eigenvector"),
    "overlap_index": Column(
        pa.list_(pa.int64()), f"number of that eigenvector, 0 of the largest variance; {_BY_RANK}"
    ),
    "p_value": _by_rank("how often a random direction has as large an overlap"),
    "null_location": real("overlap that half of all random directions reach, about"),
    "null_low": real("lower end of the band in which the overlap of a random direction lies"),
    "null_high": real("upper end of it"),
    "false_positive_rate": real("share of random directions outside the band"),
    "signed": Column(pa.bool_(), "whether cosines were taken with their sign, as the paper's code does"),
    "top": Column(pa.int64(), "eigenvectors of largest variance that span the top space"),
    "top_share": _by_rank("squared length of the right singular vector's part in the top space: 0 to 1"),
    "top_location": real("top_share of a random direction: its mean"),
    "top_low": real("lower end of the band of it"),
    "top_high": real("upper end of it"),
    "untrained_overlap": _by_rank_or_null("overlap of the untrained twin's vectors with its own activations"),
    "untrained_top_share": _by_rank_or_null("top_share of the twin"),
    **_SECONDS,
}
"""One row per checkpoint and matrix that has inputs of its own on the text."""

OVERLAP_MAP_COLUMNS: dict[str, Column] = {
    **_MATRIX,
    "shape": Column(pa.list_(pa.int64()), "singular values x eigenvectors"),
    "values": Column(
        pa.list_(pa.float32()),
        "|cosine| of every right singular vector, by descending singular value, with every eigenvector, by "
        "descending variance; row by row",
    ),
}
"""One row per checkpoint and matrix whose whole map was asked for."""

LESION_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "target": Column(pa.string(), "what was lesioned: a role in all layers, or a matrix by its name"),
    "target_kind": Column(pa.string(), "role or matrix"),
    **_PLACE,
    **_SLICE,
    "kind": Column(
        pa.string(),
        "lesion: the slice was removed; random_size: a random subspace of as many directions instead; "
        "random_energy: a random subspace of as much squared norm",
    ),
    "draw": Column(pa.int32(), "number of the random subspace, from 0; 0 for the lesion"),
    "matrices": Column(pa.int32(), "matrices that were changed"),
    "of_matrices": Column(pa.int32(), "matrices that the target has; fewer are changed where some cannot be"),
    "directions": Column(pa.int64(), "directions that were removed, of all of them together"),
    "removed_energy": real("removed share of the squared norm of the matrices that were changed"),
    "rounding": real_or_null(
        "squared norm of what rounding to the weights' type in memory did besides, over that of what was "
        "removed; null where nothing was"
    ),
    "measure": Column(pa.string(), "what was measured: loss, embedding, retrieval, ..."),
    "unit": Column(pa.string(), "unit of value, baseline and impact"),
    "value": real("the measure with the part removed"),
    "baseline": real("the measure of the untouched model"),
    "impact": real("harm done by the removal: the change of the measure, positive where it got worse"),
    "impact_low": real_or_null("lower end of its 95 % interval over units, paired; null below two units"),
    "impact_high": real_or_null("upper end of it"),
    "per_energy": real_or_null("impact / removed_energy; null where nothing was removed"),
    "units": Column(pa.int64(), "windows or texts that the interval rests on"),
    **_SECONDS,
}
"""One row per checkpoint, target, slice, kind, draw and measure."""

SLICE_COLUMNS: dict[str, Column] = {
    **_MATRIX,
    **_SLICE,
    "first_rank": Column(pa.int64(), "number of its largest singular value, 0 the largest of the matrix"),
    "last_rank": Column(pa.int64(), "number of its smallest one"),
    "energy_share": real_or_null("its share of the matrix's squared norm; null where that is 0"),
    "vector_deviation": real_or_null(
        "mean of deviation_right and deviation_left over it: 0 for random vectors; null below 8 entries"
    ),
    "value_deviation": real_or_null(
        "mean |ln| of its values over the Marchenko-Pastur quantiles, less that of noise; null without fit"
    ),
    "value_noise_sd": real_or_null(
        "standard deviation of value_deviation for noise of this shape, drawn; null without fit"
    ),
    "value_noise_draws": Column(
        pa.int64(),
        "draws of noise behind value_deviation, whose error of value_noise_sd / sqrt(draws) all matrices of "
        "a shape share; null without fit",
        nullable=True,
    ),
    "outside": Column(
        pa.int64(), "its values outside the Marchenko-Pastur edges; null without a fit", nullable=True
    ),
    "overlap_excess": real_or_null(
        "its mean overlap over null_location, less 1: 0 for random vectors; null without overlaps"
    ),
    "top_share": real_or_null("mean of its top_share; null without overlaps"),
    "principal": real_or_null(
        "mean squared cosine of the principal angles between its right singular vectors and the top space; "
        "null without overlaps"
    ),
}
"""One row per checkpoint, matrix and slice."""

CLAIM_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "claim": Column(
        pa.string(),
        "what is tested: consistent, same_in_both or diagnostic; or beyond_roles, which describes",
    ),
    "score": Column(
        pa.string(),
        "vector_deviation or value_deviation, as in slices; consistent and same_in_both take value_deviation "
        "over value_noise_sd",
    ),
    "against": Column(
        pa.string(),
        "what it is held against: role, layer, overlap_excess, per_energy: MEASURE, or another checkpoint",
    ),
    "statistic": Column(pa.string(), "what value is: a share of variance or a rank correlation"),
    "value": real_or_null("the statistic; null where there are too few points"),
    "low": real_or_null("lower end of its 95 % interval; null without one"),
    "high": real_or_null("upper end of it"),
    "shared": real_or_null(
        "what value is, on average, for groups (roles; of beyond_roles matrices within a role) paired at "
        "random: of profiles that all of them have"
    ),
    "beyond_low": real_or_null("lower end of the 95 % interval of value - shared; null without one"),
    "beyond_high": real_or_null("upper end of it"),
    "p_value": real_or_null("under permutations; null without them"),
    "points": Column(pa.int64(), "points that it rests on"),
    "point": Column(pa.string(), "what one of them is, such as a matrix and slice"),
    "reason": Column(pa.string(), "why there is no value, or empty"),
}
"""One row per checkpoint, claim, score and what it is held against."""

LOCATION_COLUMNS: dict[str, dict[str, Column]] = {
    "vectors": VECTOR_COLUMNS,
    "overlap": OVERLAP_COLUMNS,
    "overlap_map": OVERLAP_MAP_COLUMNS,
    "lesions": LESION_COLUMNS,
    "slices": SLICE_COLUMNS,
    "claims": CLAIM_COLUMNS,
}

_BY_MATRIX = [("layer", "ascending"), ("role", "ascending"), ("name", "ascending")]

LOCATION_ORDER: dict[str, list[tuple[str, str]]] = {
    "vectors": _BY_MATRIX,
    "overlap": _BY_MATRIX,
    "overlap_map": _BY_MATRIX,
    "lesions": [
        ("target_kind", "descending"),
        ("layer", "ascending"),
        ("role", "ascending"),
        *((column, "ascending") for column in ("target", "slice", "kind", "draw")),
    ],
    "slices": [*_BY_MATRIX, ("slice", "ascending")],
    "claims": [],
}
"""Columns that order the rows of one checkpoint; rows that agree in them stay as they were written."""
