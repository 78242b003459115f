"""The encoding of a model's average token probabilities in its output embedding, from texts or arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lmscope.analyses.token_encoding import Encoding, fit_token_encoding

__all__ = ["token_probability_encoding"]


def token_probability_encoding(
    model: Any = None,
    tokenizer: Any = None,
    texts: Iterable[str | Mapping[str, Any]] | None = None,
    *,
    hidden: Any = None,
    embedding: Any = None,
    bias: Any = None,
    scale: float = 1.0,
    softcap: float | None = None,
    tokens: Any = None,
    ridge: float | None = None,
    shuffle: int | None = None,
    window: int | None = None,
    positions: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> Encoding:
    """How far the logarithm of tokens' average probabilities is a linear function of the output embedding.

    Average next-token probabilities over all positions, :func:`lmscope.average_probabilities`, of either a
    causal model on texts or of given states, regressed on the embedding by
    :func:`lmscope.fit_token_encoding`. The slope is in the coordinates of the states as the head reads them,
    behind the final norm and its gain; with logits that hardly vary it is ``-scale`` times the mean state.

    Args:
        model: a :class:`lmscope.LanguageModel`, or a causal transformers model with its ``tokenizer``; its
            head's bias, scale and soft-cap are the model's own.
        tokenizer: of a transformers model.
        texts: strings, or mappings that hold one under "text".
        hidden: in place of a model, states that a head reads: positions x d, numpy array or torch tensor.
        embedding: V x d, of that head.
        bias: shape (V,), of that head, or None.
        scale, softcap: of that head: ``logit = c(scale * (E_w . h + b_w))``, ``c(x) = softcap * tanh(x /
            softcap)``.
        tokens, ridge, shuffle: as `fit_token_encoding` has them.
        window, positions: of the texts: tokens of a window, and the most positions, as
            :func:`lmscope.capture` has the first; whole windows spread evenly over the texts are read.
        advance: called with the number of positions of each step; with a model every position is passed
            twice, when its state is made and when it is averaged.

    Raises:
        ValueError: neither a model with texts nor states with an embedding, or parts of both; an encoder, or
            a head of another formula; too few tokens, positions, or other values that `fit_token_encoding`
            and `average_probabilities` refuse.
        TypeError: other dtypes, a tokenizer beside a LanguageModel.
    """
    from lmscope.representations.next_states import next_states
    from lmscope.representations.output_head import OutputHead, output_head
    from lmscope.representations.token_averages import head_averages

    of_arrays = {"hidden": hidden, "embedding": embedding, "bias": bias, "softcap": softcap}
    if model is None:
        missing = [name for name in ("hidden", "embedding") if of_arrays[name] is None]
        if missing or tokenizer is not None or texts is not None:
            raise ValueError(
                "give either a model with texts, or hidden and embedding; found "
                + (f"no {' and no '.join(missing)}" if missing else "states beside a tokenizer or texts")
            )
        head, states = OutputHead(weight=embedding, bias=bias, scale=scale, softcap=softcap), hidden
    else:
        beside = [name for name, given in of_arrays.items() if given is not None] + ["scale"] * (scale != 1)
        if beside or texts is None:
            raise ValueError(
                "give either a model with texts, or hidden and embedding; found a model "
                + (f"beside {', '.join(beside)}" if beside else "without texts")
            )
        wrapped = _language_model(model, tokenizer)
        head = output_head(wrapped)
        states = next_states(wrapped, texts, window=window, positions=positions, advance=advance).states
    averages = head_averages(head, states, advance=advance)
    return fit_token_encoding(
        head.weight.cpu(),
        averages.log_probability,
        bias=None if head.bias is None else head.bias.cpu(),
        hidden_mean=averages.hidden_mean,
        tokens=tokens,
        ridge=ridge,
        shuffle=shuffle,
    )


def _language_model(model: Any, tokenizer: Any) -> Any:
    from lmscope.representations.language_model import LanguageModel

    if isinstance(model, LanguageModel):
        if tokenizer is not None:
            raise TypeError("tokenizer: a LanguageModel has its own; give texts by name, texts=...")
        return model
    if tokenizer is None:
        raise TypeError(
            f"tokenizer: a {type(model).__name__} needs one; give it, or the LanguageModel of load_model"
        )
    label = str(getattr(model, "name_or_path", "") or type(model).__name__)
    return LanguageModel(model, tokenizer, "causal", label)
