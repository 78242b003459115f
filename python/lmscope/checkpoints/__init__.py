"""Opens checkpoints: headers first, weights one tensor at a time in their stored dtype. Imports no torch."""

from lmscope.architectures import TensorInfo
from lmscope.checkpoints.checkpoint import Checkpoint, open_checkpoint
from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.hub_listing import list_remote_checkpoint
from lmscope.checkpoints.stream import TensorStream

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "TensorInfo",
    "TensorStream",
    "list_remote_checkpoint",
    "open_checkpoint",
]
