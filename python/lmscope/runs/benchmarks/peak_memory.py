"""Most memory that this process took since a moment."""

from __future__ import annotations

from pathlib import Path

_PROCESS = Path("/proc/self")


class PeakMemory:
    """Begins to watch when it is made; needs a kernel that lets a process forget its peak."""

    def __init__(self) -> None:
        try:
            # 5: the peak of the resident set becomes what it is now.
            (_PROCESS / "clear_refs").write_text("5", encoding="ascii")
        except OSError:
            self._before: int | None = None
        else:
            self._before = _status("VmRSS")

    def extra_bytes(self) -> int | None:
        """Peak of the resident set above what it was at first; None where the kernel does not tell."""
        return None if self._before is None else max(0, _status("VmHWM") - self._before)


def _status(name: str) -> int:
    for line in (_PROCESS / "status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")
