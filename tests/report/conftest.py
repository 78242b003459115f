"""Runs for the page's tests: real singular values of small matrices with planted spikes, real files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ..browsing import Watched
from ..synthetic_runs import ledger_row, write_run_folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser


IDENTITY = "9f" * 32
ROLES = ("query", "key", "value", "attention_output", "up", "down")
SHAPES = {"up": (192, 48), "down": (48, 192)}
Change = Callable[[dict[str, Any]], None]


@cache
def record_of(shape: tuple[int, int], role: str, layer: int | None, draws: int, seed: int) -> dict[str, Any]:
    """A record as the spectra analysis writes it, from plain numpy: noise with planted spikes."""
    random = np.random.default_rng(seed)
    w = random.standard_normal(shape) * 0.02
    if role != "attention_output":
        w = w * random.lognormal(0, 0.35, shape[1])
    spikes = {"query": 9, "key": 7, "up": 3, "down": 2}.get(role, 0) * (1 + (layer or 0) % 3)
    for spike in range(min(spikes, min(shape) // 4)):
        left, right = random.standard_normal(shape[0]), random.standard_normal(shape[1])
        strength = 0.02 * (math.sqrt(shape[0]) + math.sqrt(shape[1])) * (1.1 + 2.5 * random.random() ** 3)
        unit = np.outer(left, right) / np.linalg.norm(left) / np.linalg.norm(right)
        w += (strength + 0.01 * spike) * unit
    return analyse(w, role, draws, seed)


def analyse(w: np.ndarray, role: str, draws: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng([seed, 1])
    rows, columns = w.shape
    smaller, larger = sorted(w.shape)
    values = np.linalg.svd(w, compute_uv=False)
    noise = np.linalg.svd(random.standard_normal(w.shape), compute_uv=False)
    scale = float(np.median(values) / np.median(noise))
    lower, upper = (scale * (math.sqrt(larger) + sign * math.sqrt(smaller)) for sign in (-1.0, 1.04))
    flipped = [float(np.linalg.norm(w * random.choice([-1.0, 1.0], w.shape), 2)) for _ in range(draws)]
    permuted = [
        float(np.linalg.norm(random.permutation(w.ravel()).reshape(w.shape), 2)) for _ in range(draws)
    ]
    energy = values**2 / np.sum(values**2)
    entropy = float(-np.sum(energy * np.log(energy)))
    row_variance, column_variance = w.var(axis=1), w.var(axis=0)
    spread = float(column_variance.std() / column_variance.mean())
    uneven = spread > 3 * math.sqrt(2 / rows)
    return {
        "role": role,
        "expert": None,
        "rows": rows,
        "columns": columns,
        "dtype": "bfloat16",
        "N": larger,
        "M": smaller,
        "Q": larger / smaller,
        "singular_values": values.tolist(),
        "bounds": [1e-12] * smaller,
        "method": "gram",
        "sv_max": float(values[0]),
        "sv_min": float(values[-1]),
        "norm": float(np.sum(values**2)),
        "log_norm": float(np.log10(np.sum(values**2))),
        "spectral_norm": float(values[0] ** 2),
        "log_spectral_norm": float(np.log10(values[0] ** 2)),
        "stable_rank": float(np.sum(values**2) / values[0] ** 2),
        "entropy": entropy / math.log(smaller) if smaller > 1 else math.nan,
        "effective_rank": math.exp(entropy),
        "scale": scale,
        "lower_edge": lower,
        "upper_edge": upper,
        "n_below": int(np.sum(values < lower)),
        "n_above": int(np.sum(values > upper)),
        "mp_p_value": 0.002,
        "ks": 0.021,
        "ks_p_value": 0.13,
        "mp_reason": "",
        "permutation_edge": max(permuted),
        "n_above_permutation": int(np.sum(values > max(permuted))),
        "permutation_p_value": (1 + sum(top >= values[0] for top in permuted)) / (draws + 1),
        "sign_flip_edge": max(flipped),
        "learnt": int(np.sum(values > max(flipped))),
        "sign_flip_p_value": (1 + sum(top >= values[0] for top in flipped)) / (draws + 1),
        "kurtosis": float(np.mean(w**4) / np.mean(w**2) ** 2),
        "row_variance_spread": float(row_variance.std() / row_variance.mean()),
        "column_variance_spread": spread,
        "row_p_value": 0.4,
        "column_p_value": 1e-12 if uneven else 0.4,
        "iid_p_value": 1e-12 if uneven else 0.6,
        "warning": "The columns have uneven variances: the entries are not identically distributed."
        if uneven
        else "",
        "seconds": 0.01,
    }


def write_run(
    folder: Path,
    *,
    layers: int = 3,
    roles: tuple[str, ...] = ROLES,
    apart: tuple[str, ...] = ("token_embedding", "pooler"),
    width: int = 48,
    draws: int = 3,
    model: str = "tiny-test-model",
    change: Change = lambda record: None,
    distinct: int | None = None,
    failed: Mapping[str, str] | None = None,
    tied: Mapping[str, str] | None = None,
) -> Path:
    """A run folder; ``change`` may edit each record, ``distinct`` layers are computed and then repeated,
    ``failed`` matrices (name -> reason) stand in the ledger only, as ``tied`` ones (alias -> owner) do."""
    ledger: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    known: dict[tuple[int | None, str], dict[str, Any]] = {}
    places = [(None, role) for role in apart] + [(layer, role) for layer in range(layers) for role in roles]
    for number, (layer, role) in enumerate(places):
        source = (layer if layer is None or distinct is None else layer % distinct, role)
        rows, columns = SHAPES.get(role, (48, 48))
        shape = (rows * width // 48, columns * width // 48) if layer is not None else (10 * width, width)
        name = f"model.layers.{layer}.{role}.weight" if layer is not None else f"model.{role}.weight"
        if source not in known:
            known[source] = record_of(shape, role, layer, draws, number)
        record = {**known[source], "name": name, "layer": layer}
        change(record)
        reason = (failed or {}).get(record["name"], "")
        status = "failed" if reason else "analysed"
        place = record["role"], layer, shape
        ledger.append(ledger_row(record["name"], *place, status, reason, expert=record["expert"]))
        if not reason:
            records.append(record)
    for layer in range(layers):
        name, reason = f"model.layers.{layer}.norm.weight", "one-dimensional: no spectrum"
        ledger.append(ledger_row(name, "norm", layer, (48,), "skipped", reason))
    for alias, owner in (tied or {}).items():
        row = ledger_row(alias, "unembedding", None, (480, 48), "skipped", "shares its values")
        ledger.append({**row, "elements": 0, "tied_to": owner})
    reason = "quantised (int4 packed): not understood"
    ledger.append(ledger_row("model.packed.qweight", "other", None, (48, 6), "refused", reason))
    settings = {
        "nulls": ["iid", "permutation", "sign_flip"],
        "draws": draws,
        "seed": 0,
        "false_positive_rate": 0.01,
    }
    return write_run_folder(folder, IDENTITY, model, settings, ledger, records)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Call with ``write_run``'s keywords: a run folder with spectra, ledger and manifest."""
    return lambda **keywords: write_run(tmp_path / "run", **keywords)


# Not for the whole session: Playwright keeps an event loop in this thread, which others need.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        opened = playwright.chromium.launch(executable_path=chromium, headless=True, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield Watched(page)
    page.close()
