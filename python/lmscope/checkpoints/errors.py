"""The one error of this room."""

from __future__ import annotations

from pathlib import Path


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
        named = [str(file)] if file is not None else []
        named += [f"tensor {tensor}"] if tensor is not None else []
        message = ": ".join([*named, problem])
        details = [f"{word} {what}" for word, what in (("expected", expected), ("found", found)) if what]
        super().__init__(f"{message} ({', '.join(details)})" if details else message)
