"""Measures by name, or those that a model has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.budget import Reading
from lmscope.representations.measures.embedding import EmbeddingMeasure, long_enough
from lmscope.representations.measures.head_accuracy import HeadAccuracyMeasure
from lmscope.representations.measures.loss import LossMeasure
from lmscope.representations.measures.masked_loss import MaskedLossMeasure
from lmscope.representations.measures.measure import MEASURES, Measure
from lmscope.representations.measures.readout_accuracy import ReadoutAccuracyMeasure
from lmscope.representations.measures.token_readout import TokenReadoutMeasure
from lmscope.representations.windows import whole_number

__all__ = ["measures_for"]

_LOG = logging.getLogger(__name__)


def measures_for(
    model: LanguageModel,
    texts: Sequence[str],
    *,
    names: Iterable[str] | None = None,
    window: int | None = None,
    stride: int | None = None,
    eval_tokens: int = 4096,
    targets: int = 64,
    labelled: tuple[Sequence[str], Sequence[str | int]] | None = None,
    seed: int = 0,
    left_out: dict[str, str] | None = None,
) -> list[Measure]:
    """What can be measured of a model again and again, made ready on the model as it stands.

    Call it on the untouched model: reference values are read and read-outs fitted here. A change to the
    weights is then seen by ``evaluate()``, which always reads the same windows in the same batches, so that
    an unchanged model gives the same bits.

    Args:
        model: from :func:`lmscope.load_model`; its head decides what there is.
        texts: strings.
        names: of :data:`lmscope.MEASURES`. None: ``loss`` for a causal model; ``masked_loss`` for an encoder
            with its masked-LM head; ``embedding``, ``retrieval`` (where at least 4 texts have 16 tokens) and
            ``readout_loss`` (where the tokenizer has a mask token) for one without; and ``accuracy`` where
            there are labelled texts. One of these that cannot be made ready, as where the texts are too few
            for its fit, is left out; a measure that is named is not.
        window: tokens of a window, special ones included; None: 512 for ``embedding`` and ``retrieval``, 256
            for ``loss``, 128 for the others, or the model's context where that is less.
        stride: tokens from one window of ``loss`` to the next; None: half of a window.
        eval_tokens: most tokens that one evaluation of a measure reads, special ones included: whole windows
            or texts, evenly spaced over all, the first chosen by the seed; at least one. ``embedding`` and
            ``retrieval`` read equally many tokens of the beginning of each half of a text. A fit reads at
            most eight times as many.
        targets: of ``readout_loss``: most tokens that the read-out tells apart.
        labelled: of ``accuracy``: texts and labels, as :func:`lmscope.read_labelled` gives them. A model with
            a sequence-classification head is asked for their labels by name or number; else a read-out of the
            embedding is fitted to half of the set and tested on the other half.
        seed: of masks, halves and spacing.
        left_out: takes the reason for each measure that was left out, by name; where it is None, they are
            logged as warnings.

    Returns:
        The measures; ``embedding`` and ``retrieval`` are one.

    Raises:
        ValueError: an unknown name, a named measure that the model does not have (the message says what it
            needs), too little text for it or, without names, for all measures; arguments out of range.
        TextError: a text without tokens.
    """
    if isinstance(texts, str):
        raise TypeError("texts: one text was given; give a list of texts")
    texts = list(texts)
    if not texts:
        raise ValueError("texts: there are none")
    for name, number, least in (("eval_tokens", eval_tokens, 1), ("targets", targets, 2), ("seed", seed, 0)):
        if whole_number(name, number) < least:
            raise ValueError(f"{name}: {number} is less than {least}")
    wanted = _names(model, texts, names, labelled is not None)
    reading = Reading(window, eval_tokens, seed)
    makers: list[tuple[list[str], Callable[[list[str]], Measure]]] = [
        (["loss"], lambda _: LossMeasure(model, texts, reading, stride=stride)),
        (["masked_loss"], lambda _: MaskedLossMeasure(model, texts, reading)),
        (["embedding", "retrieval"], lambda own: EmbeddingMeasure(model, texts, reading, names=own)),
        (["readout_loss"], lambda _: TokenReadoutMeasure(model, texts, reading, targets=targets)),
        (["accuracy"], lambda _: _accuracy(model, labelled, reading)),
    ]
    found: list[Measure] = []
    reasons: dict[str, str] = {}
    for group, make in makers:
        own = [name for name in wanted if name in group]
        while own:
            try:
                found.append(make(own))
                break
            except ValueError as error:
                if names is not None:
                    raise
                # Of two that are read together the first may do without the second.
                reasons[own.pop()] = str(error)
    if not found:
        raise ValueError("; ".join(dict.fromkeys(reasons.values())))
    if left_out is not None:
        left_out.update(reasons)
    else:
        for name, reason in reasons.items():
            _LOG.warning("%s is not measured: %s", name, reason)
    return found


def _names(
    model: LanguageModel, texts: Sequence[str], names: Iterable[str] | None, labelled: bool
) -> list[str]:
    if names is None:
        return _defaults(model, texts) + ["accuracy"] * labelled
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in MEASURES:
            raise ValueError(f"names: {name!r} is no measure; there are {', '.join(MEASURES)}")
    if not wanted:
        raise ValueError(f"names: there are none; choose of {', '.join(MEASURES)}")
    if labelled and "accuracy" not in wanted:
        raise ValueError("labelled: the texts are for accuracy, which is not among the names")
    return wanted


def _defaults(model: LanguageModel, texts: Sequence[str]) -> list[str]:
    if model.kind == "causal":
        return ["loss"]
    if model.head == "masked_lm":
        return ["masked_loss"]
    found = ["embedding"]
    found += ["retrieval"] * long_enough(model, texts)
    return found + ["readout_loss"] * (model.tokenizer.mask_token_id is not None)


def _accuracy(
    model: LanguageModel, labelled: tuple[Sequence[str], Sequence[str | int]] | None, reading: Reading
) -> Measure:
    texts, labels = _checked(labelled)
    by_head = model.head == "sequence_classification"
    return (HeadAccuracyMeasure if by_head else ReadoutAccuracyMeasure)(model, texts, labels, reading)


def _checked(
    labelled: tuple[Sequence[str], Sequence[str | int]] | None,
) -> tuple[Sequence[str], Sequence[str | int]]:
    if labelled is None:
        raise ValueError("accuracy: it needs labelled texts")
    texts, labels = list(labelled[0]), list(labelled[1])
    if len(texts) != len(labels) or not texts:
        raise ValueError(f"labelled: {len(texts)} texts and {len(labels)} labels; as many of each are needed")
    return texts, labels
