"""Download one large file over HTTP so that a cut can be continued, now or in a later run."""

import contextlib
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, cast
from urllib.parse import urlsplit

import msgspec

from headrace.catalog.fetching import MODEL_BYTES_MAX, Order, require_room
from headrace.catalog.sources import check_url
from headrace.core.errors import CatalogError
from headrace.core.version import __version__

_CHUNK_BYTES = 256 * 1024
_TIMEOUT_S = 60.0
_TRIES_WITHOUT_PROGRESS_MAX = 5
_WAIT_S = 0.5
_OK, _PARTIAL, _RANGE_NOT_SATISFIABLE = 200, 206, 416
_RETRYABLE = frozenset((408, 425, 429, 500, 502, 503, 504))
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _Sidecar(msgspec.Struct, frozen=True):
    """Whose bytes a partial file holds; without it they are worth nothing."""

    identity: str
    validator: str
    version: int = 1


class _Cut(Exception):
    """The connection broke, or the server is busy; more may come at the next try."""


def download(url: str, order: Order, *, identity: str, headers: Mapping[str, str]) -> None:
    """Bring the file at `url` to `order.target`, continuing what an earlier run left there.

    A partial file is continued only if it belongs to the same `identity` and the server still
    has the same version of it (If-Range); otherwise it starts afresh. Broken connections are
    taken up again as long as each brings something.

    Args:
        url: An https address, or http on this machine.
        order: Where to put it; its size, where known, must be met exactly.
        identity: What names the content for good: its digest, else the address.
        headers: Sent to the host of `url` only, never to another that it redirects to.

    Raises:
        CatalogError: It cannot be had; what came so far stays for the next try.
    """
    transfer = _Transfer(url, order, identity, headers)
    failures = 0
    while True:
        before = transfer.done_bytes()
        try:
            transfer.run()
        except _Cut as cut:
            failures = 0 if transfer.done_bytes() > before else failures + 1
            if failures >= _TRIES_WITHOUT_PROGRESS_MAX:
                raise CatalogError(
                    f"the download from {_host(url)} broke off at"
                    f" {transfer.done_bytes():,} bytes: {cut}",
                    hint="run the same command again: it continues where it stopped",
                ) from None
            time.sleep(_WAIT_S * 2**failures)
        else:
            return


