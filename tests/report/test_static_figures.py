"""Figures as files, drawn by a real browser."""

from __future__ import annotations

import re
import socket
import threading
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmscope.report import NoBrowser, write_figures

pytestmark = pytest.mark.browser
MakeRun = Callable[..., Path]
SVG = "{http://www.w3.org/2000/svg}"


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


@pytest.mark.usefixtures("chromium")
def test_figures_of_every_state(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    long_name = "pooler/<b>" + "very.long." * 30

    def rename(record: dict[str, Any]) -> None:
        if record["role"] == "pooler":
            record["name"] = long_name

    requests = listening(monkeypatch)
    folder = make_run(layers=2, change=rename)
    (folder / "figures").mkdir()
    (folder / "figures" / "depth-ks.svg").write_text("from an earlier run")
    told: list[tuple[int, int, Path]] = []
    written = write_figures(
        folder,
        wanted=lambda row: row["role"] == "pooler" or row["name"] == "model.layers.1.key.weight",
        tell=lambda *news: told.append(news),
    )
    measures = ("learnt", "outside", "ks", "effective_rank", "stable_rank")
    stems = [f"{figure}-{measure}" for figure in ("overview", "depth") for measure in measures]
    names = [path.name for path in written]
    assert names[:20] == [f"{stem}.{form}" for stem in stems for form in ("png", "svg")]
    assert names[20:22] == [f"spectrum-model.layers.1.key.weight.{form}" for form in ("png", "svg")]
    assert re.fullmatch(r"spectrum-pooler__b_(very\.long\.)+very?\.?[a-z.]*-[0-9a-f]{16}\.png", names[22])
    assert sorted(path.name for path in (folder / "figures").iterdir()) == sorted(names)
    assert [(done, total) for done, total, _ in told] == [(done, 24) for done in range(1, 25)]
    for path in written:
        assert path.stat().st_size > 5000
        if path.suffix == ".png":
            width, _ = png_size(path)
            assert width == 1920
        else:
            within_the_picture(path)
    text = words(folder / "figures" / "depth-ks.svg")
    assert "KS distance" in text
    assert "tiny-test-model" in text
    assert "layer" in text
    assert long_name[:60] in words(written[-1])
    assert requests == []


def words(svg: Path) -> str:
    root = xml.etree.ElementTree.parse(svg).getroot()
    return " ".join("".join(text.itertext()) for text in root.iter(f"{SVG}text"))


def within_the_picture(svg: Path) -> None:
    """The first line of the title stands a line's height below the top, so it is not cut."""
    root = xml.etree.ElementTree.parse(svg).getroot()
    (title,) = [text for text in root.iter(f"{SVG}text") if text.get("class") == "gtitle"]
    assert float(title.get("y", "0")) >= 24


def listening(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the browser sends to the network unless it is told to keep to itself."""
    heard: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(4096))

    threading.Thread(target=serve, daemon=True).start()
    monkeypatch.setenv("CHOREO_PROXY_SERVER", f"http://127.0.0.1:{server.getsockname()[1]}")
    return heard


def test_without_a_browser_the_error_says_what_to_do(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "missing"))
    folder = make_run(layers=1)
    with pytest.raises(NoBrowser, match=r"apt-get install chromium.*BROWSER_PATH"):
        write_figures(folder)
    assert list((folder / "figures").iterdir()) == []


@pytest.mark.usefixtures("chromium")
def test_an_interrupt_leaves_whole_files_and_no_others(make_run: MakeRun) -> None:
    folder = make_run(layers=1)

    def interrupt(done: int, total: int, path: Path) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_figures(folder, tell=interrupt)
    left = sorted(path.name for path in (folder / "figures").iterdir())
    assert left == ["overview-learnt.png", "overview-learnt.svg", "overview-outside.png"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lmscope-figures")]


def test_a_run_without_spectra_has_no_figures(make_run: MakeRun) -> None:
    assert write_figures(make_run(layers=0, apart=())) == []
