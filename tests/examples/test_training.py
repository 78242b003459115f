"""The training that is kept at its steps, on a minute model."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from rich.progress import Progress

import lmscope

EXAMPLE = ("training", "corpus", "llama", "train")


def test_steps_double_and_are_at_least_ten_by_default(example: dict[str, ModuleType]) -> None:
    train = example["train"]
    assert train.kept_steps(2048) == [0, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
    assert train.kept_steps(train.STEPS)[-1] == train.STEPS
    assert len(train.kept_steps(train.STEPS)) >= 10
    assert train.kept_steps(100) == [0, 6, 12, 25, 50, 100]
    assert train.kept_steps(1) == [0, 1]


def test_a_training_is_kept_step_by_step(
    example: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, train = example["corpus"], example["train"]
    whole = corpus.read_corpus()
    part = corpus.Corpus(whole.training[:8], whole.held_out[:2])
    size = example["llama"].Size(16, 1, 4, 2)
    options = {"size": size, "steps": 16, "progress": Progress(disable=True)}
    folder = tmp_path / "training"

    # Interrupted after the second checkpoint: the next call begins anew.
    saved = train.save
    with monkeypatch.context() as patched:

        def interrupted(path, *rest):
            if path.name == "step-00008":
                raise KeyboardInterrupt
            saved(path, *rest)

        patched.setattr(train, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.train(folder, part, **options)
    assert sorted(path.name for path in (folder / "steps").iterdir()) == ["step-00000", "step-00004"]
    first = (folder / "steps" / "step-00004" / "model.safetensors").read_bytes()

    assert train.train(folder, part, **options)
    names = ["step-00000", "step-00004", "step-00008", "step-00016"]
    assert sorted(path.name for path in (folder / "steps").iterdir()) == names
    assert (folder / "steps" / "step-00004" / "model.safetensors").read_bytes() == first
    facts = json.loads((folder / "training.json").read_text())
    assert [(row["name"], row["step"]) for row in facts["checkpoints"]] == list(
        zip(names, [0, 4, 8, 16], strict=True)
    )
    losses = [row["held_out_loss"] for row in facts["checkpoints"]]
    assert 6.8 < losses[0] < 7.1
    assert losses[-1] < losses[0] - 0.1
    assert facts["checkpoints"][0]["training_loss"] is None
    assert not train.train(folder, part, **options)
    with pytest.raises(SystemExit, match=r"holds a training of \{'steps': 16\}: remove it"):
        train.train(folder, part, **{**options, "steps": 17})

    # Ordinary checkpoints in float32, keys and values shared by two heads, that read text.
    checkpoint = lmscope.open_checkpoint(folder / "steps" / "step-00016")
    shapes = {row.role: (row.shape, row.dtype) for row in checkpoint if len(row.shape) == 2}
    assert shapes["query"] == ((16, 16), "float32")
    assert shapes["key"] == ((8, 16), "float32")
    model = lmscope.load_model(checkpoint)
    assert (folder / "training.txt").read_text() == "\n\n".join(part.training) + "\n"
    assert (folder / "held_out.txt").read_text() == "\n\n".join(part.held_out) + "\n"
    assert model.kind == "causal"
