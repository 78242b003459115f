"""One edit of several tokens together, saved as a file that can be applied to the checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lmscope.runs.errors import UsageError
from lmscope.runs.examined import Examined
from lmscope.runs.record_store import RecordStore
from lmscope.runs.settings import real_number
from lmscope.runs.streaming import reason_of
from lmscope.runs.unembedding_settings import UnembeddingSettings
from lmscope.runs.unembedding_steering import together_rows

_NAME = "the edit"


@dataclass(frozen=True)
class JointEdit:
    """Factors by token, solved for on the fitting text, and where the file goes."""

    factors: Mapping[int | str, float]
    path: Path
    allocation: str
    calibrate: bool

    def check(self, examined: Examined) -> None:
        """Raise `UsageError` for a token that the model does not have."""
        from lmscope.output_embedding.reachable import check_tokens, token_id

        subject = examined.trained
        try:
            check_tokens(subject.head, [token_id(subject.model, token) for token in self.factors])
        except ValueError as error:
            raise UsageError(f"edit: {error}") from error

    def save(self, store: RecordStore, examined: Examined) -> None:
        """Write the file, and record what it does on every text, in place of an earlier edit's.

        Where a factor cannot be reached, the reason is kept.
        """
        from lmscope.output_embedding.steering import steer_tokens

        subject, told = examined.trained, examined.told(_NAME)
        failed = {}
        try:
            steering = steer_tokens(
                subject.model,
                self.factors,
                fit=subject.fit,
                averages=subject.averages,
                encoding=subject.encoding,
                allocation=self.allocation,  # type: ignore[arg-type]
                calibrate=self.calibrate,
            )
        except ValueError as error:
            failed[told] = reason_of(error)
        else:
            steering.save(self.path)
            store.write("steering", examined.record("together"), together_rows(examined, steering))
        store.settle("steering", [told], failed)


def joint_edit(
    edit: Mapping[int | str, float] | None,
    save_edit: str | os.PathLike[str] | None,
    settings: UnembeddingSettings,
) -> JointEdit | None:
    """Raises `UsageError` where one is given without the other, or a factor is none."""
    if edit is None and save_edit is None:
        return None
    if not edit or save_edit is None:
        missing = "save_edit: give the file that the edit goes to" if edit else "edit: give token and factor"
        raise UsageError(missing)
    for token, factor in edit.items():
        if not 0 < real_number(f"edit: {token!r}", factor) < float("inf"):
            raise UsageError(f"edit: {token!r}: a factor must be above 0 and finite, got {factor:g}")
    path = Path(save_edit)
    if not path.resolve().parent.is_dir():
        raise UsageError(f"save_edit: {os.fspath(save_edit)!r}: there is no such folder")
    if path.is_dir():
        raise UsageError(
            f"save_edit: {os.fspath(save_edit)!r} is a folder; give the file that the edit goes to"
        )
    return JointEdit(dict(edit), path, settings.allocations[0], settings.calibrate)
