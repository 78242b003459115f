"""The weights in what torch.save was given: a state dict, alone or beside a training loop's own state."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmscope.checkpoints.errors import CheckpointError

if TYPE_CHECKING:
    import torch

# Where training loops put the weights.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "params", "weights")
# Tensors under these have the shapes of weights and are none, or are averages of them.
_TRAINING_STATE = re.compile(r"(.*[_.])?(optim\w*|ema|lr_sched\w*|scheduler\w*|rng)([_.].*)?", re.I)
_SAVE_ALONE = "save the weights alone, as a state dict or as safetensors"


def named_tensors(path: Path, content: Any) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """The weights in a loaded object, nested names joined by dots, and a warning about what is left out.

    CheckpointError where a training state is there and nothing tells which entry beside it holds the weights.
    """
    left_out: Counter[str] = Counter()
    chosen = _weights(path, content, left_out)
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in _walk("", chosen, left_out):
        if name in tensors:
            raise CheckpointError("named twice", file=path, tensor=name)
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            problem = "its name cannot be written as UTF-8: rename it where the file is made"
            raise CheckpointError(problem, file=path, tensor=ascii(name)) from error
        tensors[name] = tensor
    if not left_out:
        return tensors, ()
    counts = ", ".join(f"{count} under {key!r}" for key, count in left_out.items())
    return tensors, (f"{path.name}: tensors that are not the model's weights are left out: {counts}",)


def _weights(path: Path, content: Any, left_out: Counter[str]) -> Any:
    """What of ``content`` to walk; what else holds tensors is counted in ``left_out``."""
    if not isinstance(content, Mapping):
        return content
    if _is_training_state("", content):
        raise CheckpointError(
            "a training state without weights", file=path, expected="a state dict", found=_listed(content)
        )
    counts = {key: sum(1 for _ in _walk("", entry, None)) for key, entry in content.items()}
    nested = [
        key for key, count in counts.items() if count and isinstance(content[key], (Mapping, list, tuple))
    ]
    state = [key for key in nested if _is_training_state(key, content[key])]
    others = [key for key in nested if key not in state]
    wrappers = [key for key in others if key in _WRAPPERS and isinstance(content[key], Mapping)]
    matrices = [key for key, entry in content.items() if key not in nested and getattr(entry, "ndim", 0) > 1]
    if matrices or not (wrappers or state):
        return content
    choice = wrappers or others
    if len(choice) != 1:
        raise CheckpointError(
            f"which entry holds the weights is unclear: {_SAVE_ALONE}",
            file=path,
            expected=f"one of {', '.join(_WRAPPERS)}",
            found=_listed(nested),
        )
    left_out.update({str(key): count for key, count in counts.items() if count and key != choice[0]})
    return _weights(path, content[choice[0]], left_out)


def _is_training_state(key: object, entry: Any) -> bool:
    if (
        isinstance(entry, Mapping) and {"state", "param_groups"} <= entry.keys()
    ):  # an optimizer's, by any name
        return True
    return _TRAINING_STATE.fullmatch(str(key)) is not None


def _listed(keys: Any) -> str:
    return ", ".join(str(key) for key in keys)


def _walk(prefix: str, content: Any, left_out: Counter[str] | None) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor below; training state is counted in ``left_out`` instead where that is given."""
    import torch

    if isinstance(content, torch.Tensor):
        yield prefix, content
        return
    if isinstance(content, Mapping):
        entries = list(content.items())
    elif isinstance(content, (list, tuple)):
        entries = list(enumerate(content))
    else:
        return
    for key, entry in entries:
        name = f"{prefix}.{key}" if prefix else str(key)
        if left_out is not None and not isinstance(entry, torch.Tensor) and _is_training_state(key, entry):
            count = sum(1 for _ in _walk("", entry, None))
            left_out.update({name: count} if count else {})
        else:
            yield from _walk(name, entry, left_out)
