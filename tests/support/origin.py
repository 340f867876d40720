"""A web server on this machine that misbehaves on request: a stand-in for a hub and its CDN."""

import contextlib
import hashlib
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Seen(msgspec.Struct, frozen=True):
    """One request."""

    method: str
    path: str
    headers: dict[str, str]


class Origin:
    """Files by path, and what goes wrong with them.

    `cut_after` cuts each answer after so many bytes, once per entry; `status` answers with
    these first; `redirects` sends elsewhere; `hub_files` are served as a hub serves them, from
    `cdn`.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.hub_files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.cut_after: list[int] = []
        self.status: list[int] = []
        self.etags = True
        self.lengths = True
        self.cdn: Origin | None = None
        self.hub_digest: str | None = None
        self.seen: list[Seen] = []
        origin = self

        class Handler(_Handler):
            site = origin

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def gets(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "GET"]


@contextlib.contextmanager
def origin() -> Generator[Origin]:
    """A server for the length of the context."""
    started = Origin()
    try:
        yield started
    finally:
        started.stop()


class _Handler(BaseHTTPRequestHandler):
    site: Origin
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        del format, args

    def _answer(self) -> None:
        site = self.site
        headers = {name.lower(): value for name, value in self.headers.items()}
        site.seen.append(Seen(self.command, self.path, headers))
        if site.status:
            self._send(site.status.pop(0), {}, b"")
        elif self.path in site.redirects:
            self._send(302, {"Location": site.redirects[self.path]}, b"")
        elif self.path in site.hub_files:
            self._send_from_hub(site.hub_files[self.path])
        elif self.path in site.files:
            self._send_file(site.files[self.path])
        else:
            self._send(404, {}, b"")

    def _send_from_hub(self, data: bytes) -> None:
        cdn = self.site.cdn
        assert cdn is not None
        cdn.files["/blob"] = data
        digest = self.site.hub_digest or hashlib.sha256(data).hexdigest()
        linked = {
            "Location": f"{cdn.url}/blob",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(len(data)),
        }
        self._send(302, linked, b"")

    def _send_file(self, data: bytes) -> None:
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {"ETag": etag} if self.site.etags else {}
        asked = self.headers.get("Range")
        if asked is None or self.headers.get("If-Range") != etag:
            self._send(200, headers, data)
            return
        start = int(asked.removeprefix("bytes=").partition("-")[0])
        if start >= len(data):
            self._send(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
            return
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(206, headers, data[start:])

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        html = self.path.endswith("/")
        self.send_header("Content-Type", "text/html" if html else "application/octet-stream")
        for name, value in headers.items():
            self.send_header(name, value)
        if self.site.lengths:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.site.cut_after and body:
            body = body[: self.site.cut_after.pop(0)]
            self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(body)
