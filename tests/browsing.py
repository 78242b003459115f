"""A page in a real browser, opened from the disk as a reader would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page


class Watched:
    """A page with everything that it complained about or asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, file: Path) -> Watched:
        self.page.goto(file.as_uri())
        self.page.wait_for_load_state("load")
        return self

    def plot(self, figure: str, expression: str) -> Any:
        return self.page.evaluate(
            f"(() => {{ const plot = document.getElementById({figure!r}); return {expression}; }})()"
        )

    def outside(self) -> list[str]:
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]

    def title(self) -> str:
        return self.page.inner_text("[data-title=spectrum]")
