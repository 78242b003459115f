"""Lesion then fine-tune against fine-tune then lesion, on a small labelled task, all roles at once.

    python examples/lesion_order/order.py CKPT -o FOLDER [--seeds 0,1,2] [--record]

CKPT is an encoder such as MiniLM. Every arm of every seed is kept in FOLDER as it is done; what is there is
not done again. The two orders are compared seed by seed, whatever comes out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from classifier import BATCH, TOKENS, Classifier
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from task import PAGES, Task, read_task
from transformers.utils import logging

import lmscope
from lmscope.analyses.intervals import t_interval
from lmscope.analyses.slices import slice_ranks
from lmscope.runs.benchmarks.fingerprint import fingerprint

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "benchmarks" / "results" / "lesion_order.json"
SLICES = 10
STEPS = 80
RATE = 2e-4
CONFIDENCE = 0.95
LESION_FIRST = "lesion, then fine-tune"
LESION_LAST = "fine-tune, then lesion"


class Lesion(NamedTuple):
    """One slice, from 1 the smallest values to ``SLICES`` the largest, or random directions: as many as the
    smallest slice has, or of its energy."""

    name: str
    slice: int | None
    told: str


LESIONS = (
    Lesion("smallest", 1, "A tenth of the values removed, the smallest"),
    Lesion("middle", 5, "A tenth of the values removed, the fifth from below"),
    Lesion("largest", SLICES, "A tenth of the values removed, the largest"),
    Lesion("random", None, "As many random directions removed"),
    Lesion("random_energy", None, "Random directions of the smallest tenth's energy removed"),
)


class Arm(NamedTuple):
    lesion: Lesion | None
    order: str = ""

    @property
    def file(self) -> str:
        if self.lesion is None:
            return "none"
        return f"{self.lesion.name}-{'first' if self.order == LESION_FIRST else 'last'}"


ARMS = (
    Arm(None),
    *(Arm(lesion, LESION_LAST) for lesion in LESIONS),
    *(Arm(lesion, LESION_FIRST) for lesion in LESIONS),
)


class Experiment:
    """One checkpoint and its lesions; every arm starts from the checkpoint's weights."""

    def __init__(self, checkpoint: Path, *, steps: int, rate: float) -> None:
        opened = lmscope.open_checkpoint(checkpoint)
        self.model = lmscope.load_model(opened, dtype="float32", device="cpu")
        self.settings = {
            "checkpoint": opened.identity,
            "steps": steps,
            "rate": rate,
            "batch": BATCH,
            "tokens": TOKENS,
            "slices": SLICES,
        }
        self._steps = steps
        self._rate = rate
        self._sites = [
            site
            for site in lmscope.weight_sites(self.model, opened).values()
            if isinstance(site, lmscope.WeightSite) and site.info.layer is not None
        ]
        self.matrices = len(self._sites)
        self._start = {name: value.clone() for name, value in self.model.model.state_dict().items()}
        self._vectors = self._vectors_now()

    def run(self, seed: int, arms: Sequence[Arm], task: Task, folder: Path, progress: Progress) -> None:
        """The arms that are not in ``folder`` yet."""
        missing = [arm for arm in arms if not self._done(_file(folder, arm, seed))]
        last = [arm for arm in missing if arm.order != LESION_FIRST]
        first = [arm for arm in missing if arm.order == LESION_FIRST]
        bar = progress.add_task(f"seed {seed}", total=self._steps * (bool(last) + len(first)))

        def tuned() -> Classifier:
            classifier = Classifier(self.model, len(PAGES), seed)
            classifier.fine_tune(
                task.training,
                steps=self._steps,
                rate=self._rate,
                seed=seed,
                advance=lambda: progress.advance(bar),
            )
            return classifier

        if last:
            self._restart()
            begin = time.perf_counter()
            classifier = tuned()
            seconds = time.perf_counter() - begin
            vectors = self._vectors_now()
            for arm in last:
                with lmscope.lesioned(self.model, self._removals(arm.lesion, vectors, seed)) as lesion:
                    self._keep(
                        folder, arm, seed, classifier, task, energy_share=lesion.energy_share, seconds=seconds
                    )
        for arm in first:
            self._restart()
            begin = time.perf_counter()
            with lmscope.lesioned(self.model, self._removals(arm.lesion, self._vectors, seed)) as lesion:
                classifier = tuned()
                seconds = time.perf_counter() - begin
                self._keep(
                    folder, arm, seed, classifier, task, energy_share=lesion.energy_share, seconds=seconds
                )

    def _restart(self) -> None:
        self.model.model.load_state_dict(self._start)

    def _vectors_now(self) -> list[lmscope.SingularVectors]:
        return [lmscope.singular_vectors(site.weights()) for site in self._sites]

    def _removals(
        self, lesion: Lesion | None, vectors: Sequence[lmscope.SingularVectors], seed: int
    ) -> Mapping[lmscope.WeightSite, lmscope.Removal]:
        if lesion is None:
            return {}
        found = {}
        for place, (site, own) in enumerate(zip(self._sites, vectors, strict=True)):
            ranks = slice_ranks(len(own.values), SLICES)
            if lesion.slice is None:
                found[site] = self._random(site, place, own, ranks[0], lesion.name == "random_energy", seed)
            else:
                found[site] = lmscope.slice_removal(own, ranks[lesion.slice - 1])
        return found

    def _random(
        self,
        site: lmscope.WeightSite,
        place: int,
        own: lmscope.SingularVectors,
        smallest: range,
        same_energy: bool,
        seed: int,
    ) -> lmscope.Removal:
        """The same directions whatever the weights are now: drawn in the checkpoint's singular vectors."""
        drawn = lmscope.random_removal(self._vectors[place], directions=len(smallest), seed=[seed, place])
        right = drawn.right
        left = site.weights().double().numpy() @ right
        if same_energy:
            # No subspace of this dimension has less energy than the smallest slice.
            energy = float(np.square(own.values[smallest.start : smallest.stop]).sum())
            energies = np.square(left).sum(axis=0)
            sums = np.cumsum(energies)
            count = min(int(np.searchsorted(sums, energy)) + 1, len(sums))
            left, right = left[:, :count].copy(), right[:, :count]
            missing = energy - float(sums[count - 1] - energies[count - 1])
            left[:, -1] *= math.sqrt(min(1.0, missing / float(energies[count - 1])))
        energy = float(np.square(left).sum())
        share = energy / float(np.square(own.values).sum())
        return lmscope.Removal(left, right, right.shape[1], energy, share)

    def _done(self, file: Path) -> bool:
        if not file.is_file():
            return False
        there = json.loads(file.read_text(encoding="utf-8"))["settings"]
        if there != self.settings:
            changed = ", ".join(key for key in self.settings if there.get(key) != self.settings[key])
            raise SystemExit(f"{file} was made with another {changed}: remove it or take another folder")
        return True

    def _keep(
        self,
        folder: Path,
        arm: Arm,
        seed: int,
        classifier: Classifier,
        task: Task,
        *,
        energy_share: float,
        seconds: float,
    ) -> None:
        scores = classifier.test(task.test)
        row = {
            "settings": self.settings,
            "seed": seed,
            "lesion": arm.lesion.name if arm.lesion else None,
            "order": arm.order or None,
            "accuracy": scores.accuracy,
            "loss": scores.loss,
            "removed_energy": energy_share,
            "training_passages": len(task.training),
            "test_passages": len(task.test),
            "fine_tuning_seconds": round(seconds, 1),
        }
        file = _file(folder, arm, seed)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, file)


