"""Roles by name and shape, for tensors that no data file knows; "other" where a name does not settle it."""

from __future__ import annotations

import re
from functools import lru_cache

from lmscope.architectures.roles import Role

_ATTENTION = r"(?:\w*attn|\w*attention|\w*Attention)"
_EXPERT_MLP = r"(?:feed_forward|experts\.[0-9]{1,6}|shared_experts?)"

# Tried in order, each against whole dotted pieces: "key" does not match inside "monkey".
_NAMES: tuple[tuple[Role, str], ...] = (
    (
        "buffer",
        r"position_ids|token_type_ids|inv_freq|masked_bias|causal_mask|num_batches_tracked|running_(mean|var)",
    ),
    # factors, norms and scales of a matrix are not that matrix
    (
        "other",
        r"lora_\w+|parametrizations|weight_[gv]|\w*scales?(_inv)?|\w*absmax|\w*zeros|\w*zero_point|relative_attention_bias",
    ),
    ("position_embedding", r"position_embeddings?|embed_positions|wpe|pos_embed"),
    ("type_embedding", r"token_type_embeddings?"),
    (
        "token_embedding",
        r"word_embeddings?|embed_tokens|tok_embeddings|wte|embed_in|token_embedding|"
        r"^(?:model\.)?shared\.weight|^backbone\.embeddings?\.weight",
    ),
    (
        "unembedding",
        r"\w*lm_head(?:\.decoder)?\.weight|lm_loss\.weight|embed_out|unembed|output_projection|predictions\.decoder|^output\.weight",
    ),
    ("pooler", r"pooler(?:\.dense)?\.weight"),
    ("classifier", r"classifier\.weight|score|qa_outputs|seq_relationship"),
    ("router", r"router(?:\.(?:layer|classifier))?\.weight|(?:\w*moe|mlp|ffn|feed_forward)\.gate"),
    ("query", rf"q_proj|wq|q_lin|to_q|{_ATTENTION}\.(?:self\.)?(?:q|query|query_proj)"),
    ("key", rf"k_proj|wk|k_lin|to_k|{_ATTENTION}\.(?:self\.)?(?:k|key|key_proj)"),
    ("value", rf"v_proj|wv|v_lin|to_v|{_ATTENTION}\.(?:self\.)?(?:v|value|value_proj)"),
    (
        "attention_output",
        rf"{_ATTENTION}\.(?:c_proj|dense|output\.dense|out_proj|proj|[wW]o|o|out_lin)|o_proj|to_out",
    ),
    ("gate", rf"gate_proj|{_EXPERT_MLP}\.w1|wi_0"),
    (
        "up",
        rf"up_proj|{_EXPERT_MLP}\.w3|wi|wi_1|fc1|fc_in|c_fc|lin1|dense_h_to_4h|intermediate\.dense|"
        r"albert_layers\.[0-9]{1,6}\.ffn",
    ),
    (
        "down",
        r"(?:\w*moe|\w*mlp)\.output_linear|albert_layers\.[0-9]{1,6}\.ffn_output|"
        rf"down_proj|{_EXPERT_MLP}\.w2|\w*Dense\.wo|mlp\.Wo|fc2|fc_out|mlp\.c_proj|lin2|dense_4h_to_h|output\.dense",
    ),
)
_PATTERNS = tuple((role, re.compile(rf"(?:^|\.)(?:{names})(?:\.|$)")) for role, names in _NAMES)
_NORM = re.compile(r"norm|(?:^|\.)ln_?\w*(?:\.|$)|gamma$", re.IGNORECASE)
_BIAS = re.compile(r"(?:^|[._])(bias|beta)$")
_CAUSAL_MASK = re.compile(rf"(?:^|\.){_ATTENTION}\.bias$")
_NUMBER = re.compile(r"(?:^|\.)([0-9]{1,6})(?:\.|$)")
_INNER_NUMBER = re.compile(r"(?<=\.)[0-9]{1,6}(?=\.)")
_EXPERT = re.compile(r"(?:^|\.)experts?\.([0-9]{1,6})(?:\.|$)")
_EXPERTS = re.compile(r"(?:^|\.)(?:experts\.|(?:\w*moe|mlp)\.(?:input|output)_linear)")
FUSED_GATE_UP = re.compile(r"gate_up|w13|input_linear")


def guess_role(name: str, shape: tuple[int, ...]) -> Role:
    """The likeliest role; "other" where name and shape do not settle it."""
    return _role(_INNER_NUMBER.sub("0", name), shape)


@lru_cache(maxsize=4096)  # layers and experts differ in their numbers alone
def _role(name: str, shape: tuple[int, ...]) -> Role:
    named = next((role for role, pattern in _PATTERNS if pattern.search(name)), None)
    if named == "buffer" or (len(shape) == 4 and _CAUSAL_MASK.search(name)):
        return "buffer"
    if _BIAS.search(name) and (len(shape) < 2 or holds_experts(name)):
        return "bias"
    if len(shape) < 2:
        return "norm" if _NORM.search(name) else "other"
    if named == "router":
        return "router" if shape[0] <= shape[1] else "other"  # more outputs than inputs: a gate of an MLP
    if len(shape) == 2 and holds_experts(name):
        return "other"  # matrices of several experts in one
    return named or "other"


def guess_layer(name: str) -> int | None:
    """The first number that stands alone in the dotted name."""
    found = _NUMBER.search(_EXPERT.sub(".", name))
    return int(found[1]) if found else None


def guess_expert(name: str) -> int | None:
    """The number behind "experts" in the dotted name."""
    found = _EXPERT.search(name)
    return int(found[1]) if found else None


def holds_experts(name: str) -> bool:
    """Whether a tensor of this name holds something of every expert: "experts", and no number behind it."""
    return _EXPERTS.search(name) is not None and guess_expert(name) is None
