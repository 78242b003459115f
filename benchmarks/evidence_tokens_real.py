"""Which tokens carry the next one: every selector on Gemma 3 270M and all-MiniLM-L6-v2, with intervals.

Writes benchmarks/results/tokens_real.json. Both read English prose from Python's documentation, a text of
each of 14 topics; 210 sampled positions, every method at every k, scored by ridge residual, information
gain and, for Gemma, by the divergence of its next-token distribution in three ways; entropy of every layer
beside noise and the untrained twin. The runs with their pages are kept below --runs.

    python benchmarks/evidence_tokens_real.py [--models minilm,gemma] [--runs FOLDER] [--out FILE]

With --quick a few positions of a short text go to build/benchmarks instead.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lmscope
from lmscope.runs import tokens_words as words
from lmscope.runs.benchmarks.fingerprint import fingerprint
from real_models import MODELS, prose

TEXTS, CHARACTERS, POSITIONS = 14, 2_200, 210
QUICK_TEXTS, QUICK_POSITIONS = 2, 4


def evidence(source: Path, out: Path, *, texts: int, positions: int) -> dict[str, Any]:
    began = time.monotonic()
    run = lmscope.tokens(source, texts=prose(texts, CHARACTERS), positions=positions, out=out)
    seconds = time.monotonic() - began
    run.report()
    summary = run.tokens()
    for title, columns, rows in words.tables(summary):
        print(f"\n{title}\n{' | '.join(columns)}")
        for row in rows:
            print(" | ".join(row))
    print(*words.sentences(summary), sep="\n")
    return {
        "settings": {name: dict(asked) for name, asked in run.manifest["settings"].items()},
        "seconds": round(seconds, 1),
        **asdict(summary),
        "sentences": words.sentences(summary),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence-tokens"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    results = Path("build/benchmarks") if arguments.quick else Path("benchmarks/results")
    out = arguments.out or results / "tokens_real.json"
    result: dict[str, Any] = {
        "machine": fingerprint(
            {name: {"version": version(name)} for name in ("numpy", "scipy", "torch", "transformers")},
            source=Path(__file__).parents[1],
        ),
        "command": "python benchmarks/evidence_tokens_real.py",
        "models": {},
    }
    for name in arguments.models.split(","):
        result["models"][name] = evidence(
            MODELS[name](),
            arguments.runs / (f"{name}-quick" if arguments.quick else name),
            texts=QUICK_TEXTS if arguments.quick else TEXTS,
            positions=QUICK_POSITIONS if arguments.quick else POSITIONS,
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
