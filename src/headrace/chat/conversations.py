"""Endpoints of conversations as a whole."""

from typing import Any

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from headrace.chat import bodies
from headrace.chat.bodies import ConversationChange, Head, NewConversation
from headrace.chat.replies import Replies
from headrace.chat.views import show_conversation, show_live
from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest
from headrace.core.ids import is_id
from headrace.core.scope import Scope
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.store import conversations as rows
from headrace.store import messages
from headrace.store.conversations import Conversation
from headrace.store.database import Database
from headrace.store.messages import TreeMessage

_ONE = "/chat/conversations/{conversation}"
_PAGE_DEFAULT, _PAGE_MAX = 50, 200
_TIME_NS_MAX = 2**63 - 1
_TIME_DIGITS_MAX = 19

_NEW = msgspec.json.Decoder(NewConversation)
_CHANGE = msgspec.json.Decoder(ConversationChange)
_HEAD = msgspec.json.Decoder(Head)

Thread = tuple[Conversation, tuple[TreeMessage, ...]]


class ConversationEndpoints:
    """List, create, show, change, delete.

    Args:
        database: Where conversations are kept.
        replies: Those that run, for what is not stored yet.
        clock: The house's clock.
    """

    def __init__(self, database: Database, replies: Replies, clock: Clock) -> None:
        self._database = database
        self._replies = replies
        self._clock = clock

    def routes(self) -> list[RuledRoute]:
        """Their routes."""
        every, rule = "/chat/conversations", Rule.SESSION
        return [
            route(every, self.list, methods=["GET"], rule=rule),
            route(every, self.create, methods=["POST"], rule=Rule.MEMBER),
            route(_ONE, self.show, methods=["GET"], rule=rule),
            route(_ONE, self.change, methods=["PATCH"], rule=rule),
            route(_ONE, self.delete, methods=["DELETE"], rule=rule),
            route(f"{_ONE}/head", self.show_branch, methods=["PUT"], rule=rule),
        ]

    async def list(self, request: Request) -> Response:
        """A page of conversations, the last used first."""
        scope: Scope = request.state.scope
        limit = bodies.number(request.query_params.get("limit", str(_PAGE_DEFAULT)), "limit")
        if not 1 <= limit <= _PAGE_MAX:
            raise InvalidRequest(f"limit: Expected 1 to {_PAGE_MAX}", param="limit")
        cursor = request.query_params.get("before")
        before = None if cursor is None else _read_cursor(cursor)
        found = await self._database.read(
            lambda connection: rows.list_conversations(
                connection, scope, before=before, limit=limit + 1
            )
        )
        page = found[:limit]
        more = len(found) > limit
        return json_response(
            {
                "conversations": [show_conversation(item) for item in page],
                "next": f"{page[-1].updated_ns}.{page[-1].id}" if more else None,
            }
        )

    async def create(self, request: Request) -> Response:
        """A new conversation under an id that the page chose."""
        scope: Scope = request.state.scope
        body = await bodies.read(request, _NEW)
        identifier = bodies.check_new_id(body.id, "id")
        now_ns = self._clock.now_ns()
        made = await self._database.write(
            lambda connection: rows.create_conversation(
                connection, scope, identifier, model_id=body.model, now_ns=now_ns
            )
        )
        return json_response(show_conversation(made), status=201)

    async def show(self, request: Request) -> Response:
        """A conversation with its active path; of running replies all that has come."""
        scope: Scope = request.state.scope
        identifier = bodies.path_id(request, "conversation")
        return json_response(await self._thread(scope, identifier))

    async def change(self, request: Request) -> Response:
        """Another title or model."""
        scope: Scope = request.state.scope
        identifier = bodies.path_id(request, "conversation")
        body = await bodies.read(request, _CHANGE)
        title = None if body.title is None else body.title.strip()
        if title == "":
            raise InvalidRequest("title: Expected more than spaces", param="title")
        changed = await self._database.write(
            lambda connection: rows.change_conversation(
                connection, scope, identifier, title=title, model_id=body.model
            )
        )
        return json_response(show_conversation(changed))

    async def delete(self, request: Request) -> Response:
        """Delete it with all messages; what runs in it ends."""
        scope: Scope = request.state.scope
        identifier = bodies.path_id(request, "conversation")
        await self._database.write(
            lambda connection: rows.delete_conversation(connection, scope, identifier)
        )
        self._replies.forget(identifier)
        return Response(status_code=204)

    async def show_branch(self, request: Request) -> Response:
        """Show the branch that a message is on."""
        scope: Scope = request.state.scope
        identifier = bodies.path_id(request, "conversation")
        body = await bodies.read(request, _HEAD)
        shown = bodies.known_id(body.message_id, "message")
        await self._database.write(
            lambda connection: messages.show_branch(connection, scope, identifier, shown)
        )
        return json_response(await self._thread(scope, identifier))

    async def _thread(self, scope: Scope, identifier: str) -> dict[str, Any]:
        def work(connection: Connection) -> Thread:
            conversation = rows.get_conversation(connection, scope, identifier)
            return conversation, messages.active_path(connection, scope, conversation)

        conversation, path = await self._database.read(work)
        if any(self._ended_since(item) for item in path):
            conversation, path = await self._database.read(work)
        return {
            "conversation": show_conversation(conversation),
            "messages": [show_live(item, self._replies) for item in path],
        }

    def _ended_since(self, item: TreeMessage) -> bool:
        """Whether a reply became final after its row was read."""
        return item.status == "running" and self._replies.find(item.id) is None


def _read_cursor(text: str) -> tuple[int, str]:
    time_ns, _, identifier = text.partition(".")
    if time_ns.isascii() and time_ns.isdecimal() and len(time_ns) <= _TIME_DIGITS_MAX:
        place = int(time_ns), identifier
        if place[0] <= _TIME_NS_MAX and is_id(identifier):
            return place
    raise InvalidRequest("before: Expected `next` of the page before", param="before")
