"""The page's first sentences, on a real run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lmscope


@pytest.mark.parametrize("small", [True, False])
def test_strongest_says_where_it_leaves_small_matrices_out(
    small: bool, make_llama: Callable[..., Path], tmp_path: Path
) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        weight = tensors["model.layers.0.mlp.up_proj.weight"]
        weight += np.asarray(0.2, weight.dtype)
        if small:
            tensors["small.weight"] = np.ones((2, 64), np.float32) + weight[:2, :1].astype(np.float32)

    run = lmscope.analyze(
        make_llama(layers=1, change=change), out=tmp_path / "run", nulls="sign_flip", progress=False
    )
    text = run.report().read_text(encoding="utf-8")
    assert "Strongest" in text
    assert ("Strongest, of matrices with 32 singular values or more: " in text) is small
