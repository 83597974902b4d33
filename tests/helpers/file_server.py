"""A web server on this machine that can be as bad as the real ones."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer


@dataclass
class FileServer:
    """What it serves and how; tests change it while it runs.

    Attributes:
        files: contents by path.
        ranges: whether it understands requests for a part.
        cut: end the connection after so many bytes of an answer; None never.
        says: the length that it states, whatever it sends; None the true one.
        moved: where a path redirects to, and headers of that answer.
        asked: path and range of every request for content.
        url: where it is.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut: int | None = None
    says: int | None = None
    moved: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    state: FileServer

    def do_HEAD(self) -> None:
        if not self._move():
            self.send_error(404)

    def do_GET(self) -> None:
        if self._move():
            return
        asked, state = self.headers.get("Range", ""), self.state
        state.asked.append((self.path, asked))
        content = state.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = 0
        if asked and state.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        else:
            self.send_response(200)
        self._send(content, start)

    def _send(self, content: bytes, start: int) -> None:
        length = len(content) - start if self.state.says is None else self.state.says
        self.send_header("Content-Length", str(length))
        self.end_headers()
        end = None if self.state.cut is None else start + self.state.cut
        self.wfile.write(content[start:end])

    def _move(self) -> bool:
        """Redirect, if this path is to be."""
        place, headers = self.state.moved.get(self.path, ("", {}))
        if place:
            self.send_response(302)
            for name, value in {"Location": place, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
        return bool(place)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Serve from a thread until the end of the block."""
    state = FileServer()
    handler = type("Handler", (_Handler,), {"state": state})
    server = HTTPServer(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
