"""No page may be wider than its window: `make docs` asks Chromium, where it is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = (390, 800, 1100, 1280, 1500)
_WIDEST = """
[document.documentElement.scrollWidth,
 [...document.querySelectorAll("article *")].filter(e => {
   for (let p = e.parentElement; p.tagName !== "ARTICLE"; p = p.parentElement)
     if (/auto|scroll|hidden/.test(getComputedStyle(p).overflowX)) return false;
   return e.getBoundingClientRect().right > innerWidth + 1;
 }).slice(0, 3).map(e => `${e.tagName.toLowerCase()}.${e.className}: ${e.textContent.trim().slice(0, 40)}`)]
"""


def too_wide(folder: Path, widths: tuple[int, ...] = WIDTHS) -> Iterator[str]:
    """A line for every page and window width where text lies beyond the window's right edge."""
    pages = [path for path in sorted(folder.rglob("*.html")) if "runs" not in path.relative_to(folder).parts]
    if not pages:
        raise FileNotFoundError(f"{folder}: no pages; `make docs` builds them")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page()
        for path in pages:
            page.goto(path.resolve().as_uri())
            for width in widths:
                page.set_viewport_size({"width": width, "height": 900})
                found, beyond = page.evaluate(_WIDEST)
                if found > width or beyond:
                    yield f"{path.relative_to(folder)}: {found} pixels in a window of {width}: {beyond}"
        browser.close()


def can_be_checked() -> bool:
    """Whether Chromium is there; RuntimeError where it is not and LMSCOPE_REQUIRE_BROWSER=1 asks for it."""
    there = shutil.which("chromium") is not None
    if not there and os.environ.get("LMSCOPE_REQUIRE_BROWSER") == "1":
        raise RuntimeError(
            "no chromium, so the pages' widths cannot be checked; on Debian: apt-get install chromium"
        )
    return there
