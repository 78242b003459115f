"""DOCS of all pairs of a 32-layer checkpoint under 8 GB, and what a Llama-3-70B would take.

Writes benchmarks/results/similarity_scale.json. A Llama with hidden size 2048 and intermediate size 5632,
random bfloat16 weights (about 2.9 GB on disk, written layer by layer into --work and kept), all seven
roles, through `lmscope.similarity` in a process of its own: time, peak memory, reads, the shares of reading
and packing, and the rate of operations sustained. Then Llama-3-70B's shapes at the measured rates, with the
reads that the schedule makes under several budgets; no weights are needed for that.

It prints how long it will take before it starts, and may be killed: the run folder is kept, and the next
call goes on with the pairs that are missing. `--layers 12` measures less and projects the rest.

    python benchmarks/evidence_similarity_scale.py [--layers 32] [--memory 8GB] [--out FILE]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

import lmscope
from lmscope.runs.benchmarks.cpu_time import busy_seconds, foreign_share
from lmscope.runs.benchmarks.fingerprint import fingerprint
from lmscope.runs.cost import packed_bytes
from lmscope.runs.memory import memory_budget
from lmscope.runs.pair_pass import WORK_BYTES, stored_bytes
from lmscope.runs.pair_schedule import Load, schedule
from lmscope.runs.progress import format_bytes, format_seconds
from lmscope.runs.vectors import Pair, layer_groups, layer_pairs

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.sparse_checkpoints import llama_3_70b, write_sparse

HEADS, GROUPED = 16, 4
WHOLE = 32
PROJECTED_BUDGETS = (8, 16, 64)  # GB

Shapes = dict[str, tuple[int, int]]


def shapes_of(layer: int, hidden: int, intermediate: int) -> Shapes:
    grouped = hidden * GROUPED // HEADS
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (grouped, hidden),
        "self_attn.v_proj": (grouped, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "mlp.down_proj": (hidden, intermediate),
    }
    return {f"model.layers.{layer}.{name}.weight": shape for name, shape in shapes.items()}


def write_config(folder: Path, layers: int, hidden: int, intermediate: int) -> None:
    """Not touched where it stands: the checkpoint's identity holds the times of its files."""
    config = {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPED,
    }
    if not (folder / "config.json").is_file():
        (folder / "config.json").write_text(json.dumps(config))


def write_headers(folder: Path, layers: int, hidden: int, intermediate: int) -> Path:
    """The checkpoint without its bytes: what the projection needs."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: ("BF16", shape)
        for layer in range(layers)
        for name, shape in shapes_of(layer, hidden, intermediate).items()
    }
    write_sparse(folder / "model.safetensors", tensors)
    write_config(folder, layers, hidden, intermediate)
    return folder


def write_checkpoint(folder: Path, layers: int, hidden: int, intermediate: int) -> Path:
    """One shard a layer; shards that stand are kept, each is written whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, str] = {}
    for layer in range(layers):
        shapes = shapes_of(layer, hidden, intermediate)
        file = f"model-{layer + 1:05}-of-{layers:05}.safetensors"
        index |= dict.fromkeys(shapes, file)
        if (folder / file).is_file():
            continue
        random = np.random.default_rng([0, layer])
        weights = {
            name: (0.02 * random.standard_normal(shape, dtype=np.float32)).astype(ml_dtypes.bfloat16)
            for name, shape in shapes.items()
        }
        save_file(weights, folder / f"{file}.unfinished", metadata={"format": "pt"})
        (folder / f"{file}.unfinished").rename(folder / file)
    listing = folder / "model.safetensors.index.json"
    if not listing.is_file():
        listing.write_text(json.dumps({"weight_map": index}))
    write_config(folder, layers, hidden, intermediate)
    return folder


def pairs_of(checkpoint: Path) -> list[list[Pair]]:
    """All pairs of a checkpoint, role by role, with the draws of the null that a run makes by default."""
    groups = layer_groups(lmscope.open_checkpoint(checkpoint), "neurons")
    return [list(layer_pairs(group, None)) for group in groups]


def role_of(pairs: list[Pair]) -> str:
    return pairs[0].x.tensor.role


