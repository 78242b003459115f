"""Settings of `localize`: checked before any model is loaded, and which of them each table depends on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lmscope.runs.errors import UsageError
from lmscope.runs.selection import Selection, parse_layers
from lmscope.runs.settings import at_least, checked_seed, one_of, real_number

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
CONTROLS = ("random_size", "random_energy")
KINDS = ("lesion", *CONTROLS)


@dataclass(frozen=True)
class LocalizeSettings:
    """`texts` and `labelled` are digests of what is read, None where nothing is."""

    texts: str | None
    labelled: str | None
    selection: Selection
    window: int | None
    stride: int | None
    slices: int
    only_slices: tuple[int, ...]
    lesions: bool
    overlaps: bool
    controls: bool
    control_draws: int
    each_matrix: bool
    maps: tuple[str, ...]
    measures: tuple[str, ...] | None
    eval_tokens: int
    untrained: bool
    center: bool
    signed: bool
    top: int | None
    pt_window: int
    false_positive_rate: float
    layers_per_pass: int
    dtype: str
    seed: int

    def keys(self, identities: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Analysis -> the settings that its records depend on; `identities` are those of the checkpoints.

        Matrices, slices, controls and their draws are in none: each has records of its own.
        """
        twin = {"untrained": self.untrained, "dtype": self.dtype if self.untrained else None}
        vectors = {"pt_window": self.pt_window, "seed": self.seed, **twin}
        read = {"texts": self.texts, "window": self.window, "dtype": self.dtype}
        covariance = {**read, "center": self.center}
        overlap = {
            **covariance,
            "signed": self.signed,
            "top": self.top,
            "false_positive_rate": self.false_positive_rate,
            "untrained": self.untrained,
            "seed": self.seed,
        }
        lesions = {
            **read,
            "stride": self.stride,
            "slices": self.slices,
            "measures": None if self.measures is None else list(self.measures),
            "labelled": self.labelled,
            "eval_tokens": self.eval_tokens,
            "include": list(self.selection.include),
            "exclude": list(self.selection.exclude),
            "layers": sorted(self.selection.layers),
            "seed": self.seed,
        }
        return {
            "vectors": vectors,
            "overlap": overlap,
            "overlap_map": covariance,
            "lesions": lesions,
            "slices": {**vectors, **overlap, "slices": self.slices},
            "claims": {**vectors, **overlap, **lesions, "checkpoints": list(identities)},
        }

    @property
    def needs_model(self) -> bool:
        return self.lesions or self.overlaps or self.untrained or bool(self.maps)

    def lesion_kinds(self) -> list[tuple[str, int]]:
        """Kind and draw of everything that is removed for a slice."""
        draws = range(self.control_draws) if self.controls else ()
        return [("lesion", 0), *((kind, draw) for kind in CONTROLS for draw in draws)]


def localize_settings(
    *,
    texts: str | None,
    labelled: str | None,
    selection: Selection,
    window: int | None,
    stride: int | None,
    slices: int,
    only_slices: str | int | Iterable[int] | None,
    lesions: bool,
    overlaps: bool,
    controls: bool,
    control_draws: int,
    each_matrix: bool,
    maps: str | Iterable[str],
    measures: str | Iterable[str] | None,
    eval_tokens: int,
    untrained: bool,
    center: bool,
    signed: bool,
    top: int | None,
    pt_window: int,
    false_positive_rate: float,
    layers_per_pass: int,
    dtype: str,
    seed: int,
) -> LocalizeSettings:
    """Check them; raises `UsageError` naming the first wrong one."""
    count = at_least("slices", slices, 1)
    rate = real_number("false_positive_rate", false_positive_rate)
    if not 0 < rate < 1:
        raise UsageError(f"false_positive_rate: {false_positive_rate!r} must lie between 0 and 1")
    neighbours = at_least("pt_window", pt_window, 1)
    if neighbours % 2 == 0:
        raise UsageError(f"pt_window: {neighbours} must be odd: as many neighbours on each side")
    if maps and not overlaps:
        raise UsageError("maps: a map shows overlaps, which were not asked for")
    return LocalizeSettings(
        texts=texts,
        labelled=labelled,
        selection=selection,
        window=None if window is None else at_least("window", window, 2),
        stride=None if stride is None else at_least("stride", stride, 1),
        slices=count,
        only_slices=_numbers(only_slices, count),
        lesions=bool(lesions),
        overlaps=bool(overlaps),
        controls=bool(controls),
        control_draws=at_least("control_draws", control_draws, 1),
        each_matrix=bool(each_matrix),
        maps=(maps,) if isinstance(maps, str) else tuple(maps),
        measures=_measures(measures),
        eval_tokens=at_least("eval_tokens", eval_tokens, 1),
        untrained=bool(untrained),
        center=bool(center),
        signed=bool(signed),
        top=None if top is None else at_least("top", top, 1),
        pt_window=neighbours,
        false_positive_rate=rate,
        layers_per_pass=at_least("layers_per_pass", layers_per_pass, 1),
        dtype=one_of("dtype", dtype, DTYPES),
        seed=checked_seed(seed),
    )


def _numbers(given: str | int | Iterable[int] | None, slices: int) -> tuple[int, ...]:
    """The slices that are lesioned, all when None."""
    if given is None:
        return tuple(range(1, slices + 1))
    try:
        wanted = parse_layers(given)
    except UsageError as error:
        told = str(error).replace("layers:", "only_slices:").replace("layer", "slice")
        raise UsageError(
            told.replace("numbers from 0 up", "numbers from 1 up").replace("0-3,7", "1-3,7")
        ) from None
    beyond = sorted(one for one in wanted if not 1 <= one <= slices)
    if beyond:
        raise UsageError(
            f"only_slices: there is no slice {beyond[0]}; they count from 1, the smallest values, to {slices}"
        )
    return tuple(sorted(wanted))


def _measures(given: str | Iterable[str] | None) -> tuple[str, ...] | None:
    from lmscope.representations.measures import MEASURES

    if given is None:
        return None
    entries = [given] if isinstance(given, str) else list(given)
    names = [name.strip() for entry in entries for name in entry.split(",") if name.strip()]
    for name in names:
        if name not in MEASURES:
            raise UsageError(f"measures: {name!r} is no measure; choose from {', '.join(MEASURES)}")
    if not names:
        raise UsageError(f"measures: none given; choose from {', '.join(MEASURES)}")
    return tuple(name for name in MEASURES if name in names)
