"""The door: which Host and Origin a request may carry, and the headers every reply gets.

A page of another site must not reach this server through the visitor's browser, neither by a
name that was rebound to a local address nor by a plain cross-site request.
"""

import ipaddress
import re

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::\d{1,5})?")
_LOCAL_NAMES = frozenset({"localhost"})
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_DEFAULT_CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class Guard:
    """ASGI middleware that refuses foreign Hosts and Origins and adds the safety headers.

    A Host that is an IP address is always taken: rebinding needs a name. Other names must be
    `localhost`, the address listened on, or listed in the setting `allowed_hosts`.
    """

    def __init__(self, app: ASGIApp, *, allowed_hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = allowed_hosts | _LOCAL_NAMES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(send, refusal)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                headers.extend(_HEADERS)
                if b"content-security-policy" not in dict(headers):
                    headers.append(_DEFAULT_CSP)
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> str | None:
        host = origin = site = mode = ""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        for name, value in headers:
            if name == b"host":
                host = value.decode("latin-1").lower()
            elif name == b"origin":
                origin = value.decode("latin-1").lower()
            elif name == b"sec-fetch-site":
                site = value.decode("latin-1")
            elif name == b"sec-fetch-mode":
                mode = value.decode("latin-1")
        if not self._host_allowed(host):
            return (
                f"Host {host[:100]!r} is not served here; name it in the setting allowed_hosts"
                " (HEADRACE_ALLOWED_HOSTS) if it is yours"
            )
        if origin and origin.partition("://")[2] != host:
            return f"requests from the origin {origin[:100]!r} are not taken"
        if site == "cross-site" and not (mode == "navigate" and scope["method"] == "GET"):
            return "requests from other sites are not taken"
        return None

    def _host_allowed(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1]
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def is_same_origin(scope: Scope) -> bool:
    """Whether the browser vouches that one of our own pages sent this request.

    `Guard` has refused foreign origins already; what is left is to demand that one is named.
    """
    for name, value in scope["headers"]:
        if (name == b"origin" and value) or (name == b"sec-fetch-site" and value == b"same-origin"):
            return True
    return False


async def _refuse(send: Send, message: str) -> None:
    body = msgspec.json.encode({"error": {"kind": "forbidden", "message": message, "hint": None}})
    headers = [(b"content-type", b"application/json"), *_HEADERS, _DEFAULT_CSP]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