def reads_under(groups: list[list[Pair]], budget: int) -> dict[str, int]:
    """What the schedule reads where the pass may take so many bytes."""
    reads = read_bytes = 0
    for pairs in groups:
        members = {matrix.key: matrix for pair in pairs for matrix in (pair.x, pair.y)}
        sizes = {key: packed_bytes(m.depth, m.count, m.tensor.dtype) for key, m in members.items()}
        room = budget - WORK_BYTES - max(map(stored_bytes, members.values())) - max(sizes.values())
        for step in schedule([(pair.x.key, pair.y.key) for pair in pairs], sizes, room):
            if isinstance(step, Load):
                reads += 1
                read_bytes += members[step.item].tensor.nbytes
    return {"reads": reads, "read_bytes": read_bytes}


def resident(field: str) -> int:
    """VmRSS or VmHWM in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def sample_rate() -> float:
    """Operations a second of one comparison, for what is told before the start."""
    random = np.random.default_rng(0)
    sides = [random.standard_normal((2048, 4096), dtype=np.float32).astype(ml_dtypes.bfloat16) for _ in "xy"]
    x, y = map(lmscope.PackedColumns, sides)
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        lmscope.column_cosine(x, y)
        taken.append(time.perf_counter() - start)
    return 2.0 * 2048 * 4096**2 / min(taken)


def measure(checkpoint: str, out: str, memory: str) -> dict[str, Any]:
    """The pass, in this process; pairs that stand from a call before are not in its costs."""
    for module in ("lmscope.results", "lmscope.runs.similarity", "lmscope.analyses.pair", "scipy.stats"):
        importlib.import_module(module)
    before = resident("VmRSS")
    busy, own, start = busy_seconds(), time.process_time(), time.perf_counter()
    run = lmscope.similarity(checkpoint, out=out, memory=memory)
    seconds = time.perf_counter() - start
    own, busy = time.process_time() - own, busy_seconds() - busy
    cpus = len(os.sched_getaffinity(0))
    return {
        "seconds": seconds,
        "foreign_share": foreign_share(seconds=seconds, own=own, busy=busy, cpus=cpus),
        "peak_bytes": resident("VmHWM"),
        "peak_bytes_above_imports": resident("VmHWM") - before,
        "cost": run.similarity().cost,
        "statuses": sorted(set(run.ledger.column("status").to_pylist())),
    }


def run_passes(work: Path, checkpoint: Path, memory: str) -> list[dict[str, Any]]:
    """This pass and those before it that came to their end, each a process of its own."""
    kept = work / "passes.json"
    done: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.is_file() else []
    command = [sys.executable, __file__, "--measure", str(checkpoint), str(work / "run"), memory]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1]
    found = json.loads(told)
    if not done or found["cost"] != done[-1]["cost"]:
        done.append(found)
        kept.write_text(json.dumps(done, indent=1))
    return done


def measured_rates(run: Path, groups: list[list[Pair]]) -> dict[str, float]:
    """Operations a second by role, over all pairs, which must all be there and score what chance gives."""
    table = lmscope.open_run(run).table("similarity")
    assert len(table) == sum(map(len, groups)), (len(table), sum(map(len, groups)))
    assert np.abs(np.asarray(table.column("excess"))).max() < 0.02
    seconds: defaultdict[str, float] = defaultdict(float)
    for role, taken in zip(*(table.column(name).to_pylist() for name in ("role", "seconds")), strict=True):
        seconds[role] += taken
    return {role_of(pairs): sum(pair.flops for pair in pairs) / seconds[role_of(pairs)] for pairs in groups}


def projected(groups: list[list[Pair]], rates: dict[str, float], load_rate: float) -> dict[str, Any]:
    """At rates of operations by role and of bytes read and packed."""
    flops = {role_of(pairs): sum(pair.flops for pair in pairs) for pairs in groups}
    seconds = {role: value / rates[role] for role, value in flops.items()}
    budgets = {}
    for gigabytes in PROJECTED_BUDGETS:
        found = reads_under(groups, gigabytes * 10**9)
        loading = found["read_bytes"] / load_rate
        total = sum(seconds.values()) + loading
        budgets[f"{gigabytes} GB"] = {
            **found,
            "seconds": total,
            "share_reading_and_packing": loading / total,
        }
    return {
        "pairs": sum(map(len, groups)),
        "flops": sum(flops.values()),
        "flops_by_role": flops,
        "comparing_seconds_by_role": seconds,
        "budgets": budgets,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=WHOLE)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--intermediate", type=int, default=5632)
    parser.add_argument("--memory", default="8GB")
    parser.add_argument("--work", type=Path, default=Path("build/evidence/scale"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/similarity_scale.json"))
    parser.add_argument("--measure", nargs=3, metavar=("CKPT", "RUN", "MEMORY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    sizes = (arguments.hidden, arguments.intermediate)
    work = arguments.work / f"{arguments.layers}-{sizes[0]}-{sizes[1]}"
    with tempfile.TemporaryDirectory() as scratch:
        asked = pairs_of(write_headers(Path(scratch) / "asked", arguments.layers, *sizes))
        whole = pairs_of(write_headers(Path(scratch) / "whole", WHOLE, *sizes))
        large = pairs_of(llama_3_70b(Path(scratch) / "llama-3-70b"))
    members = {
        matrix.key: matrix.tensor.nbytes for group in asked for pair in group for matrix in (pair.x, pair.y)
    }
    flops, rate = sum(pair.flops for group in asked for pair in group), sample_rate()
    free = shutil.disk_usage(arguments.work.anchor or ".").free
    print(
        f"{sum(map(len, asked))} pairs, {flops:.2g} operations: about {format_seconds(flops / rate)} at "
        f"{rate / 1e9:.0f} GFLOP/s; the checkpoint takes {format_bytes(sum(members.values()))} of "
        f"{format_bytes(free)} free below {work}",
        flush=True,
    )
    checkpoint = write_checkpoint(work / "model", arguments.layers, *sizes)
    done = run_passes(work, checkpoint, arguments.memory)
    budget = memory_budget(arguments.memory)
    assert max(one["peak_bytes"] for one in done) < budget, done
    assert done[-1]["statuses"] == ["analysed"], done[-1]["statuses"]
    rates = measured_rates(work / "run", asked)
    costs = [one["cost"] for one in done]

    def total(name: str) -> float:
        return sum(cost[name] for cost in costs)

    loading = total("waiting_seconds") + total("packing_seconds")
    comparing = total("comparing_seconds")
    load_rate = total("read_bytes") / loading
    result = {
        "machine": fingerprint({"numpy": {"version": np.__version__}}, source=Path(__file__).parents[1]),
        "config": {"layers": arguments.layers, "hidden": sizes[0], "intermediate": sizes[1]},
        "memory": arguments.memory,
        "flops": flops,
        # Fewer pairs than those asked for where a pass was killed: its costs are lost, its records stand.
        "pairs_in_passes": total("pairs"),
        "seconds": sum(one["seconds"] for one in done),
        "share_waiting_for_reads": total("waiting_seconds") / (loading + comparing),
        "share_packing": total("packing_seconds") / (loading + comparing),
        "bytes_read_and_packed_per_second": load_rate,
        "flops_per_second": flops
        / sum(sum(p.flops for p in group) / rates[role_of(group)] for group in asked),
        "flops_per_second_by_role": rates,
        "largest_peak_bytes": max(one["peak_bytes"] for one in done),
        "passes": done,
        "projected": {
            f"{WHOLE} layers of these shapes": projected(whole, rates, load_rate),
            "Llama-3-70B": projected(large, rates, load_rate),
        },
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    told = ("seconds", "share_waiting_for_reads", "share_packing", "flops_per_second", "largest_peak_bytes")
    print(json.dumps({key: result[key] for key in told}, indent=1))
    for name, found in result["projected"].items():
        for budget_name, one in found["budgets"].items():
            print(
                f"{name} under {budget_name}: {format_seconds(one['seconds'])}, {one['reads']} reads, "
                f"{format_bytes(one['read_bytes'])}"
            )


if __name__ == "__main__":
    main()
