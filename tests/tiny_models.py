"""Tiny random models whose every value is nonzero, so that a part taken wrongly cannot go unseen."""

from __future__ import annotations

from typing import Any

TINY_BERT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 50,
    "max_position_embeddings": 24,
}
TINY_LLAMA: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 24,
    "attention_bias": True,
    "mlp_bias": True,
}


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
