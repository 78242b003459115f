"""Photograph the top of a report, 1280 px wide, in Debian's Chromium: `make screenshot`.

python docs/images/make_report_picture.py RUN/report.html PICTURE.png
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

_ALL_DRAWN = "[...document.querySelectorAll('.figure')].every((chart) => chart.querySelector('svg'))"


def main() -> None:
    page_file, picture = map(Path, sys.argv[1:])
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is missing: apt-get install -y chromium fonts-dejavu-core")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(page_file.resolve().as_uri())
        if not page.evaluate(_ALL_DRAWN):
            sys.exit(f"{page_file}: a chart was not drawn")
        # The navigation is sticky and would stand in the middle of a tall picture.
        page.add_style_tag(content="nav { position: static !important; }")
        last = page.locator("#section-depth").bounding_box()
        assert last is not None
        height = last["y"] + last["height"] + 20
        page.screenshot(
            path=picture, full_page=True, clip={"x": 0, "y": 0, "width": 1280, "height": round(height)}
        )
        browser.close()


if __name__ == "__main__":
    main()
