"""Records as `lmscope icl` writes them, from rows that hold what a test wants to see again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmscope.results import RunFolder, record_key
from lmscope.results.icl_cells import record_name
from lmscope.results.run_folder import EXPERIMENTS

_VERSION = "0.1.0"
_SETTINGS = {"damping": 0.9}


def write_experiments(folder: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """A run folder with these rows of each experiment, one record per seed; ``seconds`` and ``reason`` are
    added where they are left out."""
    run = RunFolder.create(folder, EXPERIMENTS)
    seeds = {name: sorted({row["seed"] for row in rows}) for name, rows in tables.items()}
    with run.lock():
        run.write_manifest(
            checkpoint={
                "name": "Spin glass of in-context learning",
                "path": "",
                "identity": EXPERIMENTS,
                "model_type": "linear attention",
            },
            settings=dict.fromkeys(tables, _SETTINGS),
            lmscope_version=_VERSION,
            device="cpu",
            isa="avx2",
            machine={"system": "Linux", "cpus": 2},
            asked={
                "icl": {
                    name: {"preset": "seconds", "given": {}, "seed": some[0], "cells": {"seed": some}}
                    for name, some in seeds.items()
                }
            },
        )
        run.write_ledger([])
        for name, rows in tables.items():
            for seed in seeds[name]:
                key = record_key(EXPERIMENTS, record_name({"seed": seed}), name, _SETTINGS, _VERSION)
                own = [{"seconds": 0.1, "reason": "", **row} for row in rows if row["seed"] == seed]
                run.write(name, key, *own)
    return folder
