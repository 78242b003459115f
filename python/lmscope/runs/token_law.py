"""The law of entropy over sizes, from the records of several checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmscope.runs.reading import Reading
from lmscope.runs.record_store import RecordStore
from lmscope.runs.token_settings import TokenSettings

if TYPE_CHECKING:
    import pyarrow

_FORMS = ("power", "power_offset")
_NUMBERS = ("exponent", "exponent_low", "exponent_high", "coefficient", "offset", "r2", "aic", "aicc")


def write_law(
    store: RecordStore, entropy: pyarrow.Table, readings: Sequence[Reading], settings: TokenSettings
) -> None:
    """Fit the last layers' pooled entropies in the table `entropy`; nothing for a single checkpoint."""
    if len(readings) < 2:
        return
    last = {row["identity"]: row for row in entropy.to_pylist() if row["layer"] == row["layers"]}
    lacking = [reading.label for reading in readings if reading.checkpoint.identity not in last]
    rows = (
        [
            _row(form, len(readings), refused=f"no entropy of the last layer of {', '.join(lacking)}")
            for form in _FORMS
        ]
        if lacking
        else _fitted([last[reading.checkpoint.identity] for reading in readings], settings)
    )
    store.write("entropy_law", "last layers", rows)


def _fitted(records: Sequence[Mapping[str, Any]], settings: TokenSettings) -> list[dict[str, Any]]:
    from lmscope.analyses.entropy_law import fit_entropy_law

    law = fit_entropy_law(
        [record["parameters"] for record in records],
        [record["normalized"] for record in records],
        [record["iid_normalized"] for record in records],
        tokens=[record["tokens"] for record in records],
        dimensions=[record["dimensions"] for record in records],
        seed=settings.seed,
    )
    return [
        _row(fit.form, fit.models, fit.refused, {name: getattr(fit, name) for name in _NUMBERS})
        for fit in law.fits
    ]


def _row(
    form: str, models: int, refused: str | None, numbers: Mapping[str, float] | None = None
) -> dict[str, Any]:
    found = {name: (numbers or {}).get(name, math.nan) for name in _NUMBERS}
    return {
        "form": form,
        "layer": -1,
        **{name: value if math.isfinite(value) else None for name, value in found.items()},
        "models": models,
        "refused": refused,
    }
