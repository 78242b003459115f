"""DOCS of two real models beside chance, random signs and random matrices.

Writes benchmarks/results/similarity_real.json. all-MiniLM-L6-v2 (float32) and Gemma 3 270M, whose 4-bit
file is dequantised to an ordinary bfloat16 checkpoint in the build folder, once. Every pair of layers of
every role, a control of random matrices, and the other indices for the queries. The runs with their pages
are kept below --runs.

    python benchmarks/evidence_similarity_real.py [--models minilm,gemma] [--runs runs/evidence] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import lmscope
from lmscope.runs.benchmarks.fingerprint import fingerprint
from real_models import MODELS

INDICES = ("query",)


def evidence(source: Path, out: Path) -> dict[str, Any]:
    run = lmscope.similarity(source, out=out, control=True, indices=INDICES)
    page = run.report()
    summary = run.similarity()
    rows = run.table("similarity").drop_columns(["counts"]).to_pylist()
    beside = [row for row in rows if row["null_draws"]]
    roles = []
    for role in summary.roles:
        mine = [row for row in beside if row["role"] == role.role]
        z = np.array([row["z"] for row in mine])
        roles.append(
            {
                **asdict(role),
                "null_draws": mine[0]["null_draws"],
                "z_median": float(np.median(z)),
                "z_smallest": float(z.min()),
                "p_value_largest": max(row["null_p_value"] for row in mine),
                "matched_share": float(np.mean([row["matched_share"] for row in mine])),
                "neighbours_above_null_mean": int(sum(row["score"] > row["null_mean"] for row in mine)),
                "neighbour_pairs": len(mine),
            }
        )
    embedding = next(row for row in run.ledger.to_pylist() if row["role"] == "token_embedding")
    return {
        "matrices": run.ledger.column("status").to_pylist().count("analysed"),
        "pairs": len(rows),
        "identical": sum(row["identical"] for row in rows),
        "token_embedding": {key: embedding[key] for key in ("shape", "status", "reason")},
        "roles": roles,
        "gini": [asdict(contrast) for contrast in summary.contrasts],
        "cost": summary.cost,
        "page_bytes": page.stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/similarity_real.json"))
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "machine": fingerprint(
            {name: {"version": version(name)} for name in ("numpy", "scipy", "torch", "transformers")},
            source=Path(__file__).parents[1],
        ),
        "models": {},
    }
    for name in arguments.models.split(","):
        found = evidence(MODELS[name](), arguments.runs / name)
        result["models"][name] = found
        for role in found["roles"]:
            told = ("neighbours", "baseline", "null", "control", "excess", "far", "gini")
            values = "  ".join(f"{key} {role[key]:.3f}" for key in told)
            blocks = [(block["first_layer"], block["last_layer"]) for block in role["blocks"]]
            print(f"{name}  {role['role']:17}{values}  smallest z {role['z_smallest']:.1f}  blocks {blocks}")
        for contrast in found["gini"]:
            print(f"{name}  {contrast['role']}, Gini:", {k: round(v, 4) for k, v in contrast["gini"].items()})
        print(f"{name}  page: {arguments.runs / name / 'report.html'}", flush=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
