"""How many tokens a forward pass reads whose result is only summed or scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmscope.representations.language_model import LanguageModel

__all__ = ["tokens_at_once"]

# One window: activations of more would take more memory than a layer's covariances, and no less time.
_ON_CPU = 512
# Fewer would leave the device waiting.
_ON_DEVICE = 4096


def tokens_at_once(model: LanguageModel) -> int:
    """Tokens of a pass where lesions are measured and inputs gathered; a longer window is read alone."""
    return _ON_CPU if model.device.type == "cpu" else _ON_DEVICE
