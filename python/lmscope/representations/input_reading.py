"""Hands over what modules are given while the model reads windows, and stops behind the last of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.module_calls import call_once, given_to
from lmscope.representations.weight_sites import WeightSite
from lmscope.representations.windows import Window

if TYPE_CHECKING:
    import torch

__all__ = ["InputReader", "SharedInput", "Take", "shared_inputs"]

_BATCH_TOKENS = 2048

Take = Callable[["torch.Tensor", Sequence[Window]], None]
"""Called with rows x inputs, and the windows (of equal length) that they are of, in this order."""


@dataclass(frozen=True, eq=False)
class SharedInput:
    """What one module is given, and with it every row of ``names``.

    ``routed``: an expert's, which gets some of the tokens.
    """

    names: tuple[str, ...]
    module: torch.nn.Module
    module_name: str
    inputs: int
    layer: int | None
    routed: bool


def shared_inputs(model: LanguageModel, sites: Iterable[WeightSite]) -> list[SharedInput]:
    """The different inputs of the sites' modules, in the order in which the model reads them."""
    by_module: dict[str, list[WeightSite]] = {}
    for site in sites:
        by_module.setdefault(site.module_name, []).append(site)
    calls = call_once(model, by_module)
    leaders: dict[str, list[WeightSite]] = {}
    for name, call in calls.items():
        leader = next((first for first in leaders if call.same_input(calls[first])), name)
        leaders.setdefault(leader, []).extend(by_module[name])
    return [
        SharedInput(
            names=tuple(site.info.name for site in together),
            module=together[0].module,
            module_name=leader,
            inputs=together[0].info.shape[1],
            layer=together[0].info.layer,
            routed=together[0].info.expert is not None,
        )
        for leader, together in leaders.items()
    ]


class InputReader:
    """Runs the model over the same windows again and again; ``advance`` is told the tokens of each."""

    def __init__(
        self, model: LanguageModel, windows: Sequence[Window], advance: Callable[[int], None]
    ) -> None:
        self._model = model
        self._windows = windows
        self._advance = advance

    def read(self, takes: Mapping[SharedInput, Take]) -> None:
        """One pass: every take gets all its inputs. Hooks are gone afterwards, whatever happens."""
        inside = {id(module) for module in self._model.base.modules()}
        head = any(id(one.module) not in inside for one in takes)
        for batch in _equal_lengths(self._windows):
            if takes:
                self._forward(batch, takes, head=head)
            for window in batch:
                self._advance(len(window.ids))

    def _forward(self, batch: Sequence[Window], takes: Mapping[SharedInput, Take], *, head: bool) -> None:
        missing = set(takes)

        def before(one: SharedInput, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            given = given_to(args, named)
            assert given is not None, one.module_name
            takes[one](given.detach().reshape(-1, one.inputs), batch)
            missing.discard(one)
            if not missing:
                raise _AllRead

        hooks = []
        try:
            for one in takes:
                hooks.append(
                    one.module.register_forward_pre_hook(
                        lambda _, args, named, one=one: before(one, args, named), with_kwargs=True
                    )
                )
            run = self._model.outputs if head else self._model.forward
            run([window.ids for window in batch])
        except _AllRead:
            pass
        finally:
            for hook in hooks:
                hook.remove()


class _AllRead(Exception):
    """Nothing behind the last wanted input needs to run."""


def _equal_lengths(windows: Sequence[Window]) -> Iterator[list[Window]]:
    """Batches of windows of one length, which need no padding; the longest first, then in their order."""
    in_order = sorted(windows, key=lambda window: -len(window.ids))
    for length, alike in groupby(in_order, key=lambda window: len(window.ids)):
        several = list(alike)
        at_once = max(1, _BATCH_TOKENS // length)
        for first in range(0, len(several), at_once):
            yield several[first : first + at_once]
