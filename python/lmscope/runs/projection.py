"""What `analyze` will need: the projection that `lmscope inspect` prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lmscope.runs.cost import WORK_BYTES, bytes_of_stored, calibration_seconds, cores, spectra_seconds
from lmscope.runs.progress import format_bytes, format_seconds
from lmscope.runs.settings import SimilaritySettings, SpectraSettings
from lmscope.runs.similarity_cost import SimilarityProjection, project_similarity

if TYPE_CHECKING:
    from lmscope.architectures import TensorInfo


@dataclass(frozen=True, repr=False)
class Projection:
    """What `analyze` will need for a checkpoint, as `lmscope inspect` prints it.

    Bytes and seconds; `calibration_seconds` of the `seconds` fall away where this machine has seen the shapes
    before. `memory_bytes` comes on top of the process after its imports: for the spectra 1.5 times the
    largest Gram matrix (float64, smaller side squared), twice the largest stored tensor (fused ones whole)
    and 128 MB, or what similarities need at least where that is more; and files that can only be loaded
    whole. The time of `similarity` is part of `seconds`.
    """

    matrices: int
    read_bytes: int
    largest_tensor_bytes: int
    largest_gram_bytes: int
    memory_bytes: int
    seconds: float
    calibration_seconds: float
    cores: int
    assumption: str
    similarity: SimilarityProjection

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentences(self) -> list[str]:
        """What an analysis will need, in words and without full stops; pairs have a sentence of their own."""
        return [self.sentence(), *([self.similarity.sentence()] if self.similarity.pairs else [])]

    def sentence(self) -> str:
        """What an analysis will need, in words and without a full stop."""
        if not self.matrices:
            return "There is no matrix to analyse"
        return (
            f"An analysis needs about {format_bytes(self.memory_bytes)} of memory and "
            f"{format_seconds(self.seconds)} on an idle machine ({self.assumption}); "
            f"{format_seconds(self.calibration_seconds)} of that calibrate shapes new to this machine, once"
        )

    def __repr__(self) -> str:
        return f"<Projection of {self.matrices} matrices: {self.sentence()}>"


def project(
    tensors: Iterable[TensorInfo],
    of_spectra: SpectraSettings,
    of_pairs: SimilaritySettings,
    *,
    loaded_bytes: int = 0,
) -> Projection:
    """Projection for the planned tensors among `tensors`; `loaded_bytes` of files stay in memory."""
    tensors = list(tensors)
    stored = bytes_of_stored(tensors)
    planned = [tensor for tensor in tensors if tensor.status == "planned"]
    threads = cores()
    shapes = {(min(tensor.shape), max(tensor.shape)) for tensor in planned}
    largest_tensor = max((stored[tensor.stored_name] for tensor in planned), default=0)
    largest_gram = max((8 * min(tensor.shape) ** 2 for tensor in planned), default=0)
    calibrating = sum(calibration_seconds(shape, threads=threads) for shape in shapes)
    similarity = project_similarity(planned, of_pairs)
    memory = max(3 * largest_gram // 2 + 2 * largest_tensor + WORK_BYTES, similarity.least_memory_bytes)
    return Projection(
        matrices=len(planned),
        read_bytes=sum(tensor.nbytes for tensor in planned),
        largest_tensor_bytes=largest_tensor,
        largest_gram_bytes=largest_gram,
        memory_bytes=memory + loaded_bytes if planned else 0,
        seconds=sum(spectra_seconds(tensor.shape, of_spectra, threads=threads) for tensor in planned)
        + calibrating
        + similarity.seconds,
        calibration_seconds=calibrating,
        cores=threads,
        assumption=f"{threads} core{'s' * (threads > 1)}, a fast disk, {of_spectra.draws} draws",
        similarity=similarity,
    )
