"""Roles by name and shape, for tensors that no data file knows."""

from __future__ import annotations

import re

from lmscope.architectures.roles import Role

# Tried in order; the boundary keeps "key" from matching inside "monkey".
_NAMES: tuple[tuple[Role, str], ...] = (
    (
        "buffer",
        r"position_ids|token_type_ids|inv_freq|masked_bias|causal_mask|num_batches_tracked|running_(mean|var)",
    ),
    ("position_embedding", r"position_embeddings?|embed_positions|wpe|pos_embed"),
    ("type_embedding", r"token_type_embeddings?"),
    ("token_embedding", r"word_embeddings?|embed_tokens|tok_embeddings|wte|embed_in|token_embedding|shared"),
    ("unembedding", r"lm_head|embed_out|unembed|output_projection|predictions\.decoder"),
    ("pooler", r"pooler"),
    ("classifier", r"classifier|score|qa_outputs|seq_relationship"),
    ("router", r"router|(moe|mlp|ffn|block_sparse_moe)\.gate"),
    ("query", r"q_proj|query|wq|q_lin|to_q"),
    ("key", r"k_proj|key|wk|k_lin|to_k"),
    ("value", r"v_proj|value|wv|v_lin|to_v"),
    (
        "attention_output",
        r"(attn|attention|self_attn)\.(c_proj|dense|output\.dense|out_proj|proj)|o_proj|wo|out_lin|to_out",
    ),
    ("gate", r"gate_proj|w1|wi_0"),
    ("up", r"up_proj|w3|wi|wi_1|fc1|fc_in|c_fc|lin1|dense_h_to_4h|intermediate\.dense"),
    ("down", r"down_proj|w2|wo_mlp|fc2|fc_out|c_proj|lin2|dense_4h_to_h|output\.dense"),
)
_PATTERNS = tuple((role, re.compile(rf"(?:^|\.)(?:{names})(?:\.|$)")) for role, names in _NAMES)
_NORM = re.compile(r"norm|(?:^|\.)ln_?\w*(?:\.|$)|gamma$", re.IGNORECASE)
_BIAS = re.compile(r"(?:^|[._])(bias|beta)$")
_NUMBER = re.compile(r"(?:^|\.)([0-9]{1,6})(?:\.|$)")
_EXPERT = re.compile(r"(?:^|\.)experts?\.([0-9]{1,6})(?:\.|$)")


def guess_role(name: str, shape: tuple[int, ...]) -> Role:
    """The likeliest role; "other" where the name says nothing."""
    named = next((role for role, pattern in _PATTERNS if pattern.search(name)), None)
    if named == "buffer":
        return "buffer"
    if len(shape) < 2:
        if _BIAS.search(name):
            return "bias"
        return "norm" if _NORM.search(name) else "other"
    return named or "other"


def guess_layer(name: str) -> int | None:
    """The first number that stands alone in the dotted name."""
    found = _NUMBER.search(_EXPERT.sub(".", name))
    return int(found[1]) if found else None


def guess_expert(name: str) -> int | None:
    """The number behind "experts" in the dotted name."""
    found = _EXPERT.search(name)
    return int(found[1]) if found else None
