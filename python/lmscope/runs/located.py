"""One checkpoint of a `localize` run: its matrices, where they sit in the model, and what its rows share."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmscope.runs.errors import UsageError
from lmscope.runs.reading import Reading
from lmscope.runs.selection import Selection
from lmscope.runs.streaming import check_selection

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint, TensorInfo
    from lmscope.representations import LanguageModel
    from lmscope.representations.weight_sites import WeightSite

OUTSIDE_LAYERS = "outside the layers: localize takes it where it is asked for by role or name"


class Located:
    """`own`: the checkpoint is the one that the result folder is of."""

    def __init__(self, reading: Reading, step: int | None, selection: Selection, *, own: bool) -> None:
        self.reading = reading
        self.step = step
        self.selection = selection
        self.own = own
        self._sites: dict[str, WeightSite | str] = {}
        self._sites_of: LanguageModel | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        return self.reading.checkpoint

    @property
    def label(self) -> str:
        return self.reading.label

    @cached_property
    def matrices(self) -> list[TensorInfo]:
        """Those that are looked at: in the layers, and others where roles or names were asked for."""
        return [tensor for tensor in self.checkpoint if tensor.status == "planned" and self.wants(tensor)]

    def wants(self, tensor: TensorInfo) -> bool:
        asked = bool(self.selection.roles or self.selection.include)
        return tensor in self.selection and (asked or tensor.layer is not None)

    def matches(self, tensor: TensorInfo, pattern: str) -> bool:
        """By its name, or the stored one of a part, as `include` has it."""
        return any(fnmatchcase(name, pattern) for name in (tensor.name, tensor.stored_name))

    def check(self, slices: int) -> None:
        """Raise `UsageError` for a role that the checkpoint does not have, where no matrix is left, and where
        none can be cut into `slices`."""
        planned = [tensor for tensor in self.checkpoint if tensor.status == "planned"]
        roles = list(dict.fromkeys(tensor.role for tensor in planned))
        for role in sorted(self.selection.roles - set(roles)):
            raise UsageError(f"roles: {self.label} has no matrix of role {role!r}; it has {', '.join(roles)}")
        check_selection(self.checkpoint, self.selection)
        if not self.matrices:
            raise UsageError(
                f"no matrix of {self.label} is in a layer; --roles takes others, and "
                f"`lmscope inspect {os.fspath(self.checkpoint.path)}` lists what there is"
            )
        most = max(min(tensor.shape) for tensor in self.matrices)
        if slices > most:
            raise UsageError(
                f"slices: no matrix of {self.label} that is looked at can be cut into {slices}: the largest "
                f"has {most} singular values"
            )

    def record(self, name: str) -> str:
        """The name of a matrix' record: those of the run's own checkpoint go by the tensor's."""
        return name if self.own else f"{self.checkpoint.identity} {name}"

    def told(self, what: str) -> str:
        """What it is called where it fails."""
        return f"{self.label}, {what}"

    @property
    def about(self) -> dict[str, Any]:
        return {"checkpoint": self.label, "identity": self.checkpoint.identity, "step": self.step}

    def about_matrix(self, tensor: TensorInfo) -> dict[str, Any]:
        names = ("name", "role", "layer", "expert")
        return {**self.about, **{name: getattr(tensor, name) for name in names}}

    @property
    def model(self) -> LanguageModel:
        """The trained model; loaded again after `untrained` took its place."""
        model = self.reading.model
        self._place(model)
        return model

    def untrained(self, seed: int) -> LanguageModel:
        """The untrained twin, in the model's place."""
        self._place(self.reading.model)
        twin = self.reading.untrained(seed)
        self._place(twin)
        return twin

    def sites(self, model: LanguageModel) -> dict[str, WeightSite | str]:
        """Where every matrix sits in `model`, or why it sits nowhere."""
        self._place(model)
        return self._sites

    def _place(self, model: LanguageModel) -> None:
        from lmscope.representations.weight_sites import same_sites, weight_sites

        if model is self._sites_of:
            return
        self._sites = same_sites(self._sites, model) if self._sites else weight_sites(model, self.checkpoint)
        self._sites_of = model

    def forget(self) -> None:
        """Let go of the model and of what refers to it."""
        self._sites, self._sites_of = {}, None
        self.reading.forget()
