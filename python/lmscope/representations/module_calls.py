"""What modules are given and give in one pass over a few tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmscope.representations.language_model import LanguageModel

if TYPE_CHECKING:
    import torch

__all__ = ["Calls", "call_once", "given_to"]

_TOKENS = 8


@dataclass
class Calls:
    """How often a module was run, and what it was given first.

    ``version`` is that tensor's, which changes when it is written to.
    """

    count: int = 0
    given: torch.Tensor | None = None
    version: int = 0

    def same_input(self, other: Calls) -> bool:
        """Whether both were given one piece of memory that nothing wrote to between them.

        That holds while both tensors are alive, as they are here: memory is not used again before.
        """
        one, two = self.given, other.given
        if one is None or two is None or self.version != other.version:
            return False
        if one is two:
            return True
        same_memory = one.data_ptr() == two.data_ptr() and one.numel() == two.numel()
        # A view with windows and tokens in one dimension has the same rows.
        same_rows = one.is_contiguous() and two.is_contiguous() and one.shape[-1] == two.shape[-1]
        return same_memory and same_rows and one.dtype == two.dtype


def given_to(args: tuple[Any, ...], named: Mapping[str, Any]) -> torch.Tensor | None:
    """The tensor that a module's forward gets first; None where it gets none."""
    import torch

    given = (value for value in (*args, *named.values()) if isinstance(value, torch.Tensor))
    return next(given, None)


def call_once(
    model: LanguageModel,
    names: Iterable[str],
    look: Callable[[str, torch.Tensor, Any], None] | None = None,
) -> dict[str, Calls]:
    """The calls of modules of ``model.model`` on a few tokens, by name, in the order in which they ran.

    Modules that did not run come last. ``look(name, given, made)`` is called as a module returns, before
    anything can write to what it made.
    """
    import torch

    calls = {name: Calls() for name in names}
    order: list[str] = []

    def before(name: str, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        call = calls[name]
        if not call.count:
            order.append(name)
            call.given = given_to(args, named)
            call.version = 0 if call.given is None else call.given._version
        call.count += 1

    def behind(name: str, args: tuple[Any, ...], named: dict[str, Any], made: Any) -> None:
        given = given_to(args, named)
        if look is not None and given is not None:
            look(name, given, made)

    hooks = []
    try:
        for name in calls:
            module = model.model.get_submodule(name)
            hooks += [
                module.register_forward_pre_hook(
                    lambda _, args, named, name=name: before(name, args, named), with_kwargs=True
                ),
                module.register_forward_hook(
                    lambda _, args, named, made, name=name: behind(name, args, named, made), with_kwargs=True
                ),
            ]
        # Tensors made in inference mode do not count what is written to them.
        with torch.inference_mode(False):
            model.outputs([model.some_ids(min(_TOKENS, model.context or _TOKENS))])
    finally:
        for hook in hooks:
            hook.remove()
    return {name: calls[name] for name in (*order, *(name for name in calls if name not in order))}
