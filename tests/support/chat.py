"""The chat over a real socket, in front of the real API and a scripted engine."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from pyreqwest.client import Client as HttpClient
from pyreqwest.client import ClientBuilder
from pyreqwest.http import Url
from sqlalchemy import Connection

from headrace.agent.client import Client
from headrace.agent.endpoint import Endpoint
from headrace.chat.app import Chat
from headrace.core.clock import SystemClock
from headrace.core.ids import new_id
from headrace.core.scope import Scope
from headrace.edge.routes import create_app
from headrace.identity import delegation
from headrace.identity.sessions import Sessions
from headrace.serving.app import not_found
from headrace.serving.engine import Engine
from headrace.store import accounts
from headrace.store.database import Database
from headrace.store.messages import Limits
from headrace.store.sessions import Visitor
from headrace.up.server import Server, bind, url_of
from support.serving import PEPPER, Api, served_api

CLOCK = SystemClock()


class Reply(msgspec.Struct):
    """What the server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Event(msgspec.Struct):
    """One server-sent event."""

    name: str
    id: int
    data: Any


class Page:
    """A browser page of one account, without the browser."""

    def __init__(self, url: str, cookie: str) -> None:
        self.url = url
        self.cookie = cookie
        self.cookie_name = f"headrace_session_{url.rpartition(':')[2]}"
        self._http: HttpClient = (
            ClientBuilder().no_proxy().follow_redirects(enable=False).gzip(enable=False).build()
        )

    async def close(self) -> None:
        await self._http.close()

    async def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """One request as the page sends it."""
        given = {"cookie": f"{self.cookie_name}={self.cookie}"} if self.cookie else {}
        if method != "GET":
            given["origin"] = self.url
        builder = self._http.request(method, Url(f"{self.url}{path}")).headers(
            given | (headers or {})
        )
        if body is not None:
            content = body if isinstance(body, bytes) else msgspec.json.encode(body)
            builder = builder.body_bytes(content)
        response = await builder.build().send()
        names = [name for name, _ in response.headers.items()]
        found = {name.lower(): response.get_header(name) or "" for name in names}
        return Reply(response.status, found, bytes(await response.bytes()))

    async def ok(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of a request that must succeed."""
        reply = await self.call(method, path, body)
        assert reply.status < 300, (reply.status, reply.body)
        return reply.json if reply.body else None

    async def start(self, model: str = "scripted") -> str:
        """A new conversation; returns its id."""
        made = await self.ok("POST", "/chat/conversations", {"id": new_id(CLOCK), "model": model})
        return made["id"]

    async def ask(self, conversation: str, text: str, parent: str | None = None) -> Any:
        """Send a message; returns its reply as it began."""
        turn = {
            "id": new_id(CLOCK),
            "reply_id": new_id(CLOCK),
            "parent_id": parent,
            "text": text,
            "model": "scripted",
        }
        made = await self.ok("POST", f"/chat/conversations/{conversation}/messages", turn)
        return made["reply"]

    async def thread(self, conversation: str) -> list[Any]:
        """The messages of the active path."""
        return (await self.ok("GET", f"/chat/conversations/{conversation}"))["messages"]

    async def stream(
        self, conversation: str, message: str, after: int = 0
    ) -> AsyncGenerator[Event]:
        """Events after number `after` until the connection closes; close it to disconnect."""
        path = f"/chat/conversations/{conversation}/messages/{message}/stream?after={after}"
        builder = self._http.get(Url(f"{self.url}{path}")).streamed_read_buffer_limit(0)
        builder = builder.header("cookie", f"{self.cookie_name}={self.cookie}")
        rest = b""
        async with builder.build_streamed() as response:
            assert response.status == 200, response.status
            while chunk := await response.body_reader.read_chunk():
                *frames, rest = (rest + bytes(chunk)).split(b"\n\n")
                for frame in frames:
                    if not frame.startswith(b":"):
                        yield _event(frame)
        assert not rest

    async def read(self, conversation: str, message: str, after: int = 0) -> list[Event]:
        """The whole stream."""
        return [event async for event in self.stream(conversation, message, after)]

    async def wait_text(self, conversation: str, message: str, length: int) -> None:
        """Return when the reply has at least that much text."""
        got = 0
        stream = self.stream(conversation, message)
        async for event in stream:
            if event.name == "delta":
                got += len(event.data["part"]["text"])
            if got >= length:
                break
        await stream.aclose()
        assert got >= length


def _event(frame: bytes) -> Event:
    fields = dict(line.split(b": ", 1) for line in frame.split(b"\n"))
    return Event(fields[b"event"].decode(), int(fields[b"id"]), json.loads(fields[b"data"]))


def text_of(message: Any) -> str:
    """All text of a message as the page shows it."""
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


class Stand(msgspec.Struct):
    """A served chat, a page of its owner and one of a stranger."""

    url: str
    api: Api
    chat: Chat
    owner: Page
    stranger: Page
    sessions: Sessions
    database: Database

    async def count(self, query: str) -> int:
        """The number that a query gives."""
        return await self.database.read(
            lambda connection: connection.exec_driver_sql(query).scalar_one()
        )


class _Doorman:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def session(self, cookie: str) -> Visitor | None:
        return await self._sessions.find(cookie)

    def operator(self, credential: str) -> Visitor | None:
        del credential
        return None


@asynccontextmanager
async def served_chat(
    database: Database,
    folder: Path,
    *engines: Engine,
    limits: Limits | None = None,
    static: Path | None = None,
    heartbeat_s: float = 10.0,
) -> AsyncGenerator[Stand]:
    """Chat, API and engines for the length of the context."""
    async with served_api(database, folder, engines) as api:
        stranger = Scope(api.home.organisation_id, new_id(CLOCK))

        def add_stranger(connection: Connection) -> None:
            accounts.add_person(connection, stranger, role="member", name="Other", created_ns=1)

        await database.write(add_stranger)
        key = await api.keys.rotate(api.home.chat, "chat", "chat")

        def sign(account_id: str) -> str:
            return delegation.sign(PEPPER, key.id, account_id, CLOCK.now_ns() // 10**9 + 60)

        sessions = Sessions(database, PEPPER, CLOCK)
        given = {} if static is None else {"static": static}
        chat = Chat(
            database,
            sessions,
            Client(Endpoint(base_url=api.url, key=key.secret, ours=True)),
            sign=sign,
            clock=CLOCK,
            heartbeat_s=heartbeat_s,
            limits=limits or Limits(),
            **given,
        )
        app = create_app(
            chat.routes(),
            doorman=_Doorman(sessions),
            allowed_hosts=frozenset(),
            not_found=not_found(CLOCK),
        )
        listener = bind("127.0.0.1", 0)
        server = Server(app, lambda: chat.drain(0))
        async with chat.running():
            serving = asyncio.create_task(server.serve([listener]))
            while not server.started:
                await asyncio.sleep(0)
            url = url_of(listener)
            cookies = [
                await sessions.redeem(await sessions.make_link(scope))
                for scope in (api.home.owner, stranger)
            ]
            pages = [Page(url, cookie) for cookie in cookies]
            try:
                yield Stand(url, api, chat, pages[0], pages[1], sessions, database)
            finally:
                for page in pages:
                    await page.close()
                server.should_exit = True
                await serving
                listener.close()