class _Transfer:
    """One file on its way, over as many connections as it takes."""

    def __init__(self, url: str, order: Order, identity: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self._order = order
        self._identity = identity
        self._headers = {"User-Agent": f"headrace/{__version__}", **headers}
        self._sidecar = order.target.with_name(f"{order.target.name}.json")

    def done_bytes(self) -> int:
        with contextlib.suppress(OSError):
            return self._order.target.stat().st_size
        return 0

    def run(self) -> None:
        """Take what one connection gives.

        Raises:
            _Cut: It broke before the end.
        """
        start, validator = self._resume_point()
        if self._order.size_bytes is not None and start == self._order.size_bytes:
            return
        request = urllib.request.Request(self._url)  # noqa: S310 - check_url allowed it
        for name, value in self._headers.items():
            request.add_unredirected_header(name, value)
        request.add_header("Accept-Encoding", "identity")
        if start:
            request.add_header("Range", f"bytes={start}-")
            request.add_header("If-Range", validator)
        try:
            with contextlib.closing(_open(request)) as response:
                self._receive(response, start)
        except urllib.error.HTTPError as error:
            error.close()
            if start == 0 or error.headers.get("Content-Range") != f"bytes */{start}":
                self._refused(error)
        except (OSError, HTTPException) as error:
            raise _Cut(_reason(error)) from None

    def _resume_point(self) -> tuple[int, str]:
        try:
            sidecar = msgspec.json.decode(self._sidecar.read_bytes(), type=_Sidecar)
        except (OSError, msgspec.MsgspecError):
            return 0, ""
        if sidecar.identity != self._identity:
            return 0, ""
        done, expected = self.done_bytes(), self._order.size_bytes
        return (0 if expected is not None and done > expected else done), sidecar.validator

    def _refused(self, error: urllib.error.HTTPError) -> None:
        if error.code == _RANGE_NOT_SATISFIABLE:
            self._sidecar.unlink(missing_ok=True)
            raise _Cut("the file has changed, starting afresh")
        if error.code in _RETRYABLE:
            raise _Cut(f"the server answers {error.code}")
        raise refusal(error.code, self._url)

    def _receive(self, response: HTTPResponse, start: int) -> None:
        start, total = self._begin(response, start)
        self._check_size(total, start)
        validator = _strong_validator(response.headers)
        if validator:
            self._sidecar.write_bytes(msgspec.json.encode(_Sidecar(self._identity, validator)))
        else:
            self._sidecar.unlink(missing_ok=True)
        done = start
        with _open_at(self._order.target, start) as file:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                if done > (total if total is not None else MODEL_BYTES_MAX):
                    raise CatalogError(f"{_host(self._url)} sends more bytes than it announced")
                self._order.progress(done, total, "downloading")
        if total is not None and done < total:
            raise _Cut(f"{total - done:,} bytes are missing")

    def _begin(self, response: HTTPResponse, start: int) -> tuple[int, int | None]:
        """Where the bytes of this response belong, and how many the whole file has."""
        length = response.headers.get("Content-Length", "")
        left = int(length) if length.isdecimal() else None
        if response.status == _OK:
            return 0, left if left is not None else self._order.size_bytes
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != _PARTIAL or match is None or int(match[1]) != start:
            self._sidecar.unlink(missing_ok=True)
            raise _Cut(f"the server answers {response.status} with another range")
        total = int(match[2]) if match[2] != "*" else None
        return start, total if total is not None else self._order.size_bytes

    def _check_size(self, total: int | None, start: int) -> None:
        expected = self._order.size_bytes
        if expected is not None and total is not None and total != expected:
            raise CatalogError(
                f"{_host(self._url)} has a file of {total:,} bytes, {expected:,} were expected",
                hint="the origin has changed the file: do not use it before you know why",
            )
        if total is not None and total > MODEL_BYTES_MAX:
            raise CatalogError(f"the file of {total:,} bytes is over {MODEL_BYTES_MAX:,}")
        require_room(self._order.folder, max(0, (total or 0) - start), "the download")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https alone; from this machine also to itself."""

    def redirect_request(  # noqa: PLR0917 - urllib's signature
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_url(newurl)
        if req.type == "https" and not newurl.startswith("https:"):
            raise CatalogError(f"{_host(req.full_url)} redirects from https to http: refused")
        followed = super().redirect_request(req, fp, code, msg, headers, newurl)  # pyright: ignore[reportArgumentType] - typeshed names the concrete class
        if followed is not None and _same_server(req.full_url, newurl):
            for name, value in req.unredirected_hdrs.items():
                followed.add_unredirected_header(name, value)
        return followed


def _same_server(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def _open(request: urllib.request.Request) -> HTTPResponse:
    opener = urllib.request.build_opener(_SafeRedirects)
    return cast("HTTPResponse", opener.open(request, timeout=_TIMEOUT_S))


def _open_at(path: Path, position: int) -> IO[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.ftruncate(descriptor, position)
    os.lseek(descriptor, position, os.SEEK_SET)
    return os.fdopen(descriptor, "wb", buffering=0)


def _strong_validator(headers: Message) -> str:
    """An ETag that promises the same bytes, else ""; a date is too coarse to trust."""
    etag = headers.get("ETag", "")
    return "" if etag.startswith("W/") else etag


def refusal(status: int, url: str) -> CatalogError:
    """The error for a final answer other than success."""
    if status in {401, 403}:
        return CatalogError(
            f"{_host(url)} refuses access ({status})",
            hint="it may need an account or the acceptance of a licence;"
            " for the hub set HF_TOKEN or run: hf auth login",
        )
    if status in {404, 410}:
        return CatalogError(
            f"{_host(url)} has no such file ({status})", hint="check the spelling of the source"
        )
    return CatalogError(f"{_host(url)} answers {status}")


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(inner) or type(inner).__name__


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the server"
