"""The order experiment on a minute encoder: what is held out, what every arm starts from, what is kept."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from rich.progress import Progress

from ..tiny_models import TINY_BERT, random_model
from ..tiny_tokenizers import character_tokenizer

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "lesion_order"


@pytest.fixture(scope="module")
def example() -> Iterator[dict[str, ModuleType]]:
    """Its modules, which find each other as scripts do."""
    found: dict[str, ModuleType] = {}
    sys.path.insert(0, str(FOLDER))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in ("task", "classifier", "order"):
            found[name] = importlib.import_module(name)
        yield found
    finally:
        torch.set_num_threads(threads)
        sys.path.remove(str(FOLDER))
        for name in found:
            del sys.modules[name]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel

    path = tmp_path_factory.mktemp("encoder")
    config = BertConfig(**{**TINY_BERT, "max_position_embeddings": 64, "num_hidden_layers": 2})
    random_model(BertModel, config).save_pretrained(path)
    character_tokenizer(50, around="<s> $A </s>").save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def short(example: dict[str, ModuleType]) -> Any:
    """A few passages of every page."""
    task = example["task"].read_task(0)
    return example["task"].Task(task.training[::20], task.test[::10])


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


@pytest.fixture(scope="module")
def kept(
    example: dict[str, ModuleType], checkpoint: Path, short: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """All arms of two seeds."""
    folder = tmp_path_factory.mktemp("arms")
    order = example["order"]
    experiment = order.Experiment(checkpoint, steps=4, rate=1e-2)
    for seed in (0, 1):
        experiment.run(seed, order.ARMS, short, folder, Progress(disable=True))
    return folder


@pytest.mark.parametrize("seed", range(3))
def test_nothing_of_the_test_is_learnt_from(example: dict[str, ModuleType], seed: int) -> None:
    task = example["task"]
    found = task.read_task(seed)
    assert found == task.read_task(seed)
    assert found != task.read_task(seed + 1)
    tested = {words for passage, _ in found.test for words in task.rows_of_words(passage)}
    assert not [passage for passage, _ in found.training if tested & task.rows_of_words(passage)]
    assert not {passage for passage, _ in found.training} & {passage for passage, _ in found.test}
    for part, most, least in ((found.training, 90, 40), (found.test, 40, 12)):
        counts = [sum(label == page for _, label in part) for page in range(len(task.PAGES))]
        assert least <= min(counts) <= max(counts) <= most
        assert all(len(passage.split()) in task.WORDS for passage, _ in part)


def test_every_arm_is_kept_with_what_was_removed(example: dict[str, ModuleType], kept: Path) -> None:
    order = example["order"]
    found = rows(kept)
    assert set(found) == {f"{arm.file}-{seed}" for arm in order.ARMS for seed in (0, 1)}
    assert len(order.ARMS) == 11
    energies = {name: row["removed_energy"] for name, row in found.items()}
    assert energies["none-0"] == 0
    for which in ("first", "last"):
        smallest, middle, largest, random, of_energy = (
            energies[f"{lesion.name}-{which}-0"] for lesion in order.LESIONS
        )
        assert 0 < smallest < middle < largest < 1
        assert smallest < random < largest
        assert of_energy == pytest.approx(smallest, rel=1e-9)
    # The same lesions of the checkpoint for both seeds, but for the random one.
    assert energies["largest-first-0"] == energies["largest-first-1"]
    assert energies["random-first-0"] != energies["random-first-1"]
    # Fine-tuning moved the weights before they were lesioned.
    assert energies["largest-last-0"] != energies["largest-first-0"]
    assert found["none-0"]["loss"] != found["none-1"]["loss"]


def test_arms_do_not_depend_on_the_ones_before(
    example: dict[str, ModuleType], checkpoint: Path, kept: Path, short: Any, tmp_path: Path
) -> None:
    """Each starts from the checkpoint's weights: two of them alone give the same numbers, and so do the
    others when the experiment is resumed."""
    order = example["order"]
    alone = order.Arm(order.LESIONS[2], order.LESION_FIRST)
    last = order.Arm(order.LESIONS[0], order.LESION_LAST)
    experiment = order.Experiment(checkpoint, steps=4, rate=1e-2)
    experiment.run(1, [last, alone], short, tmp_path, Progress(disable=True))
    for arm in (alone, last):
        one, other = (json.loads((folder / f"{arm.file}-1.json").read_text()) for folder in (tmp_path, kept))
        assert (one["loss"], one["accuracy"]) == (other["loss"], other["accuracy"])
    # What is there is not done again.
    before = (tmp_path / f"{alone.file}-1.json").stat().st_mtime_ns
    experiment.run(1, order.ARMS, short, tmp_path, Progress(disable=True))
    assert (tmp_path / f"{alone.file}-1.json").stat().st_mtime_ns == before
    assert {name: row["loss"] for name, row in rows(tmp_path).items()} == {
        name: row["loss"] for name, row in rows(kept).items() if name.endswith("-1")
    }


def test_other_settings_are_refused(
    example: dict[str, ModuleType], checkpoint: Path, kept: Path, short: Any
) -> None:
    order = example["order"]
    experiment = order.Experiment(checkpoint, steps=5, rate=1e-2)
    with pytest.raises(SystemExit, match="was made with another steps: remove it or take another folder"):
        experiment.run(0, order.ARMS, short, kept, Progress(disable=True))


def test_a_lesion_before_fine_tuning_is_one_of_the_checkpoint(
    example: dict[str, ModuleType], checkpoint: Path, short: Any, tmp_path: Path
) -> None:
    """Without a step of training both orders are the same lesion of the same weights."""
    order = example["order"]
    experiment = order.Experiment(checkpoint, steps=0, rate=1e-2)
    experiment.run(0, order.ARMS, short, tmp_path, Progress(disable=True))
    found = rows(tmp_path)
    for lesion in order.LESIONS:
        first, last = (found[f"{lesion.name}-{which}-0"] for which in ("first", "last"))
        assert first["loss"] == last["loss"] != found["none-0"]["loss"]


@pytest.mark.parametrize("which", [3, 4])
def test_both_orders_remove_the_same_random_directions(
    example: dict[str, ModuleType], checkpoint: Path, which: int
) -> None:
    order = example["order"]
    experiment = order.Experiment(checkpoint, steps=1, rate=1e-2)
    lesion = order.LESIONS[which]
    first = experiment._removals(lesion, experiment._vectors, 0)
    with torch.no_grad():
        for site in first:
            site.parameter.add_(0.05 * torch.randn(site.parameter.shape, generator=torch.manual_seed(1)))
    last = experiment._removals(lesion, experiment._vectors_now(), 0)
    for site, before in first.items():
        after = last[site]
        both = min(before.directions, after.directions)
        assert both >= 1
        assert (after.right[:, :both] == before.right[:, :both]).all()
        # What is taken is the new weights' part in these directions, the last one whole or scaled.
        image = site.weights().double().numpy() @ after.right
        whole = both if which == 3 else after.directions - 1
        assert after.left[:, :whole] == pytest.approx(image[:, :whole])
        assert (after.left**2).sum() == pytest.approx(after.energy)


def test_what_is_said(example: dict[str, ModuleType], kept: Path) -> None:
    order = example["order"]
    found = order.summary(kept, [0, 1])
    largest = found["first_less_last"]["largest"]["accuracy"]
    by_hand = [
        rows(kept)[f"largest-first-{seed}"]["accuracy"] - rows(kept)[f"largest-last-{seed}"]["accuracy"]
        for seed in (0, 1)
    ]
    assert largest["seeds"] == by_hand
    assert largest["mean"] == pytest.approx(sum(by_hand) / 2)
    assert largest["low"] <= largest["mean"] <= largest["high"]
    said = order.sentences(found)
    for lesion, sentence in zip(order.LESIONS, said, strict=True):
        for score in ("accuracy", "loss"):
            difference = found["first_less_last"][lesion.name][score]
            assert f"difference {order.difference_in_words(difference)}" in sentence
    words = order.difference_in_words
    assert words({"mean": 0.1, "low": -0.1, "high": 0.3}).endswith("-0.100 to +0.300, which holds 0)")
    assert words({"mean": 0.2, "low": 0.1, "high": 0.3}).endswith("+0.100 to +0.300, which excludes 0)")
    assert order.table(found).row_count == 11
    one = order.summary(kept, [0])
    assert all("one seed has no interval" in sentence for sentence in order.sentences(one))


def test_the_command(
    example: dict[str, ModuleType], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = example["order"]
    recorded = tmp_path / "lesion_order.json"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(order, "RESULT", recorded)
        patched.setattr(order, "ROOT", tmp_path)
        order.main(
            [str(checkpoint), "-o", str(tmp_path / "run"), "--seeds", "0,1", "--steps", "1", "--record"]
        )
    result = json.loads(recorded.read_text())
    assert result["settings"]["matrices"] == 12
    assert result["command"].endswith("--seeds 0,1 --steps 1 --rate 0.0002 --record")
    assert result["machine"]["libraries"]["torch"]["threads"] == 1
    assert len(result["sentences"]) == 5
    shown = " ".join(capsys.readouterr().out.split())
    assert all(sentence in shown for sentence in result["sentences"])
