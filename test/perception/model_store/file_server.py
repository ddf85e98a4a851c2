# SPDX-License-Identifier: Apache-2.0
"""A file server on 127.0.0.1 that fails on request. Not a test."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    files: dict[str, bytes] = field(default_factory=dict)
    cut: int | None = None  # bytes of each answer after which the connection is closed
    ranges: bool = True  # whether it knows them
    moved: dict[str, str] = field(default_factory=dict)  # path → address that it redirects to
    status: int = 200  # of every answer
    asked: list[tuple[str, str]] = field(default_factory=list)  # path and Range
    tokens: list[str] = field(default_factory=list)  # Authorization

    def __enter__(self) -> FileServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        files = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, wanted = self.path, self.headers.get("Range", "")
                files.asked.append((path, wanted))
                files.tokens.append(self.headers.get("Authorization", ""))
                if path in files.moved:
                    self._head(302, 0, Location=files.moved[path])
                elif files.status != 200:
                    self._head(files.status, 0)
                elif path not in files.files:
                    self._head(404, 0)
                else:
                    self._content(files.files[path], wanted if files.ranges else "")

            def _content(self, content: bytes, wanted: str) -> None:
                begin = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
                if begin and begin >= len(content):
                    self._head(416, 0)
                    return
                rest = content[begin:]
                told = {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"} if wanted else {}
                self._head(206 if wanted else 200, len(rest), **told)
                for at in range(0, len(rest), 1000):
                    if files.cut is not None and at >= files.cut:
                        self.close_connection = True
                        return
                    self.wfile.write(rest[at : at + 1000])

            def _head(self, status: int, length: int, **headers: str) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(length)}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        return Handler
