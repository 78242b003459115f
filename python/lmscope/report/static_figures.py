"""Every figure of the page as PNG and SVG files, drawn by Chrome or Chromium through kaleido."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lmscope.report.page import state_files
from lmscope.report.plots import as_plotly, figures_of
from lmscope.report.records import Records, Row
from lmscope.results import ResultsError
from lmscope.results.files import remove_temporaries, write_atomically

FORMATS = {"png": 2, "svg": 1}
"""File format -> dots per pixel."""
_WAY_OUT = (
    "on Debian: apt-get install chromium; elsewhere: kaleido_get_chrome; BROWSER_PATH names one that stands "
    "in another place"
)
_NOWHERE = "http://127.0.0.1:9"
_OWN_FILES = re.compile(r".+\.(png|svg)")

Tell = Callable[[int, int, Path], object]


class NoBrowser(ResultsError):
    """Neither Chrome nor Chromium is there to draw the figures, or it does not start."""


def write_figures(
    run_folder: Path, *, wanted: Callable[[Row], bool] = lambda row: True, tell: Tell = lambda *_: None
) -> list[Path]:
    """Write ``run_folder/figures/FIGURE-STATE.png`` and ``.svg`` for every figure in every state.

    States that show one matrix are drawn where ``wanted`` (record -> bool) holds. ``tell`` hears files
    written, files in all and the newest. An older file is replaced at once or stays as it was; what stands
    when an interrupt comes stays.

    Raises ResultsError where records are unreadable or a file cannot be written, NoBrowser.
    """
    records = Records(Path(run_folder))
    folder = Path(run_folder) / "figures"
    planned = [
        (folder / f"{name}-{stem}", figure, key)
        for name, figure in figures_of(records).items()
        for key, stem in state_files(figure).items()
        if key not in figure.matrices or wanted(figure.matrices[key])
    ]
    if not planned:
        return []
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be made: {error.strerror}") from error
    remove_temporaries(folder, _OWN_FILES)
    drawn = ((stem, as_plotly(records.title, figure, key)) for stem, figure, key in planned)
    written: list[Path] = []

    def keep(stem: Path, form: str, image: bytes) -> None:
        path = stem.with_name(f"{stem.name}.{form}")
        write_atomically(path, lambda file: file.write(image))
        written.append(path)
        tell(len(written), len(planned) * len(FORMATS), path)

    _draw(drawn, keep)
    return written


def _draw(figures: Iterator[tuple[Path, dict[str, Any]]], keep: Callable[[Path, str, bytes], None]) -> None:
    """One browser for all figures, in a thread of its own: a notebook runs an event loop in this one."""
    import asyncio

    import kaleido
    from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError

    stopped = threading.Event()
    # What goes wrong is raised; the browser's own warnings beside it say nothing more.
    logger = logging.getLogger("choreographer")
    level = logger.level
    logger.setLevel(logging.ERROR)

    async def work() -> None:
        # plotly.js is the installed one; MathJax would come from the network; the browser's own calls home
        # go to a proxy that is not there.
        async with kaleido.Kaleido(mathjax=False, proxy_server=_NOWHERE) as browser:
            for stem, figure in figures:
                size = {name: figure["layout"][name] for name in ("width", "height")}
                for form, scale in FORMATS.items():
                    if stopped.is_set():
                        return
                    image = await browser.calc_fig(figure, opts={"format": form, "scale": scale, **size})
                    keep(stem, form, image)

    with ThreadPoolExecutor(1, thread_name_prefix="lmscope-figures") as thread:
        try:
            thread.submit(asyncio.run, work()).result()
        except ChromeNotFoundError as error:
            raise NoBrowser(f"static figures: neither Chrome nor Chromium was found; {_WAY_OUT}") from error
        # The last one where the browser stops while kaleido is still waiting for its first answer.
        except (BrowserClosedError, BrowserFailedError, asyncio.InvalidStateError) as error:
            problem = "the browser was found, but does not start or stopped while it drew"
            raise NoBrowser(f"static figures: {problem}; {_WAY_OUT}") from error
        finally:
            stopped.set()
            logger.setLevel(level)
