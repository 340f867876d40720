"""Endpoints of messages: ask, answer again, continue, stop, follow."""

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from headrace.chat import bodies, stream
from headrace.chat.bodies import NewMessage, Regeneration
from headrace.chat.prompt import request_for, title_for
from headrace.chat.replies import Replies
from headrace.chat.views import show_live, show_message
from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest
from headrace.core.messages import Text
from headrace.core.scope import Scope
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.store import messages as rows
from headrace.store.database import Database
from headrace.store.messages import Begun, Limits, TreeMessage, Turn

_ALL = "/chat/conversations/{conversation}/messages"
_ONE = f"{_ALL}/{{message}}"
_STREAM = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}

_NEW = msgspec.json.Decoder(NewMessage)
_AGAIN = msgspec.json.Decoder(Regeneration)


class MessageEndpoints:
    """What a person does with single messages.

    Args:
        database: Where messages are kept.
        replies: Those that run.
        clock: The house's clock.
        limits: Replies at the same time, and messages in a row.
        heartbeat_s: Silence after which a stream sends a keep-alive.
    """

    def __init__(
        self,
        database: Database,
        replies: Replies,
        clock: Clock,
        *,
        limits: Limits,
        heartbeat_s: float,
    ) -> None:
        self._database = database
        self._replies = replies
        self._clock = clock
        self._limits = limits
        self._heartbeat_s = heartbeat_s

    def routes(self) -> list[RuledRoute]:
        """Their routes."""
        own, calls = Rule.SESSION, Rule.MEMBER
        return [
            route(_ALL, self.send, methods=["POST"], rule=calls),
            route(f"{_ONE}/stream", self.follow, methods=["GET"], rule=own),
            route(f"{_ONE}/stop", self.stop, methods=["POST"], rule=own),
            route(f"{_ONE}/regenerate", self.regenerate, methods=["POST"], rule=calls),
            route(f"{_ONE}/continue", self.resume, methods=["POST"], rule=calls),
        ]

    async def send(self, request: Request) -> Response:
        """A person's message; the reply to it begins to run."""
        scope: Scope = request.state.scope
        conversation = bodies.path_id(request, "conversation")
        body = await bodies.read(request, _NEW)
        if body.id == body.reply_id:
            raise InvalidRequest("reply_id: Expected another id", param="reply_id")
        text = bodies.check_text(body.text)
        turn = Turn(
            conversation_id=conversation,
            message_id=bodies.check_new_id(body.id, "id"),
            reply_id=bodies.check_new_id(body.reply_id, "reply_id"),
            parent_id=None if body.parent_id is None else bodies.known_id(body.parent_id, "parent"),
            parts=(Text(text),),
            model_id=body.model,
            title=title_for(text),
        )
        self._replies.check_open()
        now_ns = self._clock.now_ns()
        message, begun = await self._database.write(
            lambda connection: rows.add_turn(
                connection, scope, turn, limits=self._limits, now_ns=now_ns
            )
        )
        self._begin(scope, begun)
        reply = show_live(begun.reply, self._replies)
        return json_response({"message": show_message(message), "reply": reply}, status=201)

    async def regenerate(self, request: Request) -> Response:
        """One more reply to the same message."""
        scope: Scope = request.state.scope
        conversation, message = _place(request)
        body = await bodies.read(request, _AGAIN)
        reply_id = bodies.check_new_id(body.reply_id, "reply_id")
        self._replies.check_open()
        now_ns = self._clock.now_ns()
        begun = await self._database.write(
            lambda connection: rows.add_reply(
                connection,
                scope,
                conversation,
                message,
                reply_id=reply_id,
                model_id=body.model,
                limits=self._limits,
                now_ns=now_ns,
            )
        )
        self._begin(scope, begun)
        return json_response({"reply": show_live(begun.reply, self._replies)}, status=201)

    async def resume(self, request: Request) -> Response:
        """Let a reply that was cut short go on from where it is."""
        scope: Scope = request.state.scope
        conversation, message = _place(request)
        self._replies.check_open()
        now_ns = self._clock.now_ns()
        begun = await self._database.write(
            lambda connection: rows.reopen_reply(
                connection, scope, conversation, message, limits=self._limits, now_ns=now_ns
            )
        )
        self._begin(scope, begun)
        return json_response({"reply": show_live(begun.reply, self._replies)}, status=202)

    async def stop(self, request: Request) -> Response:
        """End a reply with what it has; one that has ended is left as it is."""
        message = await self._read(request)
        self._replies.stop(message.id)
        return Response(status_code=202, headers={"cache-control": "no-store"})

    async def follow(self, request: Request) -> Response:
        """The events of a reply from a place on; a disconnect changes nothing."""
        message = await self._read(request)
        asked = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        after = bodies.number(asked, "after")
        reply = self._replies.find(message.id)
        if reply is None:
            if message.status == "running":
                message = await self._read(request)
            # A row that still says running is about to begin: the reader comes again.
            end = b"" if message.status == "running" else stream.ended(message)
            return Response(end, headers=_STREAM)
        stream.check_place(reply, after)
        events = stream.follow(reply, after, self._database, heartbeat_s=self._heartbeat_s)
        return StreamingResponse(events, headers=_STREAM)

    async def _read(self, request: Request) -> TreeMessage:
        scope: Scope = request.state.scope
        conversation, message = _place(request)

        def work(connection: Connection) -> TreeMessage:
            return rows.get_message(connection, scope, conversation, message)

        return await self._database.read(work)

    def _begin(self, scope: Scope, begun: Begun) -> None:
        if begun.fresh:
            self._replies.begin(scope, begun.reply, request_for(begun))


def _place(request: Request) -> tuple[str, str]:
    return bodies.path_id(request, "conversation"), bodies.path_id(request, "message")
