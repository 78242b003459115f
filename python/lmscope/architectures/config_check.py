"""Whether config.json belongs to the weights beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lmscope.architectures.config_sizes import ConfigSizes
from lmscope.architectures.data_files import Architecture
from lmscope.architectures.tensor_info import FLOATS, StoredTensor


class ConfigMismatch(Exception):
    """The config is not this checkpoint's: ``tensor`` has the size ``found`` where it says ``expected``."""

    def __init__(self, tensor: str, expected: str, found: str) -> None:
        self.tensor = tensor
        self.expected = expected
        self.found = found
        super().__init__(f"tensor {tensor}: expected {expected}, found {found}")


def check_config(
    config: Mapping[str, Any], architecture: Architecture, weights: Mapping[str, StoredTensor]
) -> None:
    """ConfigMismatch where pinned sizes or the number of layers are not those of the config.

    ``weights`` are the stored tensors that hold plain weights, in natural order. Fewer layers than configured
    are no mismatch, as one file of several may be all there is; nor are padded vocabularies.
    """
    for pattern, entry in architecture.pinned:
        _check_inputs(config, architecture, weights, pattern, entry)
    _check_layers(config, architecture, weights)


def _check_inputs(
    config: Mapping[str, Any],
    architecture: Architecture,
    weights: Mapping[str, StoredTensor],
    pattern: re.Pattern[str],
    entry: str,
) -> None:
    """The first tensor that ``pattern`` pins must have the inputs that ``entry`` says."""
    other_names = {name: value for name, value in architecture.defaults.items() if isinstance(value, str)}
    # what the config itself says, no numbers of ours
    expected = ConfigSizes(config, other_names).value(entry)
    read = (
        name
        for name, stored in weights.items()
        if stored.shape and stored.dtype in FLOATS and pattern.fullmatch(architecture.bare(name))
    )
    name = next(read, None)
    if name is None or expected is None:
        return
    shape, matched = weights[name].shape, architecture.match(name)
    inputs = shape[0] if matched and matched[0].transposed else shape[-1]
    if inputs != expected:
        way = " rows (it is stored in x out)" if matched and matched[0].transposed else ""
        raise ConfigMismatch(name, f"{entry} = {expected}{way}", f"{list(shape)}, that is {inputs}")


def _check_layers(
    config: Mapping[str, Any], architecture: Architecture, weights: Mapping[str, StoredTensor]
) -> None:
    """No tensor may belong to a layer behind the last one of the config."""
    sizes = ConfigSizes(config, architecture.defaults)
    layers = sizes.value(architecture.layers) if architecture.layers else None
    if layers is None:
        return
    more = (sizes.value(architecture.more_layers) or 0) if architecture.more_layers else 0
    highest, name = -1, ""
    for stored in weights:
        matched = architecture.match(stored)
        layer = int(matched[1].groupdict().get("layer") or 0) if matched else 0
        if layer > highest:
            highest, name = layer, stored
    if highest >= layers + more:
        behind = f" and {more} behind them" if more else ""
        found = f"layer {highest}, that is {highest + 1} layers"
        raise ConfigMismatch(name, f"{architecture.layers} = {layers}{behind}", found)
