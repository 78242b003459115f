"""Tokenizers of single characters, for models whose vocabulary is too small for a real one."""

from __future__ import annotations

from typing import Any

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
CHARACTERS = " etaoinshrdlucmfwypvbgkjqxz.,\nETAOINSHRDLUCMFWYPVBGKJQXZ'\"0123456789-()[]:;*_=`<>+/!?"


def character_tokenizer(vocabulary: int, *, around: str = "<s> $A", padding_side: str = "right") -> Any:
    """``around`` is what a text is put into, such as ``<s> $A </s>``; ids begin with those of SPECIAL."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import BPE
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    pieces = [*SPECIAL, *CHARACTERS][:vocabulary]
    ids = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(BPE(vocab=ids, merges=[], unk_token="<unk>"))
    tokenizer.decoder = Fuse()
    tokenizer.post_processor = TemplateProcessing(
        single=around, special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side=padding_side,
    )
