"""Entropy against size: `lmscope tokens` on the models that train.py left in FOLDER, and its report.

    python examples/scaling/measure.py FOLDER [--positions 40] [--out FILE]

Every model's states of the held-out text are set beside noise of the same shape and beside the same model
before training. The sign and the exponent of the law are whatever comes out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import lmscope
from lmscope.runs.benchmarks.fingerprint import fingerprint

ROOT = Path(__file__).resolve().parents[2]
MEASURES = (
    "parameters",
    "dimensions",
    "tokens",
    "normalized",
    "iid_normalized",
    "untrained_normalized",
    "effective_rank",
    "iid_effective_rank",
    "untrained_effective_rank",
    "diff_erank",
    "mean_diff_erank",
    "mean_diff_erank_low",
    "mean_diff_erank_high",
    "conditional_entropy",
    "conditional_entropy_low",
    "conditional_entropy_high",
)
"""Columns of the records that the result file keeps, of each model's last layer."""


def trained(folder: Path) -> list[Path]:
    """Finished models, the largest first."""
    found = [path.parent for path in folder.glob("*/training.json")]
    return sorted(found, key=lambda path: [-int(part) for part in path.name.split("-")])


def measure(folder: Path, *, positions: int = 40, progress: bool = True) -> dict[str, Any]:
    """Records of the run in ``folder/run``, by model."""
    models = trained(folder)
    if not models:
        raise SystemExit(f"{folder} holds no trained model: run train.py -o {folder} first")
    run = lmscope.tokens(
        *models,
        text=sorted((folder / "held_out").glob("*.txt")),
        positions=positions,
        out=folder / "run",
        progress=progress,
    )
    run.report()
    records = run.table("entropy").to_pylist()
    last = {row["checkpoint"]: row for row in records if row["layer"] == row["layers"]}
    facts = {path.name: json.loads((path / "training.json").read_text(encoding="utf-8")) for path in models}
    return {
        "models": {
            name: {"training": facts[name], **{column: last[name][column] for column in MEASURES}}
            for name in sorted(facts, key=lambda name: [int(part) for part in name.split("-")])
        },
        "entropy_law": run.table("entropy_law").to_pylist(),
    }


def table(result: dict[str, Any]) -> Table:
    shown = Table("model", "parameters", "entropy", "of noise", "untrained", "Diff-eRank", "nats per token")
    for name, row in result["models"].items():
        shown.add_row(
            name,
            f"{row['parameters']:,}",
            *(f"{row[column]:.4f}" for column in ("normalized", "iid_normalized", "untrained_normalized")),
            f"{row['diff_erank']:.1f}",
            f"{row['conditional_entropy']:.3f}",
        )
    return shown


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--positions", type=int, default=40, help="of the largest model, for the selection of tokens"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "scaling.json")
    given = parser.parse_args(arguments)
    result = {
        "command": f"python examples/scaling/measure.py FOLDER --positions {given.positions}",
        **measure(given.folder, positions=given.positions),
        "machine": fingerprint({}, source=ROOT),
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console = Console()
    console.print(table(result))
    for law in result["entropy_law"]:
        console.print(
            f"{law['form']}: refused, {law['refused']}"
            if law["refused"]
            else f"{law['form']}: entropy over that of noise ~ N^{law['exponent']:.4f} "
            f"({law['exponent_low']:.4f} to {law['exponent_high']:.4f}), R² {law['r2']:.3f}"
        )
    console.print(f"{given.out}\n{given.folder / 'run' / 'report.html'}")


if __name__ == "__main__":
    main()
