"""A conversation by lines of JSON on standard input, as programs have it that drive Claude Code.

Messages of the user are turns, one after the other. Control requests are answered at once, also in
the midst of a turn.
"""

import asyncio
import itertools
import sys
from contextlib import suppress
from typing import Any

from headrace.agent.progress import Reply
from headrace.agent.session import Session
from headrace.code import stream_json
from headrace.code.build import use_model
from headrace.code.connect import choose
from headrace.code.face import SIGNALLED, Face, session_of, signals, tell
from headrace.code.flags import Flags
from headrace.core.decisions import Ask
from headrace.core.errors import HeadraceError
from headrace.core.messages import Message, ToolCall
from headrace.safety.actions import Action
from headrace.safety.permissions import mode_of

_DONE, _FAILED = 0, 1
_WAITING_MAX = 1_000


async def converse(flags: Flags, face: Face) -> int:
    """Talk until the input ends; returns the exit code of the last turn."""
    return await _Conversation(flags, face).run()


class _Conversation:
    """One conversation; it is the session's human where permissions are asked on stdio."""

    def __init__(self, flags: Flags, face: Face) -> None:
        self._flags = flags
        self._face = face
        self._turns: asyncio.Queue[Message | None] = asyncio.Queue()
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._session: Session | None = None
        self._running: asyncio.Task[object] | None = None
        self._mode: str | None = None
        self._named = flags.model
        self._model: str | None = None
        self._choosing: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()

        def take(value: dict[str, Any] | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: what comes now is not read
                loop.call_soon_threadsafe(self._take, value)

        def refuse(why: str) -> None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(tell, why)

        stream_json.Reader(sys.stdin.fileno(), take, refuse)
        code = _DONE
        async with signals() as caught:
            self._running = asyncio.current_task()
            caught.stop = self._stop
            try:
                code = await self._talk()
            except asyncio.CancelledError:
                self._face.never("interrupted", "it was interrupted")
            except Exception as error:  # noqa: BLE001 - the other end must hear of it
                code = _FAILED
                self._face.broke(error)
        return SIGNALLED + caught.number if caught.number else code

    async def _talk(self) -> int:
        # The server is not asked before something is said: control requests come first.
        first = await self._turns.get()
        if first is None:
            return _DONE
        asks = self._flags.permission_prompt_tool is not None
        code = _DONE
        async with session_of(self._flags, self._face, human=self if asks else None) as session:
            self._session = session
            if self._mode is not None:
                session.set_mode(self._mode)
            said: Message | None = first
            while said is not None:
                await self._changed(session)
                end = await self._face.turn(session, said)
                code = _DONE if end == "done" else _FAILED
                said = await self._turns.get()
        return code

    async def _changed(self, session: Session) -> None:
        """Go on with the model that was asked for meanwhile."""
        name, self._model = self._model, None
        if name is not None and self._face.ground is not None:
            await use_model(self._face.ground, session, name)

    def _stop(self) -> None:
        if self._session is not None:
            self._session.interrupt()
            self._turns.put_nowait(None)
        elif self._running is not None:
            self._running.cancel()

    def _take(self, value: dict[str, Any] | None) -> None:
        match value:
            case None:
                self._turns.put_nowait(None)
                for waiting in self._answers.values():
                    waiting.cancel()
            case {"type": "user", "message": dict()}:
                self._take_words(value)
            case {"type": "control_request", "request_id": str(number), "request": dict()}:
                self._answer(number, value["request"])
            case {"type": "control_response", "response": dict()}:
                response: dict[str, Any] = value["response"]
                waiting = self._answers.get(str(response.get("request_id")))
                if waiting is not None and not waiting.done():
                    waiting.set_result(response)
            case {"type": "control_cancel_request" | "keep_alive" | "update_environment_variables"}:
                pass
            case _:
                tell(f"a message of type {value.get('type')!r} is not known here")

    def _take_words(self, value: dict[str, Any]) -> None:
        said = stream_json.said(value["message"])
        if said is None:
            tell("a message of the user holds neither text nor images")
        elif self._turns.qsize() >= _WAITING_MAX:
            tell("too many messages wait")
        else:
            if self._flags.replay_user_messages:
                self._face.writer.message("user", message=value["message"], isReplay=True)
            self._turns.put_nowait(said)

    def _answer(self, number: str, request: dict[str, Any]) -> None:
        """A control request of the other end."""
        match request:
            case {"subtype": "set_model", "model": str() | None as name}:
                task = asyncio.ensure_future(self._set_model(number, name))
                self._choosing.add(task)
                task.add_done_callback(self._choosing.discard)
                return
            case _:
                pass
        try:
            self._respond(number, self._do(request))
        except (HeadraceError, ValueError) as error:
            self._refuse(number, error)

    async def _set_model(self, number: str, name: str | None) -> None:
        """Hold the next turn, and all after it, with another model; None: the first one."""
        name = name or self._named
        if self._face.ground is None:
            self._flags.model = name
        else:
            try:
                model = await choose(self._face.ground.connection.client, name)
            except HeadraceError as error:
                self._refuse(number, error)
                return
            self._model = model.id
        self._respond(number, {})

    def _respond(self, number: str, response: dict[str, Any]) -> None:
        told = {"subtype": "success", "request_id": number, "response": response}
        self._face.writer.write({"type": "control_response", "response": told})

    def _refuse(self, number: str, error: HeadraceError | ValueError) -> None:
        words = error.message if isinstance(error, HeadraceError) else str(error)
        told = {"subtype": "error", "request_id": number, "error": words}
        self._face.writer.write({"type": "control_response", "response": told})

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"subtype": "initialize"}:
                if request.get("hooks"):
                    raise ValueError("hooks are not supported yet")
                return {"commands": [], "output_style": "default", "models": [], "account": {}}
            case {"subtype": "interrupt"}:
                if self._session is not None:
                    self._session.interrupt()
                return {}
            case {"subtype": "set_permission_mode", "mode": str(mode)}:
                self._mode = mode_of(mode)
                if self._session is not None:
                    self._session.set_mode(self._mode)
                return {"mode": self._mode}
            case {"subtype": "mcp_status"}:
                return {"mcpServers": []}
            case _:
                raise ValueError(f"{request.get('subtype')!r} is not supported")

    async def may(self, call: ToolCall, action: Action, ask: Ask) -> Reply:
        """Ask the program at the other end."""
        del action  # it is told the call itself
        number = f"headrace-{next(self._numbers)}"
        wanted = stream_json.input_of(call.arguments)
        request: dict[str, Any] = {
            "subtype": "can_use_tool",
            "tool_name": call.name,
            "input": wanted,
            "tool_use_id": call.id,
            "decision_reason": ask.why,
            "permission_suggestions": [],
        }
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._face.writer.write(
            {"type": "control_request", "request_id": number, "request": request}
        )
        try:
            reply = _reply(await answer, wanted)
        except asyncio.CancelledError:
            self._face.writer.write({"type": "control_cancel_request", "request_id": number})
            raise
        finally:
            del self._answers[number]
        if not reply.allowed:
            self._face.tally.refused(call, reply.words or ask.why, ask.rule)
        return reply

    async def choose(self, question: str, options: tuple[str, ...]) -> str:
        """Nobody sits here who could choose."""
        del question, options
        return ""


def _reply(response: dict[str, Any], wanted: dict[str, Any]) -> Reply:
    """What the other end said; whatever is not a plain yes is a no."""
    match response:
        case {"subtype": "success", "response": {"behavior": "allow"} as said}:
            if said.get("updatedInput", wanted) != wanted:
                return Reply(allowed=False, words="Other arguments were wanted; call it with them.")
            return Reply(allowed=True)
        case {"subtype": "success", "response": {"behavior": "deny"} as said}:
            return Reply(allowed=False, words=str(said.get("message", "")))
        case _:
            return Reply(allowed=False, words=str(response.get("error", "nobody answered")))
