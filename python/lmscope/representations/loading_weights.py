"""The transformers class that a checkpoint's weights are for, filled with them and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lmscope.checkpoints import CheckpointError
from lmscope.representations.dtype_option import dtype_option

__all__ = ["HEADS", "first_line", "load_weights"]

Kind = Literal["causal", "encoder"]

HEADS = ("masked_lm", "sequence_classification")
_HEAD_WORDS = {"masked_lm": "masked-LM head", "sequence_classification": "sequence-classification head"}
_WITHOUT = {
    "masked_lm": "the measures embedding, retrieval and readout_loss need none "
    "(--measures embedding,retrieval)",
    "sequence_classification": "without it, accuracy is that of a read-out fitted to the labelled texts",
}
# No hidden state depends on it: it comes behind the last one.
_TOLERATED = ("pooler.",)
_NAMED = 8


def load_weights(folder: Path, dtype: Any, head: str | None) -> tuple[Kind, Any, set[str]]:
    """Kind and model of the checkpoint in ``folder``, and the parameters that it lacks and may lack.

    CheckpointError as :func:`lmscope.load_model`.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(folder))
        kind, auto = _class(config, head, folder)
        loaded: Any = auto.from_pretrained(
            str(folder), config=config, output_loading_info=True, **dtype_option(dtype)
        )
        model, info = loaded
    except CheckpointError:
        raise
    except Exception as error:  # transformers raises whatever a model's code raises
        raise CheckpointError(f"transformers cannot load it: {first_line(error)}", file=folder) from error
    missing = {str(name) for name in info["missing_keys"]}
    _refuse_what_would_be_drawn(missing, model, head, folder)
    return kind, model, missing


def _class(config: Any, head: str | None, folder: Path) -> tuple[Kind, Any]:
    import transformers
    from transformers.models.auto import modeling_auto

    if head is None:
        kind = _kind(config)
        return kind, transformers.AutoModelForCausalLM if kind == "causal" else transformers.AutoModel
    known, auto = {
        "masked_lm": (modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, transformers.AutoModelForMaskedLM),
        "sequence_classification": (
            modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
            transformers.AutoModelForSequenceClassification,
        ),
    }[head]
    if config.model_type not in known:
        raise CheckpointError(
            f"models of type {config.model_type!r} have no {_HEAD_WORDS[head]} in transformers",
            file=folder / "config.json",
        )
    return "encoder", auto


def _refuse_what_would_be_drawn(missing: set[str], model: Any, head: str | None, folder: Path) -> None:
    # A classification head may read the pooler.
    tolerated = _TOLERATED if head is None else ()
    drawn = sorted(name for name in missing if not any(part in name for part in tolerated))
    if not drawn:
        return
    some = ", ".join(drawn[:_NAMED]) + (", ..." if len(drawn) > _NAMED else "")
    body = f"{model.base_model_prefix}."
    if head is None or any(name.startswith(body) and "pooler." not in name for name in drawn):
        raise CheckpointError(
            f"the weights lack {len(drawn)} tensors that transformers would draw at random: {some}",
            file=folder,
        )
    raise CheckpointError(
        f"the weights lack {len(drawn)} tensors of the {_HEAD_WORDS[head]}: {some}; give a checkpoint that "
        f"was saved with its head, or leave the head out: {_WITHOUT[head]}",
        file=folder,
    )


def _kind(config: Any) -> Kind:
    """By the architecture that the config names; where it names none, by what its model type is for."""
    from transformers.models.auto import modeling_auto

    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if config.architectures:
        return "causal" if config.architectures[0] in causal.values() else "encoder"
    masked = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    model_type = config.model_type
    return "causal" if model_type in causal and model_type not in masked else "encoder"


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
