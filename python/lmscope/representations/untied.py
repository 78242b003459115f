"""A head tied to the token embedding is given a weight of its own, and is tied again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from lmscope.representations.row_parameters import shared_with

if TYPE_CHECKING:
    import torch

    from lmscope.representations.language_model import LanguageModel

__all__ = ["untied"]

_COUNTS = ("parameters", "parameters_without_embedding")


@contextmanager
def untied(model: LanguageModel) -> Iterator[torch.nn.Parameter]:
    """Within the ``with`` block the head's weight is a parameter of its own; given is that parameter.

    A head that is tied, or lies in memory that another parameter uses, is given a copy of its weight (so much
    more memory); what the model gives stays the same until one of the two is changed. Its config says
    ``tie_word_embeddings`` false meanwhile, so that a model that is saved within keeps both. Afterwards, also
    after an exception, the parameter, the tie and the config are those from before: what was done to the
    copy is gone. A head that is not tied is given as it is, and what is done to it stays.

    Raises:
        ValueError: a model without a head, or whose head keeps its weight elsewhere than in a parameter.
    """
    head, weight = _head(model)
    if not _is_shared(model, head, weight):
        yield weight
        return
    import torch

    with ExitStack() as restored:
        restored.callback(_forget_counts, model)
        own = torch.nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
        if head is model.model.get_input_embeddings():
            restored.enter_context(_embedding_with(head, weight))
        restored.callback(head.register_parameter, "weight", weight)
        head.register_parameter("weight", own)
        restored.enter_context(_said_untied(model.model, head))
        _forget_counts(model)
        yield own


def _head(model: LanguageModel) -> tuple[Any, torch.nn.Parameter]:
    head = model.model.get_output_embeddings()
    name = type(model.model).__name__
    if head is None:
        raise ValueError(f"model: {model.label} has no head: {name} gives hidden states only")
    if "weight" not in head._parameters:
        raise ValueError(
            f"model: {model.label} has a head, a {type(head).__name__}, whose weight is no parameter of it "
            "(quantised, parametrised or behind an adapter): load the model without that"
        )
    return head, head._parameters["weight"]


def _is_shared(model: LanguageModel, head: Any, weight: torch.nn.Parameter) -> bool:
    parameters = dict(model.model.named_parameters(remove_duplicate=False))
    own = _names(model.model, head)
    if head is model.model.get_input_embeddings():
        return True
    return any(name not in own for name in shared_with(next(iter(own)), parameters))


def _names(model: Any, head: Any) -> list[str]:
    """What the head's weight is called; twice where the module has two names."""
    modules = model.named_modules(remove_duplicate=False)
    return [f"{name}.weight" for name, module in modules if module is head]


@contextmanager
def _embedding_with(module: Any, weight: torch.nn.Parameter) -> Iterator[None]:
    """Inside, a module that is embedding and head at once embeds token ids with ``weight``."""
    from torch.func import functional_call

    before = module.__dict__.get("forward")
    forward = module.forward
    embeds = False

    def either(states: Any, *rest: Any, **named: Any) -> Any:
        nonlocal embeds
        if embeds or states.is_floating_point():
            return forward(states, *rest, **named)
        embeds = True
        try:
            return functional_call(module, {"weight": weight}, (states, *rest), named)
        finally:
            embeds = False

    module.forward = either
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


@contextmanager
def _said_untied(model: Any, head: Any) -> Iterator[None]:
    """Inside, neither the config nor transformers' list of ties says that the head is tied."""
    configs = {id(config): config for config in (model.config, model.config.get_text_config())}
    tying = [config for config in configs.values() if getattr(config, "tie_word_embeddings", False)]
    ties = getattr(model, "all_tied_weights_keys", None)
    names = set(_names(model, head))
    try:
        for config in tying:
            config.tie_word_embeddings = False
        if ties is not None:
            model.all_tied_weights_keys = {
                one: other for one, other in ties.items() if not names & {one, other}
            }
        yield
    finally:
        for config in tying:
            config.tie_word_embeddings = True
        if ties is not None:
            model.all_tied_weights_keys = ties


def _forget_counts(model: LanguageModel) -> None:
    for name in _COUNTS:
        vars(model).pop(name, None)
