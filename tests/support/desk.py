"""A whole Headrace in this process, its people, and requests as any of them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from headrace.config.settings import load_settings
from headrace.core.clock import SystemClock
from headrace.serving.engines.scripted import ScriptedEngine
from headrace.serving.pool import Place
from headrace.up.house import House, open_house
from headrace.up.models import Served
from support.asgi import Header, Reply, request

URL = "http://localhost:4747"
COOKIE = "headrace_session_4747"
PASSWORD = "seven lamps burn in the harbour"


class Visitor(msgspec.Struct, frozen=True):
    """Who asks: by cookie, by API key, as the owner's command, or as nobody."""

    cookie: str | None = None
    key: str | None = None
    account_id: str = ""

    def headers(self) -> list[Header]:
        """What a browser or a client sends with each request."""
        found: list[Header] = [("origin", URL)]
        if self.cookie is not None:
            found.append(("cookie", f"{COOKIE}={self.cookie}"))
        if self.key is not None:
            found.append(("authorization", f"Bearer {self.key}"))
        return found


NOBODY = Visitor()


class Desk:
    """The house, and who comes to it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.operator = Visitor(key=house.run.credential)

    async def ask(
        self,
        visitor: Visitor,
        method: str,
        path: str,
        body: object = None,
        headers: Sequence[Header] = (),
    ) -> Reply:
        """One request; a later header of one name takes the place of an earlier one."""
        sent: Mapping[str, str] = dict([*visitor.headers(), *headers])
        content = b"" if body is None else msgspec.json.encode(body)
        return await request(self.house.app, method, path, headers=list(sent.items()), body=content)

    async def ok(self, visitor: Visitor, method: str, path: str, body: object = None) -> Any:
        """The JSON of a request that must succeed."""
        reply = await self.ask(visitor, method, path, body)
        assert reply.status < 300, (reply.status, reply.body)
        return reply.json() if reply.body else None

    async def follow(self, path: str) -> Visitor:
        """Who signs in by a link."""
        reply = await self.ask(NOBODY, "GET", path)
        assert reply.status == 303, reply.body
        return Visitor(cookie=cookie_of(reply))

    async def person(self, role: str, email: str, *, by: Visitor | None = None) -> Visitor:
        """A new person with a password, who is signed in by the invitation."""
        wanted = {"kind": "person", "name": role.title(), "email": email, "role": role}
        made = await self.ok(by or self.operator, "POST", "/admin/accounts", wanted)
        visitor = await self.follow(made["invite_path"])
        await self.ok(visitor, "PUT", "/admin/me/password", {"new": PASSWORD})
        return Visitor(cookie=visitor.cookie, account_id=made["account"]["id"])

    async def sign_in(self, email: str, password: str = PASSWORD) -> Reply:
        """Try an address and a password."""
        given = {"email": email, "password": password}
        return await self.ask(NOBODY, "POST", "/signin/password", given)


def cookie_of(reply: Reply, name: str = COOKIE) -> str:
    """The cookie that a reply sets."""
    (cookie,) = (each for each in reply.cookies if each.startswith(f"{name}="))
    return cookie.partition(";")[0].partition("=")[2]


@asynccontextmanager
async def open_desk(folder: Path, **flags: object) -> AsyncGenerator[Desk]:
    """The house for the length of the context, with these settings."""
    script = folder / "script.json"
    script.write_text("{}")
    settings, clock = load_settings({"data": folder / "data", **flags}), SystemClock()
    served = Served((Place(ScriptedEngine(script, clock)),), None, (), 0)
    async with open_house(settings, served, clock, URL) as house:
        yield Desk(house)
