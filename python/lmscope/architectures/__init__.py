"""What every stored tensor is: role, layer, expert and orientation, from one data file per model type."""

from lmscope.architectures.config_check import ConfigMismatch
from lmscope.architectures.data_files import Architecture, load_architecture, registered
from lmscope.architectures.resolve import Resolution, resolve
from lmscope.architectures.roles import ROLES, Role
from lmscope.architectures.tensor_info import Part, StoredTensor, TensorInfo

__all__ = [
    "ROLES",
    "Architecture",
    "ConfigMismatch",
    "Part",
    "Resolution",
    "Role",
    "StoredTensor",
    "TensorInfo",
    "load_architecture",
    "registered",
    "resolve",
]
