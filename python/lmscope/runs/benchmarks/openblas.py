"""Libraries of OpenBLAS that wheels bring, and what they say of themselves."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path
from typing import Any


def our_library() -> Path:
    """That of lmscope's kernels. Found, not imported: see lmscope.kernels."""
    spec = importlib.util.find_spec("scipy_openblas64")
    if spec is None or spec.origin is None:
        raise ImportError("no module named 'scipy_openblas64'")
    return Path(spec.origin).parent / "lib" / "libscipy_openblas64_.so"


def openblas_beside(module_file: str) -> str:
    """`openblas_facts` of what a wheel ships in `NAME.libs` beside the package."""
    package = Path(module_file).parent
    for library in sorted((package.parent / f"{package.name}.libs").glob("*openblas*")):
        return openblas_facts(library)
    return "unknown"


def openblas_facts(library: Path) -> str:
    """Version, build options and the kernels chosen for this CPU (the core type), as the library says."""
    loaded = ctypes.CDLL(str(library))
    words = [_words(loaded, function) for function in ("get_config", "get_corename")]
    return ", core type ".join(word for word in words if word) or "unknown"


def _words(loaded: Any, function: str) -> str | None:
    for name in (f"scipy_openblas_{function}64_", f"scipy_openblas_{function}", f"openblas_{function}"):
        if hasattr(loaded, name):
            call = getattr(loaded, name)
            call.restype = ctypes.c_char_p
            found: str = call().decode()
            return found
    return None
