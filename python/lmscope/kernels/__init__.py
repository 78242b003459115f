"""One typed module per kernel family; each hands its arrays to the compiled core and returns a frozen dataclass."""

import ctypes
from pathlib import Path

import scipy_openblas64

# The core looks for OpenBLAS beside its own folder; this also finds it where the two packages live in different places.
ctypes.CDLL(str(Path(scipy_openblas64.get_lib_dir()) / "libscipy_openblas64_.so"))
