"""What the chat's page does, without a browser: the same calls with the same headers."""

import http.client
import json
import time
from collections.abc import Generator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headrace.core.clock import SystemClock
from headrace.core.ids import new_id
from support.running import Running

_WAIT_S = 30.0


class Reply(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


class SignedIn:
    """A person who opened the sign-in link that `headrace up` printed."""

    def __init__(self, started: Running) -> None:
        self._host = urlsplit(started.url).netloc
        link = urlsplit(started.sign_in_link)
        reply = self.call("GET", f"{link.path}?{link.query}", cookie=None)
        assert reply.status == 303, reply
        self.cookie = reply.headers["set-cookie"].partition(";")[0]

    def call(
        self, method: str, path: str, body: object = None, *, cookie: str | None = ""
    ) -> Reply:
        connection = http.client.HTTPConnection(self._host, timeout=_WAIT_S)
        try:
            connection.request(method, path, self._body(body), self._headers(cookie))
            got = connection.getresponse()
            headers = {name.lower(): value for name, value in got.getheaders()}
            return Reply(got.status, headers, got.read())
        finally:
            connection.close()

    def ask(self, text: str, model: str) -> tuple[str, str]:
        """A new conversation with one question; returns its id and the reply's."""
        conversation, message, reply = (new_id(SystemClock()) for _ in range(3))
        made = self.call("POST", "/chat/conversations", {"id": conversation, "model": model})
        assert made.status == 201, made
        sent = self.call(
            "POST",
            f"/chat/conversations/{conversation}/messages",
            {
                "id": message,
                "reply_id": reply,
                "parent_id": None,
                "text": text,
                "model": model,
            },
        )
        assert sent.status == 201, sent
        return conversation, reply

    def follow(self, conversation: str, reply: str) -> Generator[Any]:
        """The deltas of a running reply, as they come, until its end."""
        connection = http.client.HTTPConnection(self._host, timeout=_WAIT_S)
        path = f"/chat/conversations/{conversation}/messages/{reply}/stream"
        try:
            connection.request("GET", path, headers=self._headers(""))
            got = connection.getresponse()
            assert got.status == 200
            kind = ""
            for line in got:
                if line.startswith(b"event:"):
                    kind = line[6:].strip().decode()
                elif line.startswith(b"data:") and kind == "delta":
                    yield json.loads(line[5:])
                elif line.startswith(b"data:"):
                    return
        finally:
            connection.close()

    def message(self, conversation: str, message_id: str) -> Any:
        shown = self.call("GET", f"/chat/conversations/{conversation}").data
        return next(each for each in shown["messages"] if each["id"] == message_id)

    def wait_until_final(self, conversation: str, reply: str) -> Any:
        until = time.monotonic() + _WAIT_S
        while (message := self.message(conversation, reply))["status"] == "running":
            assert time.monotonic() < until, message
            time.sleep(0.02)
        return message

    def _headers(self, cookie: str | None) -> dict[str, str]:
        headers = {"origin": f"http://{self._host}", "content-type": "application/json"}
        if cookie is not None:
            headers["cookie"] = cookie or self.cookie
        return headers

    def _body(self, body: object) -> bytes | None:
        return None if body is None else json.dumps(body).encode()
