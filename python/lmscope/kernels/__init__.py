"""One typed module per kernel family; each hands its arrays to the compiled core and returns a frozen
dataclass."""

import ctypes
import importlib.util
from pathlib import Path

# The core looks for OpenBLAS beside its own folder; this also finds it where the two packages live in
# different places. Found, not imported: importing scipy_openblas64 shows its symbols to every library loaded
# later, and scipy's own 32-bit LAPACK, which shares unprefixed names such as droundup_lwork_ with it, then
# fails in svd.
_spec = importlib.util.find_spec("scipy_openblas64")
if _spec is None or _spec.origin is None:
    raise ImportError("lmscope needs the package scipy-openblas64: pip install scipy-openblas64")
try:
    ctypes.CDLL(str(Path(_spec.origin).parent / "lib" / "libscipy_openblas64_.so"))
except OSError as error:
    raise ImportError(
        f"the OpenBLAS of the package scipy-openblas64 cannot be loaded ({error}): "
        "pip install --force-reinstall scipy-openblas64"
    ) from error
