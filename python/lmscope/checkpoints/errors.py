"""The one error of this room."""

from __future__ import annotations

from pathlib import Path

from lmscope.visible import visible

_LONGEST = 200


class CheckpointError(Exception):
    """A checkpoint, or one of its tensors, cannot be read.

    The message names what is known of file, tensor, expected and found; the same are attributes.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: Path | str | None = None,
        tensor: str | None = None,
        expected: str | None = None,
        found: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = file
        self.tensor = tensor
        self.expected = expected
        self.found = found
        named = [_shown(str(file), limit=1000)] if file is not None else []
        named += [f"tensor {_shown(tensor)}"] if tensor is not None else []
        message = ": ".join([*named, _shown(problem, limit=1000)])
        details = [
            f"{word} {_shown(what)}" for word, what in (("expected", expected), ("found", found)) if what
        ]
        super().__init__(f"{message} ({', '.join(details)})" if details else message)


def _shown(text: str, *, limit: int = _LONGEST) -> str:
    """What a file says, on one line of bounded length: control characters as escapes."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}...{text[-limit // 4 :]} ({len(text)} characters)"
    return visible(text)
