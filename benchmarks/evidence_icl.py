"""In-context learning as a spin glass: what arXiv 2408.02288 released, and ours beside it.

Writes benchmarks/results/icl.json. Two experiments, each `lmscope icl` in a process of its own:

- minutes: all experiments at the preset "minutes"; from it and from the library Fig. 1, 2, 4 and S4 to S8,
  each number with the mean and the standard deviation of ours over seeds, and whether it is within three.
- double_descent: Fig. S1: merged and separate weights trained at D = 20, N = 100 for 3000 epochs, beside the
  ground state of the same tasks.

    python benchmarks/evidence_icl.py [--only minutes,double_descent] [--runs FOLDER]

The runs with their pages are kept below --runs; what is in them already is not computed again. With --quick
two seeds go to build/benchmarks instead.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import icl_published as published
import lmscope
from experiments import folder_of, in_a_process, main
from resident import resident

EXPERIMENTS = ("minutes", "double_descent")
SETTINGS: dict[str, dict[str, Any]] = {
    "minutes": {"preset": "minutes"},
    "double_descent": {
        "experiments": "architectures",
        "preset": "minutes",
        "dimension": 20,
        "prompt_lengths": 100,
        "tasks": [120, 200, 300, 360, 400, 420, 440, 460, 500, 600, 680, 800],
        "settings": {"models": ["ground_state", "merged", "separate"]},
        "seeds": 10,
    },
}
DIRECT_SEEDS = 20
"""Of Fig. 2, which no table holds."""


def measure(name: str, folder: Path, quick: bool) -> dict[str, Any]:
    """Run one experiment in this process."""
    settings = {**SETTINGS[name], **({"seeds": 2} if quick else {})}
    began = time.monotonic()
    run = lmscope.icl(**settings, out=folder / "run", progress=False)
    return {
        "seconds": round(time.monotonic() - began, 1),
        "peak_bytes": resident("VmHWM"),
        "failures": list(run.icl().failures),
    }


def minutes(run: lmscope.Run, seeds: int) -> dict[str, Any]:
    tables = {name: run.table(name).to_pylist() for name in run.manifest["settings"]}
    compared = [
        *published.densities(tables["couplings"]),
        *published.training(seeds),
        *published.message_passing(seeds),
        *published.losses(tables["amp_vs_training"]),
    ]
    return {
        "published": compared,
        "within_three_sd": sum(one["within_three_sd"] for one in compared),
        "of": len(compared),
        "zero_modes": published.zero_modes(),
        "bends": published.bends(tables["emergence"]),
        "peaks": published.peaks(tables["phase_map"]),
        "contrast": published.contrasts(tables["phase_map"]),
        "message_passing": published.converged(tables["amp"]),
        "adam_against_ground_state": published.against_ground_state(tables["amp_vs_training"]),
        "correlated": published.means(
            tables["correlated"], "loss", "correlated", "correlation", "solver", "regularization"
        ),
        "correlated_tokens": published.correlated_tokens(tables["correlated"]),
        "settling": published.means(tables["couplings"], "divergence", "block", "prompt_length"),
        "architectures": published.means(tables["architectures"], "loss", "tasks", "model"),
        "seen": published.means(tables["diversity"], "loss_seen", "teacher", "distinct_teachers", "solver"),
        "unseen": published.means(
            tables["diversity"], "loss_unseen", "teacher", "distinct_teachers", "solver"
        ),
        "spectra": published.means(
            tables["coupling_spectrum"], "n_above", "kind", "dimension", "prompt_length", "tasks"
        ),
    }


def experiment(name: str, runs: Path, quick: bool) -> dict[str, Any]:
    folder = folder_of(name, runs, quick)
    cost = in_a_process(__file__, name, folder, quick)
    run = lmscope.open_run(folder / "run")
    run.report()
    if name == "minutes":
        return {"cost": cost, **minutes(run, 3 if quick else DIRECT_SEEDS)}
    rows = run.table("architectures").to_pylist()
    return {"cost": cost, "figure": "S1", "loss": published.means(rows, "loss", "model", "tasks")}


if __name__ == "__main__":
    main(
        __file__,
        __doc__,
        experiments=EXPERIMENTS,
        runs=Path("runs/evidence-icl"),
        result="icl.json",
        measure=measure,
        kept=experiment,
    )
