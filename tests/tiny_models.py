"""Tiny random models whose every value is nonzero, so that a part taken wrongly cannot go unseen."""

from __future__ import annotations

from typing import Any

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 50,
    "max_position_embeddings": 24,
}
_GROUPED: dict[str, Any] = _SIZES | {"num_key_value_heads": 2}
_WIDE_HEADS: dict[str, Any] = _GROUPED | {"head_dim": 12}

# No two dimensions that could be taken for each other are equal where the model type allows it.
TINY: dict[str, dict[str, Any]] = {
    "bert": _SIZES,
    "roberta": _SIZES,
    "distilbert": {
        "dim": 32,
        "hidden_dim": 48,
        "n_layers": 3,
        "n_heads": 4,
        "vocab_size": 50,
        "max_position_embeddings": 24,
    },
    "gpt2": {"n_embd": 32, "n_inner": 48, "n_layer": 3, "n_head": 4, "n_positions": 24, "vocab_size": 50},
    "gpt_neox": _SIZES,
    "opt": _SIZES | {"ffn_dim": 48, "word_embed_proj_dim": 20},
    "llama": _GROUPED | {"attention_bias": True, "mlp_bias": True},
    "mistral": _WIDE_HEADS,
    "mixtral": _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 20},
    "qwen2": _GROUPED,
    "qwen3": _WIDE_HEADS,
    "qwen3_moe": _WIDE_HEADS
    | {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 20,
        "norm_topk_prob": True,
        "mlp_only_layers": [0],
    },
    "gemma": _WIDE_HEADS,
    "gemma2": _WIDE_HEADS,
    "gemma3_text": _WIDE_HEADS,
    "phi3": _GROUPED | {"pad_token_id": 0},
    "olmo2": _GROUPED,
    "deepseek_v3": _SIZES
    | {
        "num_key_value_heads": 4,
        "q_lora_rank": 16,
        "kv_lora_rank": 14,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 6,
        "v_head_dim": 10,
        "first_k_dense_replace": 1,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "moe_intermediate_size": 20,
    },
}
TINY_BERT = TINY["bert"]
TINY_LLAMA = TINY["llama"]


def random_model(model_class: Any, config: Any) -> Any:
    """A model in evaluation mode whose every parameter, biases and norms included, is random and not zero."""
    import torch

    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.normal_(mean=1.0 if is_norm else 0.0, std=0.3)
    return model
