"""The beginning of a pass: who and what goes into the manifest, and what the checkpoint warns of."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmscope.runs.machine import machine

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint
    from lmscope.results import RunFolder

_LOG = logging.getLogger(__name__)


def begin_run(
    folder: RunFolder,
    checkpoint: Checkpoint,
    settings: Mapping[str, Mapping[str, Any]],
    device: str,
    asked: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write the manifest of the locked folder; `settings` by analysis, `asked` by verb."""
    from lmscope import __version__
    from lmscope.kernels.runtime import isa

    folder.write_manifest(
        checkpoint={
            "name": checkpoint.label,
            "path": str(checkpoint.path),
            "identity": checkpoint.identity,
            "model_type": checkpoint.model_type,
        },
        settings=settings,
        lmscope_version=__version__,
        device=device,
        isa=isa(),
        machine=machine(),
        asked=asked,
    )
    for text in checkpoint.warnings:
        _LOG.warning(text)
