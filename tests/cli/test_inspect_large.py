"""`inspect` of checkpoints far larger than this machine: sparse files with real headers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..sparse_checkpoints import llama_3_70b, write_sparse

# Prints what the command prints, then on stderr what it has imported.
CODE = """
import sys
from lmscope.cli import main
try:
    main()
finally:
    heavy = {"torch", "transformers", "scipy", "pandas", "pyarrow", "plotly", "jinja2", "huggingface_hub"}
    print(sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


def inspect(*arguments: object) -> tuple[str, float]:
    """Standard output and seconds from process start to end, the better of two; nothing heavy is imported."""
    seconds = []
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    for _ in range(2):
        start = time.monotonic()
        command = [sys.executable, "-c", CODE, "inspect", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        seconds.append(time.monotonic() - start)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "[]"
    return done.stdout, min(seconds)


@pytest.fixture(scope="module")
def llama_70b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = llama_3_70b(tmp_path_factory.mktemp("llama-3-70b"))
    assert sum(file.stat().st_size for file in folder.glob("*.safetensors")) > 141e9
    return folder


def test_llama_3_70b(llama_70b: Path) -> None:
    output, seconds = inspect(llama_70b, "--json")
    answer = json.loads(output)
    assert len(answer["tensors"]) == 723
    assert sum(row["elements"] for row in answer["tensors"]) == 70_553_706_496
    assert {row["layer"] for row in answer["tensors"]} == {None, *range(80)}
    assert sum(row["status"] == "planned" for row in answer["tensors"]) == 2 + 7 * 80
    assert not any("guessed" in row["reason"] for row in answer["tensors"])
    projection = answer["projection"]
    assert projection["matrices"] == 562
    assert projection["largest_gram_bytes"] == 8 * 8192**2
    assert projection["largest_tensor_bytes"] == 2 * 128256 * 8192
    # Far below the model's size.
    assert 2e9 < projection["memory_bytes"] < 10e9
    similarity = projection["similarity"]
    # Hours for the spectra, and for all pairs of 80 layers days rather than years on any machine of today.
    assert 60 < projection["seconds"] - similarity["seconds"] < 24 * 3600
    assert 3600 < similarity["seconds"] < 60 * 24 * 3600
    assert similarity["pairs"] == 7 * 80 * 79 // 2
    # Of gate or up: 3160 pairs, and 19 draws for each of 79 neighbours.
    feed_forward = 2 * 8192 * 28672**2 * (3160 + 19 * 79)
    assert 2 * feed_forward < similarity["flops"] < 4 * feed_forward
    assert 80 * 2 * 8192 * 28672 < similarity["memory_bytes"] < 1.1 * 80 * 2 * 8192 * 28672
    assert 2 * 2 * 8192 * 28672 < similarity["least_memory_bytes"] < projection["memory_bytes"]
    # 0.4 s on two cores of 2026; the promise is 2 s.
    assert seconds < 6, seconds


def test_table_of_llama_3_70b_fits_a_screen(llama_70b: Path) -> None:
    output, seconds = inspect(llama_70b)
    assert seconds < 6, seconds
    lines = output.splitlines()
    assert len(lines) < 20
    assert any("Similarities of 22120 pairs of matrices" in line for line in lines)
    row = next(line for line in lines if "q_proj" in line)
    name, role, shape = "model.layers.*.self_attn.q_proj.weight", "query", "8192x8192"
    assert row.split() == [name, "80", role, "0-79", shape, "bfloat16", "planned"]
    assert any("723 tensors, 562 matrices to analyse, 141 GB" in line for line in lines)
    every, _ = inspect(llama_70b, "--all")
    assert len(re.findall(r"^(?:model|lm_head)\S+ ", every, re.MULTILINE)) == 723


def test_five_hundred_tensors_in_one_file(tmp_path: Path) -> None:
    names = [
        f"model.layers.{layer}.mlp.{role}_proj.weight"
        for layer in range(125)
        for role in ("gate", "up", "q", "o")
    ]
    write_sparse(tmp_path / "model.safetensors", dict.fromkeys(names, ("BF16", (4096, 4096))))
    output, seconds = inspect(tmp_path / "model.safetensors", "--json")
    assert len(json.loads(output)["tensors"]) == 500
    assert seconds < 3, seconds  # 0.4 s on two cores of 2026; the promise is 1 s


def test_names_of_thousands_of_letters_are_shortened_in_the_table_alone(tmp_path: Path) -> None:
    names = ["first" + letter * 5000 + "last.weight" for letter in "abc"]
    write_sparse(tmp_path / "model.safetensors", dict.fromkeys(names, ("BF16", (4, 4))))
    table, _ = inspect(tmp_path)
    assert len(table) < 5000
    assert all(f"first{letter}" in table and f"{letter}..." in table.replace("\n", "") for letter in "abc")
    output, _ = inspect(tmp_path, "--json")
    assert [row["name"] for row in json.loads(output)["tensors"]] == names


def test_thirty_thousand_experts_are_three_rows(tmp_path: Path) -> None:
    names = [
        f"model.layers.{layer}.mlp.experts.{expert}.{role}_proj.weight"
        for layer in range(48)
        for expert in range(208)
        for role in ("gate", "up", "down")
    ]
    write_sparse(tmp_path / "model.safetensors", dict.fromkeys(names, ("BF16", (768, 2048))))
    output, seconds = inspect(tmp_path)
    rows = [line.split() for line in output.splitlines() if ".experts." in line]
    assert [row[:4] for row in rows] == [
        [f"model.layers.*.mlp.experts.*.{role}_proj.weight", "9984", role, "0-47"]
        for role in ("down", "gate", "up")
    ]
    assert seconds < 15, seconds  # 1.8 s on two cores of 2026
