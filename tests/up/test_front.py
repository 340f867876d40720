"""What a worker answers itself and what it passes on, and to whom it listens."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from headrace.config.settings import load_settings
from headrace.core.clock import SystemClock
from headrace.core.errors import Unauthenticated
from headrace.identity.epoch import Epoch
from headrace.up.workers.front import Front
from headrace.up.workers.refresh import Refresh


class Ends:
    """Where requests end: `here` or `behind`."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def here(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive, send
        self.reached.append("here")

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive, send
        self.reached.append("behind")


def known(headers: Mapping[str, str]) -> None:
    if headers.get("authorization") != "Bearer good":
        raise Unauthenticated("unknown")


async def ask(
    folder: Path, body: bytes | None, key: bytes = b"good"
) -> tuple[list[str], list[Message]]:
    """Ends that were reached and messages that were sent; a body of None must not be read."""
    clock, ends, sent = SystemClock(), Ends(), list[Message]()
    front = Front(
        {"/v1/messages": ends.here},
        frozenset({"far"}),
        Refresh(Epoch(folder / "epoch"), ()),
        known,
        ends.behind,
        settings=load_settings({"data": folder}),
        clock=clock,
    )

    async def receive() -> Message:
        assert body is not None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer " + key)]
    await front({"method": "POST", "path": "/v1/messages", "headers": headers}, receive, send)
    return ends.reached, sent


@pytest.mark.parametrize(
    ("body", "end"),
    [
        (b'{"model":"far"}', "here"),
        (b'{"model":"near"}', "behind"),
        (b'{"model":"far","x":{"file_id":"f"}}', "behind"),
        (b'{"model":"far\xff"}', "behind"),
        (b'{"model":"\\ud800"}', "behind"),
        (b"[" * 100_000, "behind"),
        (b"", "behind"),
    ],
)
async def test_only_calls_of_upstreams_are_answered_here(tmp_path: Path, body: bytes, end: str):
    assert (await ask(tmp_path, body))[0] == [end]


async def test_whoever_has_no_key_is_not_listened_to(tmp_path: Path):
    reached, sent = await ask(tmp_path, None, key=b"bad")
    assert not reached
    assert sent[0]["status"] == 401
    assert b'"authentication_error"' in sent[1]["body"]


async def test_what_changes_while_a_body_comes_binds_its_call(tmp_path: Path):
    epoch, ends, read = Epoch(tmp_path / "epoch"), Ends(), list[list[str]]()

    async def reload() -> None:
        read.append(list(ends.reached))

    async def receive() -> Message:
        epoch.rise()
        return {"type": "http.request", "body": b'{"model":"far"}', "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    clock = SystemClock()
    front = Front(
        {"/v1/messages": ends.here},
        frozenset({"far"}),
        Refresh(epoch, [reload]),
        known,
        ends.behind,
        settings=load_settings({"data": tmp_path}),
        clock=clock,
    )
    headers = [(b"authorization", b"Bearer good")]
    await front({"method": "POST", "path": "/v1/messages", "headers": headers}, receive, send)
    epoch.close()
    assert ends.reached == ["here"]
    assert read == [[]], "read anew before the call"