def summary(folder: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy and loss by arm, and what the order changes: means over seeds with intervals."""
    kept = {
        arm: [json.loads(_file(folder, arm, seed).read_text(encoding="utf-8")) for seed in seeds]
        for arm in ARMS
    }
    return {
        "arms": {
            arm.file: {
                "lesion": arm.lesion.name if arm.lesion else None,
                "order": arm.order or None,
                "removed_energy": float(np.mean([row["removed_energy"] for row in rows])),
                "accuracy": _spread([row["accuracy"] for row in rows]),
                "loss": _spread([row["loss"] for row in rows]),
            }
            for arm, rows in kept.items()
        },
        "first_less_last": {
            lesion.name: {
                score: _spread(
                    [
                        first[score] - last[score]
                        for first, last in zip(
                            kept[Arm(lesion, LESION_FIRST)], kept[Arm(lesion, LESION_LAST)], strict=True
                        )
                    ]
                )
                for score in ("accuracy", "loss")
            }
            for lesion in LESIONS
        },
    }


def sentences(found: Mapping[str, Any]) -> list[str]:
    """One for each lesion: what its two orders leave of accuracy and loss, and whether they differ."""
    said = []
    for lesion in LESIONS:
        first, last = (found["arms"][Arm(lesion, order).file] for order in (LESION_FIRST, LESION_LAST))
        scores = "; ".join(
            f"{name} {first[score]['mean']:.3f} if lesioned before fine-tuning, {last[score]['mean']:.3f} if "
            f"after it, difference {difference_in_words(found['first_less_last'][lesion.name][score])}"
            for score, name in (("accuracy", "accuracy"), ("loss", "loss in nats"))
        )
        said.append(
            f"{lesion.told} ({last['removed_energy']:.2%} of the energy after fine-tuning): {scores}."
        )
    return said


def difference_in_words(spread: Mapping[str, Any]) -> str:
    mean, low, high = (spread[key] for key in ("mean", "low", "high"))
    if low is None:
        return f"{mean:+.3f} (one seed has no interval)"
    holds = "holds" if low <= 0 <= high else "excludes"
    return f"{mean:+.3f} ({CONFIDENCE:.0%} interval {low:+.3f} to {high:+.3f}, which {holds} 0)"


def table(found: Mapping[str, Any]) -> Table:
    shown = Table("lesion", "order", "energy", "accuracy", "loss, nats")
    for row in found["arms"].values():
        shown.add_row(
            row["lesion"] or "none",
            row["order"] or "",
            f"{row['removed_energy']:.2%}",
            *(_words(row[score]) for score in ("accuracy", "loss")),
        )
    return shown


def _spread(values: Sequence[float]) -> dict[str, Any]:
    mean, low, high = t_interval(np.asarray(values), CONFIDENCE)
    bounds = {"low": None, "high": None} if math.isnan(low) else {"low": low, "high": high}
    return {"mean": mean, **bounds, "seeds": list(values)}


def _words(spread: Mapping[str, Any]) -> str:
    if spread["low"] is None:
        return f"{spread['mean']:.3f}"
    return f"{spread['mean']:.3f} ({spread['low']:.3f} to {spread['high']:.3f})"


def _file(folder: Path, arm: Arm, seed: int) -> Path:
    return folder / f"{arm.file}-{seed}.json"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=STEPS, help="of fine-tuning")
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate")
    parser.add_argument("--record", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    given = parser.parse_args(arguments)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    given.out.mkdir(parents=True, exist_ok=True)
    logging.disable_progress_bar()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        experiment = Experiment(given.checkpoint, steps=given.steps, rate=given.rate)
        for seed in seeds:
            experiment.run(seed, ARMS, read_task(seed), given.out, progress)
    found = summary(given.out, seeds)
    console = Console()
    console.print(table(found))
    for sentence in sentences(found):
        console.print(sentence)
    if given.record:
        result = {
            "command": f"python examples/lesion_order/order.py CKPT -o FOLDER --seeds {given.seeds} "
            f"--steps {given.steps} --rate {given.rate} --record",
            "settings": {
                **experiment.settings,
                "matrices": experiment.matrices,
                "pages": PAGES,
                "confidence": CONFIDENCE,
            },
            **found,
            "sentences": sentences(found),
            "machine": fingerprint(
                {"torch": {"version": torch.__version__, "threads": torch.get_num_threads()}}, source=ROOT
            ),
        }
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        console.print(str(RESULT))


if __name__ == "__main__":
    main()
