"""Where information sits in real models: singular vectors, overlaps, lesions, and the two claims.

Writes benchmarks/results/localize.json. Five experiments, each `lmscope localize` in a process of its own
(seconds, and the peak of the resident set above what it is after all imports, with the model loaded and one
window of 512 tokens read):

- minilm: all-MiniLM-L6-v2, every role, every tenth of the singular values, both controls; whole topics of
  Python's documentation are read, embedding, retrieval and the read-out are measured.
- each: the same model, every matrix lesioned alone, for the claim that weights alone tell.
- training: a small Llama-type model of examples/training, trained here, at its eleven steps, on text that it
  never read.
- gemma: Gemma 3 270M in float32, lesions on the loss, without controls and overlaps. Its weights were
  quantised; the records say so.
- agreement: rank correlation of roles between those models.

    python benchmarks/evidence_localize_real.py [--only minilm,each,training,gemma,agreement] [--runs FOLDER]

The runs with their pages are kept below --runs; what is in them already is not computed again. Experiments
that --only leaves out stay in the result file as they are. With --quick two layers, few slices and short
texts go to build/benchmarks instead.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lmscope
import localize_findings as findings
from experiments import ROOT, folder_of, in_a_process, main
from real_models import gemma, minilm, prose
from resident import resident, with_model

EXPERIMENTS = ("minilm", "each", "training", "gemma", "agreement")
LEAST, MOST = 1_000, 2_000
"""Characters of a topic."""
QUICK: dict[str, Any] = {"layers": "0,1", "only_slices": "1,10", "eval_tokens": 2048}


def settings(name: str, quick: bool) -> dict[str, Any]:
    """Of `lmscope.localize`, all but the checkpoint, the text and the folder."""
    own: dict[str, Any] = {
        "minilm": {},
        # 360 lesions: embeddings of few texts, no twin.
        "each": {
            "each_matrix": True,
            "controls": False,
            "measures": ("embedding", "retrieval"),
            "eval_tokens": 1024,
            "untrained": False,
        },
        # Step 0 is the untrained model.
        "training": {"measures": "loss", "eval_tokens": 2048, "controls": False, "untrained": False},
        "gemma": {
            "measures": "loss",
            "controls": False,
            "untrained": False,
            "overlaps": False,
            "only_slices": "1,5,10",
            "eval_tokens": 1024,
            # Many short windows: intervals are over windows.
            "window": 128,
        },
    }[name]
    return {**QUICK, **own} if quick else own


def checkpoint_of(name: str, runs: Path, quick: bool) -> Path:
    if name == "gemma":
        return gemma()
    if name != "training":
        return minilm()
    folder = runs / "model"
    options = ["--steps", "16", "--width", "64", "--layers", "2"] if quick else []
    command = [sys.executable, ROOT / "examples" / "training" / "train.py", "-o", folder, *options]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return folder / "steps"


def texts_of(name: str, runs: Path, quick: bool) -> list[str]:
    if name == "training":
        return [(runs / "model" / "held_out.txt").read_text(encoding="utf-8")[: 40_000 if quick else None]]
    return prose(16 if quick else 1000, LEAST, most=MOST, whole=True)


def measure(name: str, runs: Path, quick: bool) -> dict[str, Any]:
    """Run one experiment in this process."""
    from lmscope.runs.localize import localize

    checkpoint = checkpoint_of(name, runs, quick)
    one = max(checkpoint.glob("step-*")) if name == "training" else checkpoint
    sizes = [tensor for tensor in lmscope.open_checkpoint(one) if tensor.tied_to is None]
    read = texts_of(name, runs, quick)
    before = with_model(one, "scipy.interpolate", "scipy.optimize", "lmscope.runs.localize")
    began = time.monotonic()
    localize(checkpoint, texts=read, out=runs / "run", **settings(name, quick))
    layer = {tensor.shape[1] for tensor in sizes if tensor.status == "planned" and tensor.layer == 0}
    return {
        "seconds": round(time.monotonic() - began, 1),
        "peak_bytes_above_model": resident("VmHWM") - before,
        "model_bytes_float32": 4 * sum(tensor.elements for tensor in sizes),
        # One covariance for each width is the least that a layer's inputs take: those that are the same input
        # share one.
        "widest_covariance_bytes": 8 * max(layer) ** 2,
        "texts": len(read),
        "characters": sum(map(len, read)),
    }


def kept(name: str, run: lmscope.Run) -> dict[str, Any]:
    """What the result file holds of a run."""
    names = ("vectors", "overlap", "lesions", "slices", "claims")
    # An experiment without overlaps has no table of them.
    held = run.manifest["settings"]
    tables = {table: run.table(table).to_pylist() if table in held else [] for table in names}
    found: dict[str, Any] = {
        "settings": {analysis: dict(asked) for analysis, asked in run.manifest["settings"].items()},
        "warnings": findings.warnings(tables["vectors"]),
        "largest_residual": max(row["residual"] for row in tables["vectors"]),
        "worst_orthogonality": max(row["orthogonality"] for row in tables["vectors"]),
        "claims": findings.claims(tables["claims"]),
    }
    if name == "training":
        return {**found, "steps": findings.dynamics(tables)}
    if name == "each":
        return found
    return {
        **found,
        "covariances": findings.covariances(tables["overlap"]),
        "vectors": findings.vectors(tables["vectors"]),
        "overlaps": findings.overlaps(tables["overlap"], tables["vectors"]),
        "lesions": findings.lesions(tables["lesions"]),
        "lesions_against_controls": findings.controls_beaten(tables["lesions"]),
    }


def experiment(name: str, runs: Path, quick: bool) -> Any:
    if name == "agreement":
        return agreement(runs, quick)
    folder = folder_of(name, runs, quick)
    cost = in_a_process(__file__, name, folder, quick)
    run = lmscope.open_run(folder / "run")
    run.report()
    return {"cost": cost, **kept(name, run)}


def agreement(runs: Path, quick: bool) -> list[dict[str, Any]]:
    """Between the models whose runs are there; of the training, the last step."""
    slices = {}
    for name in ("minilm", "training", "gemma"):
        folder = folder_of(name, runs, quick) / "run"
        if folder.is_dir():
            rows = lmscope.open_run(folder).table("slices").to_pylist()
            last = max((row["step"] for row in rows if row["step"] is not None), default=None)
            slices[name] = [row for row in rows if row["step"] == last]
    return findings.agreement(slices)


if __name__ == "__main__":
    main(
        __file__,
        __doc__,
        experiments=EXPERIMENTS,
        runs=Path("runs/evidence-localize"),
        result="localize.json",
        measure=measure,
        kept=experiment,
    )
