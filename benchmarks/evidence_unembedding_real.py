"""What the output embeddings of real models hold: token probabilities, how to steer them, and since when.

Writes benchmarks/results/unembedding.json. Three experiments, each `lmscope unembedding` in a process of its
own (seconds, the peak of its resident set, and how far that is above the model: above what it is after all
imports, with the model loaded and one window of 512 tokens read):

- gemma: Gemma 3 270M in float32, 262144 tokens, with all controls. Averages, fit and calibration are those of
  whole topics of Python's documentation; held out are other whole topics, without paragraphs that both have,
  and the other text is source code of the standard library. Steered are tokens of middling frequency in the
  fitted topics. The weights were quantised before they came here.
- mean_fill: the same model's removals once more, with a coordinate's mean in its place, not zero.
- dynamics: four small Llama-type models of examples/training, of one size and four seeds, trained here and
  looked at in their eleven steps: how well the output embedding tells the frequencies of tokens in the
  training text, beside the loss on text that they never read.

    python benchmarks/evidence_unembedding_real.py [--only gemma,mean_fill,dynamics] [--runs FOLDER]

The runs with their pages are kept below --runs; what is in them already is not computed again. Experiments
that --only leaves out stay in the result file as they are. With --quick few positions and tokens, and two
minute trainings, go to build/benchmarks instead.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lmscope
import unembedding_findings as findings
from experiments import ROOT, folder_of, in_a_process, main
from real_models import gemma, source_code
from resident import resident, with_model

sys.path.append(str(ROOT / "examples" / "common"))
from corpus import read_corpus

EXPERIMENTS = ("gemma", "mean_fill", "dynamics")
CHARACTERS = 4_000
"""Of every module of source code."""
ALLOCATIONS = ("even", "minimum_norm", "sparse")
"""Controls and continuations are of the first."""
GEMMA = {
    # Many short windows: intervals are over windows.
    "window": 128,
    "positions": 16_384,
    "eval_positions": 4_096,
    "removal_positions": 1_024,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "gemma": {
        **GEMMA,
        "factors": (0.05, 0.1, 0.5, 2, 5, 20),
        "allocation": ALLOCATIONS,
        "steer_count": 60,
    },
    "mean_fill": {
        **GEMMA,
        "fill": "mean",
        "steering": False,
        "generations": False,
        "vocabulary_sizes": False,
        "controls": False,
        "untrained": False,
    },
    "dynamics": {"steering": False, "removal": False, "generations": False, "vocabulary_sizes": False},
}
QUICK_GEMMA = {
    "steer_count": 4,
    "window": 64,
    "positions": 384,
    "eval_positions": 256,
    "removal_positions": 128,
    "shares": (0.1, 0.3),
    "prompts": 2,
    "new_tokens": 8,
}
TRAINING = {"--width": 128, "--layers": 4}
QUICK_TRAINING = {"--width": 64, "--layers": 2, "--steps": 16}


def write_texts(folder: Path) -> dict[str, Path]:
    """For gemma, by the argument of `lmscope.unembedding` that reads it."""
    corpus = read_corpus()
    texts = {
        "text": corpus.training,
        "held_out": corpus.held_out,
        "other_text": source_code(CHARACTERS),
    }
    files = {}
    for name, parts in texts.items():
        files[name] = folder / f"{name}.txt"
        files[name].write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return files


def trainings(folder: Path, quick: bool) -> list[Path]:
    """Folders of seeds; a training that is there is not repeated."""
    options = [str(part) for pair in (QUICK_TRAINING if quick else TRAINING).items() for part in pair]
    found = []
    for seed in range(2 if quick else 4):
        found.append(folder / f"seed-{seed}")
        command = [sys.executable, ROOT / "examples" / "training" / "train.py", "-o", found[-1]]
        subprocess.run([*command, "--seed", str(seed), *options], check=True, stdout=sys.stderr)
    return found


def measure(name: str, folder: Path, quick: bool) -> dict[str, Any]:
    """Run one experiment in this process."""
    from lmscope.runs.unembedding import unembedding

    settings = SETTINGS[name]
    if name != "dynamics":
        settings = {**settings, **(QUICK_GEMMA if quick else {})}
        one = gemma()
        checkpoints, files = [one], write_texts(folder)
    else:
        trained = trainings(folder, quick)
        checkpoints = [path / "steps" for path in trained]
        files = {"text": trained[0] / "held_out.txt", "frequency_text": trained[0] / "training.txt"}
        one = max(checkpoints[0].glob("step-*"))
    before = with_model(one, "safetensors.torch", "lmscope.runs.unembedding")
    began = time.monotonic()
    unembedding(*checkpoints, **files, out=folder / "run", **settings)
    peak = resident("VmHWM")
    tensors = [tensor for tensor in lmscope.open_checkpoint(one) if tensor.tied_to is None]
    return {
        "seconds": round(time.monotonic() - began, 1),
        "peak_bytes": peak,
        "peak_bytes_above_model": peak - before,
        "model_bytes_float32": 4 * sum(tensor.elements for tensor in tensors),
        "characters": {argument: len(path.read_text(encoding="utf-8")) for argument, path in files.items()},
    }


def kept(name: str, run: lmscope.Run) -> dict[str, Any]:
    """What the result file holds of a run."""
    settings, summary = run.manifest["settings"], run.unembedding()
    tables = {table: run.table(table).to_pylist() for table in _TABLES if table in settings}
    # Of a training, the last step of every seed.
    last = max((row["step"] for row in tables["heads"] if row["step"] is not None), default=None)
    ends = {table: [row for row in rows if row["step"] == last] for table, rows in tables.items()}
    found: dict[str, Any] = {
        "settings": {table: dict(settings[table]) for table, rows in tables.items() if rows},
        "heads": findings.heads(ends["heads"]),
        "encoding": findings.encoding(ends["encoding"]),
        "failures": list(summary.failures),
    }
    if name == "dynamics":
        dynamics = findings.dynamics(tables["dynamics"], summary.courses, summary.apart)
        return {**found, "dynamics": dynamics}
    found["weights"] = "quantised to four bits (Q4_K_M), then kept in bfloat16, read in float32"
    for figure, (table, function) in _FIGURES.items():
        if tables[table]:
            found[figure] = function(tables[table])
    return found


_FIGURES: dict[str, tuple[str, Callable[..., Any]]] = {
    "sparsity": ("slope", findings.sparsity),
    "sizes": ("vocabulary_size", findings.sizes),
    "steering": ("steering", partial(findings.steering, allocation=ALLOCATIONS[0], calibrated=True)),
    "removal": ("removal", findings.removal),
    "mask": ("mask", findings.masks),
    "generations": ("generations", findings.generations),
}
_TABLES = ("heads", "encoding", "dynamics", *(table for table, _ in _FIGURES.values()))


def experiment(name: str, runs: Path, quick: bool) -> dict[str, Any]:
    folder = folder_of(name, runs, quick)
    cost = in_a_process(__file__, name, folder, quick)
    run = lmscope.open_run(folder / "run")
    run.report()
    return {"cost": cost, **kept(name, run)}


if __name__ == "__main__":
    main(
        __file__,
        __doc__,
        experiments=EXPERIMENTS,
        runs=Path("runs/evidence-unembedding"),
        result="unembedding.json",
        measure=measure,
        kept=experiment,
    )
