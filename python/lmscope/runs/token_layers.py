"""What was found of the entropies of one layer, and the files that keep it until records are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.reading import Reading
from lmscope.runs.record_store import RecordStore

if TYPE_CHECKING:
    from lmscope.analyses.representation_entropy import Entropy

MODELS = ("model", "untrained twin")


@dataclass
class LayerEntropies:
    """One layer of one model: what all its tokens give together, and each passage by itself."""

    total: npt.NDArray[np.float64]
    tokens: int = 0
    passages: dict[tuple[int, int], Entropy] = field(default_factory=dict)
    pooled: Entropy | None = None
    problem: str = ""
    mean_known: bool = False

    def content(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "total": self.total.tolist(),
            "tokens": self.tokens,
            "passages": [[*place, asdict(entropy)] for place, entropy in self.passages.items()],
            "pooled": self.pooled and asdict(self.pooled),
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> LayerEntropies:
        passages = {(text, window): _entropy(kept) for text, window, kept in content["passages"]}
        pooled = content["pooled"] and _entropy(content["pooled"])
        return cls(np.array(content["total"]), content["tokens"], passages, pooled, mean_known=True)


def _entropy(kept: Mapping[str, Any]) -> Entropy:
    from lmscope.analyses.representation_entropy import Entropy, EntropySettings

    return Entropy(**{**kept, "settings": EntropySettings(*kept["settings"])})


class Stages:
    """What each pass over the text found, in files until the records are written: a kill loses one pass."""

    def __init__(self, store: RecordStore, reading: Reading) -> None:
        self._store = store
        self._of = reading.checkpoint.identity

    def layer(self, model: str, layer: int, dimensions: int) -> LayerEntropies:
        content = self._store.stage("entropy", self._name(model, layer))
        return LayerEntropies.of(content) if content else LayerEntropies(np.zeros(dimensions))

    def keep(self, model: str, found: Mapping[int, LayerEntropies]) -> None:
        for layer, one in found.items():
            if not one.problem:
                self._store.keep_stage("entropy", self._name(model, layer), one.content())

    def drop(self, layer: int) -> None:
        for model in MODELS:
            self._store.keep_stage("entropy", self._name(model, layer), None)

    def losses(self) -> dict[str, Any]:
        return self._store.stage("entropy", f"{self._of} losses")

    def keep_losses(self, losses: Mapping[str, Any] | None) -> None:
        self._store.keep_stage("entropy", f"{self._of} losses", losses)

    def _name(self, model: str, layer: int) -> str:
        return f"{self._of} layer {layer} of the {model}"
