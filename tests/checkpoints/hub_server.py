"""A real HTTP server that speaks those end points of the hub that its client needs for a download."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


@dataclass
class Hub:
    """One repository, ``name``: its files, who may read it, and what was asked of the server.

    The first ``breaks`` answers that carry weights end in the middle.
    """

    files: dict[str, bytes]
    token: str | None = None
    open_listing: bool = False
    revisions: tuple[str, ...] = ("main", COMMIT)
    breaks: int = 0
    url: str = ""
    name: str = "someone/model"
    bodies: list[tuple[str, str | None]] = field(default_factory=list)

    def downloaded(self) -> set[str]:
        """Files whose content was sent."""
        return {name for name, _ in self.bodies}


def folder_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """The server runs while the context lasts; ``hub.url`` is its HF_ENDPOINT."""

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _answer(self) -> None:
        hub = self.served
        path = unquote(urlsplit(self.path).path).strip("/")
        if hub.name not in path:
            return self._fail(404, "RepoNotFound")
        listing = path.startswith("api/")
        if (
            hub.token is not None
            and not (hub.open_listing and listing)
            and self.headers.get("Authorization") != f"Bearer {hub.token}"
        ):
            return self._fail(401, "GatedRepo")
        verb, _, rest = path.partition(hub.name)
        pieces = rest.strip("/").split("/", 2)
        revision = pieces[1] if len(pieces) > 1 else "main"
        if revision not in hub.revisions:
            return self._fail(404, "RevisionNotFound")
        if verb == "api/models/":
            return self._send(
                json.dumps(self._listing(pieces[0])).encode(), {"Content-Type": "application/json"}
            )
        name = pieces[2]
        if name not in hub.files:
            return self._fail(404, "EntryNotFound")
        content = hub.files[name]
        headers = {
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        start = self.headers.get("Range")
        if self.command == "GET":
            hub.bodies.append((name, start))
        if start is None:
            return self._send(content, headers, name=name)
        first, _, last = start.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last) + 1 if last else len(content), len(content))
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
        return self._send(content[begin:end], headers, status=206, name=name)

    def _listing(self, kind: str) -> object:
        files = self.served.files
        if kind == "tree":
            return [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
        return {"id": self.served.name, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}

    def _send(self, body: bytes, headers: dict[str, str], *, status: int = 200, name: str = "") -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if name.endswith(".safetensors") and self.served.breaks > 0:
            self.served.breaks -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def _fail(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
