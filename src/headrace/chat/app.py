"""The chat: its routes and what runs behind them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.agent.client import Client
from headrace.chat.bodies import TEXT_BYTES_MAX
from headrace.chat.conversations import ConversationEndpoints
from headrace.chat.messages import MessageEndpoints
from headrace.chat.pages import STATIC, page_routes
from headrace.chat.replies import Replies
from headrace.chat.sessions import SessionEndpoints
from headrace.core.clock import Clock
from headrace.edge.routes import RuledRoute
from headrace.identity.sessions import Sessions
from headrace.store.database import Database
from headrace.store.messages import Limits

LIMITS = Limits()
REPLY_BYTES_MAX = 16 * TEXT_BYTES_MAX


class Chat:
    """The chat product, a customer of our own API.

    Args:
        database: Where conversations are kept.
        sessions: Links and cookies.
        client: Reaches the API with the chat's service key.
        sign: Gives the on-behalf-of header of an account.
        clock: The house's clock.
        heartbeat_s: Silence after which a stream sends a keep-alive; 0 never.
        limits: Replies at the same time, and messages in a row.
        static: The folder of the built page.
    """

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        client: Client,
        *,
        sign: Callable[[str], str],
        clock: Clock,
        heartbeat_s: float,
        limits: Limits = LIMITS,
        static: Path = STATIC,
    ) -> None:
        self._static = static
        self._replies = Replies(database, client, sign, clock, bytes_max=REPLY_BYTES_MAX)
        self._sessions = SessionEndpoints(database, sessions, client)
        self._conversations = ConversationEndpoints(database, self._replies, clock)
        self._messages = MessageEndpoints(
            database, self._replies, clock, limits=limits, heartbeat_s=heartbeat_s
        )

    def routes(self) -> list[RuledRoute]:
        """All routes of the chat and of its page."""
        return [
            *self._messages.routes(),
            *self._conversations.routes(),
            *self._sessions.routes(),
            *page_routes(self._static),
        ]

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Mends what a crash left and runs replies; afterwards all of them are final."""
        await self._replies.start()
        try:
            yield
        finally:
            await self._replies.drain(0)

    async def drain(self, wait_s: float) -> None:
        """Take no new replies; let the running ones finish, and interrupt the rest.

        The API must still answer while this waits, because the replies come from there.
        """
        await self._replies.drain(wait_s)
