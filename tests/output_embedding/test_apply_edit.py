"""Edits in checkpoints: what transformers reads is steered, and what comes back is the same to the bit."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  numpy knows bfloat16 by it
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lmscope import CheckpointError, apply_steering, load_steering, open_checkpoint, remove_steering
from lmscope.checkpoints.new_folder import new_folder
from lmscope.output_embedding.edit_file import rounded_to, write_steering

from ..tiny_models import TINY
from .edits import causal_model, content, edit_of, logits, saved

DTYPES = ("float32", "bfloat16", "float16")
CAUSAL = [kind for kind in TINY if kind != "distilbert"]


def tensors(folder: Path) -> dict[str, bytes]:
    """The bytes of every stored tensor, by name."""
    found: dict[str, bytes] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  no mapping
                found[name] = file.get_tensor(name).view(torch.uint8).numpy().tobytes()
    return found


@pytest.mark.parametrize(
    ("tied", "sharded", "dtype"), list(itertools.product((False, True), (False, True), DTYPES))
)
def test_an_edit_goes_in_and_comes_out(tmp_path: Path, tied: bool, sharded: bool, dtype: str) -> None:
    folder = saved(tmp_path / "before", tied=tied, dtype=dtype, sharded=sharded)
    assert len(list(folder.glob("*.safetensors"))) > 3 if sharded else (folder / "model.safetensors").exists()
    edit = edit_of(folder, [3, 17])
    original = content(folder)
    applied = apply_steering(edit, folder, tmp_path / "steered")
    assert content(folder) == original
    assert (applied.edits, applied.tied, applied.dtype) == (1, False, dtype)
    assert applied.rounding.tolist() == [0, 0]
    before, after = tensors(folder), tensors(tmp_path / "steered")
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed == {"lm_head.weight"}
    source = before["model.embed_tokens.weight" if tied else "lm_head.weight"]
    rows = np.frombuffer(source, edit.rows_before.dtype).reshape(50, 32).copy()
    rows[[3, 17]] = edit.rows_after
    assert after["lm_head.weight"] == rows.tobytes()
    assert json.loads((tmp_path / "steered" / "config.json").read_text())["tie_word_embeddings"] is False
    removed = remove_steering(edit, tmp_path / "steered", tmp_path / "after")
    assert (removed.edits, removed.tied) == (0, tied)
    assert content(tmp_path / "after") == original
    assert open_checkpoint(tmp_path / "after").identity == open_checkpoint(folder).identity


@pytest.mark.parametrize("kind", CAUSAL)
def test_transformers_reads_the_steered_model(tmp_path: Path, kind: str) -> None:
    """Nothing missing, nothing unexpected, and the logits of the edited tokens alone are others."""
    from transformers import AutoModelForCausalLM

    folder = saved(tmp_path / "before", kind=kind)
    edit = edit_of(folder, [5, 30])
    apply_steering(edit, folder, tmp_path / "steered")
    read, told = AutoModelForCausalLM.from_pretrained(tmp_path / "steered", output_loading_info=True)
    assert not any(told.values()), told
    model = causal_model(kind, tied=True)
    given = logits(model)
    head = torch.nn.Parameter(model.get_output_embeddings().weight.detach().clone())
    head.data[[5, 30]] = torch.from_numpy(edit.rows_after)
    tied = model.get_output_embeddings().weight
    try:
        model.get_output_embeddings().weight = head
        expected = logits(model)
    finally:
        model.get_output_embeddings().weight = tied
    assert torch.equal(logits(read), expected)
    assert not torch.equal(given[:, [5, 30]], expected[:, [5, 30]])
    others = np.delete(np.arange(50), [5, 30])
    assert torch.equal(given[:, others], expected[:, others])
    remove_steering(edit, tmp_path / "steered", tmp_path / "after")
    assert content(tmp_path / "after") == content(folder)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("tied", [False, True])
def test_several_edits_come_out_in_any_order(tmp_path: Path, tied: bool, order: tuple[int, ...]) -> None:
    folder = saved(tmp_path / "0", tied=tied)
    edits = [edit_of(folder, tokens, seed=seed) for seed, tokens in enumerate(([1], [2, 3], [49, 0]))]
    for number, edit in enumerate(edits):
        applied = apply_steering(edit, tmp_path / str(number), tmp_path / str(number + 1))
        assert applied.edits == number + 1
    for step, place in enumerate(order, start=4):
        removed = remove_steering(edits[place], tmp_path / str(step - 1), tmp_path / str(step))
        assert removed.tied == (tied and step == 6)
        assert (tmp_path / str(step) / "lmscope_steering").exists() == (step < 6)
    assert content(tmp_path / "6") == content(folder)


def test_an_edit_of_an_edited_row_comes_out_first(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    first = edit_of(folder, [4, 5])
    apply_steering(first, folder, tmp_path / "once")
    second = edit_of(tmp_path / "once", [5, 6], seed=1)
    apply_steering(second, tmp_path / "once", tmp_path / "twice")
    with pytest.raises(CheckpointError, match=r"the row of token 5 .* or its rows were changed since"):
        remove_steering(first, tmp_path / "twice", tmp_path / "wrong")
    remove_steering(second, tmp_path / "twice", tmp_path / "one")
    assert tensors(tmp_path / "one") == tensors(tmp_path / "once")
    remove_steering(first, tmp_path / "one", tmp_path / "none")
    assert content(tmp_path / "none") == content(folder)


def test_a_tied_head_that_is_stored_as_well(tmp_path: Path) -> None:
    """As older versions of transformers wrote them: the tie is given up in the config, and given back."""
    folder = saved(tmp_path / "before", tied=True)
    held = load_file(folder / "model.safetensors")
    held["lm_head.weight"] = held["model.embed_tokens.weight"].clone()
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    original = content(folder)
    edit = edit_of(folder, [9])
    applied = apply_steering(edit, folder, tmp_path / "steered")
    assert sorted(path.name for path in (tmp_path / "steered").glob("*.safetensors")) == ["model.safetensors"]
    assert not applied.tied
    rows = load_file(tmp_path / "steered" / "model.safetensors")["lm_head.weight"]
    assert np.array_equal(rows[9].numpy(), edit.rows_after[0])
    assert json.loads((tmp_path / "steered" / "config.json").read_text())["tie_word_embeddings"] is False
    assert remove_steering(edit, tmp_path / "steered", tmp_path / "after").tied
    assert content(tmp_path / "after") == original


def test_the_text_model_of_a_larger_one(tmp_path: Path) -> None:
    """Where config.json nests the text model's, both say that nothing is tied."""
    folder = saved(tmp_path / "before", kind="gemma3_text")
    config = json.loads((folder / "config.json").read_text())
    whole = {"model_type": "unknown_vision", "architectures": ["UnknownForConditionalGeneration"]}
    whole |= {"text_config": config, "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(whole))
    held = load_file(folder / "model.safetensors")
    named = {f"language_model.{name}": value for name, value in held.items()}
    save_file(named, folder / "model.safetensors", {"format": "pt"})
    original = content(folder)
    edit = edit_of(folder, [9])
    apply_steering(edit, folder, tmp_path / "steered")
    said = json.loads((tmp_path / "steered" / "config.json").read_text())
    assert (said["tie_word_embeddings"], said["text_config"]["tie_word_embeddings"]) == (False, False)
    remove_steering(edit, tmp_path / "steered", tmp_path / "after")
    assert content(tmp_path / "after") == original


def test_a_run_in_float32_of_a_coarser_checkpoint(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before", dtype="bfloat16")
    edit = edit_of(folder, [3, 17], dtype="float32")
    applied = apply_steering(edit, folder, tmp_path / "steered")
    stored = load_file(tmp_path / "steered" / "model-00002-of-00002.safetensors")["lm_head.weight"]
    rounded = rounded_to(edit, "bfloat16")
    assert rounded.rows_after.dtype == np.float32
    assert np.array_equal(stored[[3, 17]].float().numpy(), rounded.rows_after)
    lost = np.linalg.norm((rounded.rows_after - edit.rows_after).astype(np.float64), axis=1)
    change = np.linalg.norm((edit.rows_after - edit.rows_before).astype(np.float64), axis=1)
    np.testing.assert_allclose(applied.rounding, lost / change, rtol=1e-5)
    assert (applied.rounding > 1e-4).all()
    assert (applied.rounding < 0.05).all()
    remove_steering(edit, tmp_path / "steered", tmp_path / "after")
    assert content(tmp_path / "after") == content(folder)


def test_files_of_edits_serve_as_well(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    write_steering(edit_of(folder, [3, 17]), tmp_path / "edit.safetensors")
    apply_steering(tmp_path / "edit.safetensors", str(folder), str(tmp_path / "steered"))
    remove_steering(str(tmp_path / "edit.safetensors"), tmp_path / "steered", tmp_path / "after")
    assert content(tmp_path / "after") == content(folder)


def test_what_is_beside_the_weights(tmp_path: Path) -> None:
    """Small files come along; weights in other formats, which the edit leaves alone, and folders do not."""
    folder = saved(tmp_path / "before")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "steps").mkdir()
    (folder / "tokenizer.json").write_text("{}")
    apply_steering(edit_of(folder, [3]), folder, tmp_path / "steered")
    assert sorted(entry.name for entry in (tmp_path / "steered").iterdir()) == [
        "config.json",
        "generation_config.json",
        "lmscope_steering",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "notes.txt",
        "tokenizer.json",
    ]


def test_a_snapshot_of_the_hub(tmp_path: Path) -> None:
    """Links into a cache of files that nobody may write to: the new folder has files of its own."""
    folder = saved(tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for file in folder.iterdir():
        file.chmod(0o444)
        (tmp_path / "snapshot" / file.name).symlink_to(Path("..") / "blobs" / file.name)
    edit = edit_of(tmp_path / "snapshot", [3])
    apply_steering(edit, tmp_path / "snapshot", tmp_path / "steered")
    remove_steering(edit, tmp_path / "steered", tmp_path / "after")
    assert content(tmp_path / "after") == content(folder)
    for made in ("steered", "after"):
        files = [path for path in (tmp_path / made).rglob("*") if path.is_file()]
        assert not any(path.is_symlink() for path in files)
        assert all(path.stat().st_mode & 0o200 for path in files)


def test_what_is_shown_of_an_edited_checkpoint(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    applied = apply_steering(edit_of(folder, [3, 17]), folder, tmp_path / "steered")
    assert repr(applied) == (
        f"EditedCheckpoint({str(tmp_path / 'steered')!r}, 2 rows of lm_head.weight (float32), "
        "edits=1, tied=False)"
    )
    shown = applied._repr_html_()
    assert "lm_head.weight, float32" in shown
    assert str(tmp_path / "steered") in shown


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_folder(tmp_path / "made") as folder:
            (folder / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not any(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    killed = """
import os, sys
from lmscope.checkpoints.new_folder import new_folder
with new_folder(sys.argv[1]) as folder:
    (folder / "half").write_text("half")
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", killed, str(tmp_path / "made")], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert [path.name[:6] for path in tmp_path.iterdir()] == [".made-"]
    (tmp_path / ".made-of-mine").mkdir()
    with new_folder(tmp_path / "other"):
        pass
    assert len(os.listdir(tmp_path)) == 3
    with new_folder(tmp_path / "made"):
        pass
    assert sorted(os.listdir(tmp_path)) == [".made-of-mine", "made", "other"]


def test_a_folder_that_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    def late() -> None:
        with new_folder(tmp_path / "made") as first:
            (first / "file").write_text("first")
            with new_folder(tmp_path / "made") as second:
                (second / "file").write_text("second")
            assert (first / "file").read_text() == "first"

    with pytest.raises(CheckpointError, match="it came up meanwhile"):
        late()
    assert os.listdir(tmp_path) == ["made"]
    assert (tmp_path / "made" / "file").read_text() == "second"


def refused(tmp_path: Path, edit: Any, folder: Path, match: str, *, remove: bool = False) -> CheckpointError:
    """The error, after which nothing new is there."""
    there = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=match) as caught:
        (remove_steering if remove else apply_steering)(edit, folder, tmp_path / "refused")
    assert sorted(tmp_path.iterdir()) == there
    return caught.value


def test_another_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    edit = edit_of(folder, [3, 17])
    held = load_file(folder / "model.safetensors")
    held["model.embed_tokens.weight"][17, 4] += 1
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    save_file(held, other / "model.safetensors", {"format": "pt"})
    error = refused(tmp_path, edit, other, r"the row of token 17 .* another checkpoint than before, on which")
    assert error.tensor == "lm_head.weight"
    assert error.file == other / "model.safetensors"
    assert error.expected == f"{float(edit.rows_before[1, 4])!r} at token 17, dimension 4"
    assert error.found == repr(float(held["model.embed_tokens.weight"][17, 4]))


def test_a_zero_of_the_other_sign_is_another_row(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before", tied=False)
    held = load_file(folder / "model.safetensors")
    held["lm_head.weight"][3, 6] = 0.0
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    edit = edit_of(folder, [3])
    held["lm_head.weight"][3, 6] = -0.0
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    error = refused(tmp_path, edit, folder, "the row of token 3 is not the one of the edit")
    assert (error.expected, error.found) == ("0.0 at token 3, dimension 6", "-0.0")


def test_the_index_counts_the_head_of_its_own(tmp_path: Path) -> None:
    for sharded in (False, True):
        folder = saved(tmp_path / f"before-{sharded}", sharded=sharded)
        apply_steering(edit_of(folder, [3]), folder, tmp_path / f"steered-{sharded}")
        index = json.loads((tmp_path / f"steered-{sharded}" / "model.safetensors.index.json").read_text())
        held = tensors(tmp_path / f"steered-{sharded}")
        assert index["weight_map"].keys() == held.keys()
        assert index["metadata"]["total_size"] == sum(map(len, held.values()))


def test_edits_that_are_in_it_or_not(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    edit, other = edit_of(folder, [3]), edit_of(folder, [4])
    refused(tmp_path, edit, folder, "no edit is in it: its record", remove=True)
    apply_steering(edit, folder, tmp_path / "steered")
    refused(tmp_path, edit, tmp_path / "steered", "the edit is in it already")
    found = refused(tmp_path, other, tmp_path / "steered", "the edit is not in it", remove=True).found
    assert found == "an edit of tokens [3]"
    shutil.rmtree(tmp_path / "steered" / "lmscope_steering")
    refused(tmp_path, edit, tmp_path / "steered", "no edit is in it: its record", remove=True)


def test_a_head_that_was_changed_otherwise_is_not_tied_again(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    edit = edit_of(folder, [3])
    apply_steering(edit, folder, tmp_path / "steered")
    file = tmp_path / "steered" / "model-00002-of-00002.safetensors"
    held = load_file(file)
    held["lm_head.weight"][40, 0] += 1
    save_file(held, file, {"format": "pt"})
    refused(tmp_path, edit, tmp_path / "steered", "the row of token 40 differs from it", remove=True)


@pytest.mark.parametrize("stored", [False, True])
def test_a_config_that_was_changed_is_not_discarded(tmp_path: Path, stored: bool) -> None:
    """Neither by the edit that comes out last nor, of several, by any other; another layout is no change."""
    folder = saved(tmp_path / "before")
    if stored:
        held = load_file(folder / "model.safetensors")
        held["lm_head.weight"] = held["model.embed_tokens.weight"].clone()
        save_file(held, folder / "model.safetensors", {"format": "pt"})
    edit, other = edit_of(folder, [3]), edit_of(folder, [4])
    apply_steering(edit, folder, tmp_path / "once")
    file = tmp_path / "once" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "rope_theta": 5e5}))
    apply_steering(other, tmp_path / "once", tmp_path / "twice")
    remove_steering(edit, tmp_path / "twice", tmp_path / "still")
    assert json.loads((tmp_path / "still" / "config.json").read_text())["rope_theta"] == 5e5
    error = refused(tmp_path, other, tmp_path / "still", "make the change again in the copy", remove=True)
    assert error.file == tmp_path / "still" / "config.json"
    (tmp_path / "still" / "config.json").write_text(json.dumps(dict(sorted(config.items()))))
    remove_steering(other, tmp_path / "still", tmp_path / "after")
    assert content(tmp_path / "after") == content(folder)


@pytest.mark.parametrize("sharded", [False, True])
def test_an_index_that_was_changed_is_not_discarded(tmp_path: Path, sharded: bool) -> None:
    folder = saved(tmp_path / "before", sharded=sharded)
    edit = edit_of(folder, [3])
    apply_steering(edit, folder, tmp_path / "steered")
    file = tmp_path / "steered" / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    file.write_text(json.dumps({**index, "metadata": {**index["metadata"], "made_by": "someone"}}))
    error = refused(tmp_path, edit, tmp_path / "steered", "it was changed after the first edit", remove=True)
    assert error.file == file
    assert ("is the file from before it" in error.problem) == sharded


def test_a_record_whose_files_are_missing(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    edit, other = edit_of(folder, [3]), edit_of(folder, [4])
    apply_steering(edit, folder, tmp_path / "steered")
    kept = tmp_path / "steered" / "lmscope_steering" / "config.json"
    kept.unlink()
    for one, remove in ((edit, True), (other, False)):
        error = refused(tmp_path, one, tmp_path / "steered", "missing: the file from before", remove=remove)
        assert error.file == kept
    shutil.copy(folder / "config.json", kept)
    record = kept.with_name("edits.json")
    written = json.loads(record.read_text())
    record.write_text(json.dumps(written | {"times": {"other.safetensors": 1}}))
    refused(tmp_path, edit, tmp_path / "steered", "no weight file of the checkpoint", remove=True)
    record.write_text(json.dumps(written | {"embedding": "model.norm.weight"}))
    refused(tmp_path, edit, tmp_path / "steered", "which has another shape or dtype", remove=True)


def test_damaged_records(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    edit = edit_of(folder, [3])
    apply_steering(edit, folder, tmp_path / "steered")
    record = tmp_path / "steered" / "lmscope_steering" / "edits.json"
    written = json.loads(record.read_text())
    damages: list[dict[str, Any]] = [
        {"edits": [[3]]},
        {"edits": {"a": 3}},
        {"edits": {"a": ["3"]}},
        {"edits": {"a": [-3]}},
        {"tie": "none"},
        {"tie": []},
        {"tie": "own"},
        {"embedding": None},
        {"embedding": 3},
        {"head_file": None},
        {"head_file": "../model.safetensors"},
        {"names": ["model.safetensors"]},
        {"names": {"model.safetensors": 3}},
        {"names": {"model.safetensors": ""}},
        {"times": {"model.safetensors": "yesterday"}},
        {"times": {"model.safetensors": 1 << 70}},
        {"times": {"model.safetensors": True}},
        {"replaced": "config.json"},
        {"replaced": [".."]},
        {"replaced": ["config.json\0"]},
        {"replaced": ["config.json", "more.json"]},
        {"added": None},
        {"added": ["/etc/hosts"]},
        {"written": {"config.json": None}},
        {"written": {}},
        {"more": 1},
    ]
    for damage in damages:
        record.write_text(json.dumps(written | damage))
        for remove in (False, True):
            error = refused(tmp_path, edit, tmp_path / "steered", "not a record of edits", remove=remove)
            assert error.file == record
    record.write_text(json.dumps({name: value for name, value in written.items() if name != "added"}))
    refused(tmp_path, edit, tmp_path / "steered", "not a record of edits", remove=True)
    record.write_text(json.dumps(written))
    remove_steering(edit, tmp_path / "steered", tmp_path / "after")


def test_a_coarser_run_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    edit = edit_of(folder, [3], dtype="bfloat16")
    refused(tmp_path, edit, folder, r"rounded to bfloat16.*load the model with dtype='float32'")


def test_rows_too_large_for_the_stored_dtype(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before", dtype="float16")
    edit = edit_of(folder, [3], dtype="float32")
    edit.rows_after[0, 0] = 1e6
    refused(tmp_path, edit, folder, "the edited row of token 3 is too large for float16")


def test_another_size_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    edit = edit_of(folder, [3])
    edit.tokens[0] = 50
    error = refused(tmp_path, edit, folder, "a head of another size")
    assert error.expected == "32 dimensions and at most 50 tokens"
    assert error.found == "rows of 32, token 50"


def test_checkpoints_whose_rows_are_not_swapped(tmp_path: Path, tiny_bert_path: Path) -> None:
    folder = saved(tmp_path / "before")
    edit = edit_of(folder, [3])
    (tmp_path / "torch").mkdir()
    shutil.copy(folder / "config.json", tmp_path / "torch")
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "torch" / "pytorch_model.bin")
    error = refused(tmp_path, edit, tmp_path / "torch", "in safetensors files only.*save_pretrained")
    assert error.file == tmp_path / "torch" / "pytorch_model.bin"
    refused(tmp_path, edit, folder / "model.safetensors", "give the folder that holds the weights")
    config = json.loads((folder / "config.json").read_text())
    quantised = Path(shutil.copytree(folder, tmp_path / "quantised"))
    (quantised / "config.json").write_text(json.dumps(config | {"quantization_config": {}}))
    refused(tmp_path, edit, quantised, "quantised checkpoint are not swapped: dequantise")
    headless = Path(shutil.copytree(folder, tmp_path / "headless"))
    (headless / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaModel"]}))
    refused(tmp_path, edit, headless, r"its head is not known .*found none")
    (headless / "config.json").unlink()
    refused(tmp_path, edit, headless, "no config.json")


def test_folders_that_are_there_are_left_alone(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    edit = edit_of(folder, [3])
    original = content(folder)
    with pytest.raises(CheckpointError, match="it is there already: give a folder that is not"):
        apply_steering(edit, folder, folder)
    assert content(folder) == original
    with pytest.raises(CheckpointError, match=r"nothing of it is kept: .*No such file or directory"):
        apply_steering(edit, folder, tmp_path / "nowhere" / "steered")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["before"]


@pytest.mark.parametrize("tied", [False, True])
def test_a_disk_that_takes_no_more_leaves_nothing(tmp_path: Path, tied: bool) -> None:
    """By the limit on the size of files, which fails a write as a full disk does."""
    folder = saved(tmp_path / "before", tied=tied)
    edit = edit_of(folder, [3])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    smallest = (folder / "model.safetensors").stat().st_size if not tied else 50 * 32 * 4
    resource.setrlimit(resource.RLIMIT_FSIZE, (smallest - 100, hard))
    try:
        with pytest.raises(CheckpointError, match=r"nothing of it is kept: .*File too large") as caught:
            apply_steering(edit, folder, tmp_path / "steered")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["before"]
    assert caught.value.problem.split(": ")[1:] == ["model.safetensors", "File too large"]


def test_edits_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before", dtype="bfloat16")
    edit = edit_of(folder, [3, 17])
    write_steering(edit, tmp_path / "edit.safetensors")
    read = load_steering(tmp_path / "edit.safetensors")
    for name in ("tokens", "factors", "steps", "rows_before", "rows_after"):
        one, other = getattr(edit, name), getattr(read, name)
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
    assert (read.allocation, read.calibrated, read.label) == ("minimum_norm", True, "before")
    assert read.identity == open_checkpoint(folder).identity
    assert read.head is None
    with safe_open(tmp_path / "edit.safetensors", framework="pt") as file:
        assert file.metadata()["format"] == "lmscope steering 1"


def test_files_that_are_no_edits(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    with pytest.raises(CheckpointError, match="no steering edit"):
        load_steering(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="No such file"):
        load_steering(tmp_path / "nothing.safetensors")
    path = tmp_path / "edit.safetensors"
    write_steering(edit_of(folder, [3, 17]), path)
    whole = load_file(path)
    with safe_open(path, framework="pt") as file:
        said = file.metadata()

    def spoilt(match: str, changed: dict[str, Any], metadata: dict[str, str] | None = None) -> None:
        save_file({**whole, **changed}, path, metadata or said)
        with pytest.raises(CheckpointError, match=match):
            load_steering(path)

    spoilt("not the tensors of an edit", {"more": torch.zeros(1)})
    spoilt("tensor rows_after: not a tensor of an edit", {"rows_after": whole["rows_after"].double()})
    spoilt("tensor factors: not a tensor of an edit", {"factors": torch.ones(3, dtype=torch.float64)})
    spoilt("a token twice", {"tokens": torch.tensor([3, 3])})
    spoilt(
        "the row of token 17 is not finite",
        {"rows_before": whole["rows_before"] * torch.tensor([[1], [torch.nan]])},
    )
    spoilt("its metadata lack or spoil", {}, {"format": said["format"]})
    spoilt("its metadata are spoilt", {}, {**said, "calibrated": "[]"})
    spoilt("its metadata are spoilt", {}, {**said, "identity": "5"})
    for factor in (torch.nan, torch.inf, -1.0, 0.0):
        changed = {"factors": torch.tensor([2.0, factor], dtype=torch.float64)}
        spoilt(r"tensor factors: the value of token 17 \(expected positive and finite", changed)
    endless = {"steps": torch.tensor([torch.inf, 1.0], dtype=torch.float64)}
    spoilt(r"tensor steps: the value of token 3 \(expected finite, found inf", endless)
    none = {name: value[:0].contiguous() for name, value in whole.items()}
    spoilt("not the rows of an edit .expected tokens x dimensions, at least one of each", none)
    no_dimensions = {name: whole[name][:, :0].contiguous() for name in ("rows_before", "rows_after")}
    spoilt("not the rows of an edit", no_dimensions)
    spoilt("tensor tokens: not a tensor of an edit", {"tokens": torch.tensor(3)})
    write_steering(edit_of(folder, [3]), path)
    assert len(load_steering(path).tokens) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["before", "edit.safetensors"]


def test_an_edit_that_cannot_be_written(tmp_path: Path) -> None:
    folder = saved(tmp_path / "before")
    with pytest.raises(CheckpointError, match="the edit cannot be written"):
        write_steering(edit_of(folder, [3]), tmp_path / "nowhere" / "edit.safetensors")
