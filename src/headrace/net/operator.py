"""Asking the Headrace that runs on this machine, as its owner, for commands of the same user."""

import http.client
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headrace.config.runfile import RunFile, read_live
from headrace.config.settings import Settings
from headrace.core.errors import EngineUnavailable, HeadraceError, NotFound

_TIMEOUT_S = 30


def live(settings: Settings) -> RunFile:
    """The run file of the Headrace that runs on this data folder.

    Raises:
        EngineUnavailable: None does.
    """
    run = read_live(settings.data)
    if run is None:
        raise EngineUnavailable(
            f"no Headrace runs on the data folder {settings.data}",
            hint="start it with `headrace up`; this command asks the running one",
        )
    return run


def ask(run: RunFile, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
    """The body of a running Headrace's answer to its owner.

    Args:
        run: From `live` or `runfile.read_live`.
        method: The HTTP method.
        path: Path and query, quoted already.
        body: What is sent, as JSON.

    Raises:
        EngineUnavailable: It does not answer.
        NotFound: It knows no such object.
        HeadraceError: It refuses, in its own words.
    """
    # Not urllib: the server is on this machine, and no proxy may see the credential.
    address = urlsplit(run.url)
    connection = http.client.HTTPConnection(
        address.hostname or "127.0.0.1", address.port, timeout=_TIMEOUT_S
    )
    headers = {"authorization": f"Bearer {run.credential}"}
    try:
        connection.request(
            method, path, None if body is None else msgspec.json.encode(body), headers
        )
        response = connection.getresponse()
        reply = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise EngineUnavailable(
            f"the running headrace up (process {run.pid}) does not answer: {error}"
        ) from None
    finally:
        connection.close()
    if response.status >= http.HTTPStatus.BAD_REQUEST:
        raise _error(response.status, reply)
    return reply


def _error(status: int, reply: bytes) -> HeadraceError:
    """What the server said, as an error for the terminal."""
    try:
        told = msgspec.json.decode(reply, type=dict[str, dict[str, Any]])["error"]
    except (msgspec.MsgspecError, KeyError):
        return HeadraceError(f"the running headrace up answered with status {status}")
    kind = NotFound if status == http.HTTPStatus.NOT_FOUND else HeadraceError
    return kind(str(told.get("message")), hint=told.get("hint"))
