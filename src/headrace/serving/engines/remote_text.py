"""Tool calls and thinking that an upstream left in its text, as events of their own."""

from collections.abc import Callable, Iterator

import msgspec

from headrace.core.events import Delta, Event, Failed, Finished, TokenLogprob
from headrace.core.messages import Text, Thinking, ToolCall
from headrace.core.requests import Request
from headrace.wire.toolcalls import AnswerParser, Piece


class TextReader:
    """Passes events on; text goes through the reader of what models write.

    Once the upstream has sent a call of its own, it knows the model's way of writing them, and
    its text is text.

    Args:
        request: Whose tools may be called.
        new_call_id: Makes the id of a call.
    """

    def __init__(self, request: Request, new_call_id: Callable[[], str]) -> None:
        tools = () if request.tool_choice.mode == "none" else request.tools
        self._parser: AnswerParser | None = AnswerParser(
            [tool.name for tool in tools],
            new_call_id,
            parallel=request.parallel_tool_calls,
            schemas={tool.name: tool.parameters for tool in tools},
        )
        self._called = False
        self._index = -1
        self._open: tuple[type[Piece], int | None] | None = None
        self._logprobs: list[TokenLogprob] = []
        self._tokens = 0

    def read(self, event: Event) -> Iterator[Event]:
        """What `event` amounts to."""
        if isinstance(event, Delta):
            self._tokens = event.output_tokens
            yield from self._delta(event)
        elif isinstance(event, Finished):
            yield from self._flush()
            called = self._called and event.stop == "end"
            yield msgspec.structs.replace(event, stop="tool_calls") if called else event
        else:
            if isinstance(event, Failed):
                yield from self._flush()
            yield event

    def _delta(self, event: Delta) -> Iterator[Delta]:
        part = event.part
        if isinstance(part, Text) and self._parser is not None and not part.refusal:
            self._logprobs += event.logprobs
            for piece in self._parser.feed(part.text):
                yield self._piece(piece)
            if part.citations:
                cited = Text("", part.citations)
                yield Delta(self._at(Text, None), cited, self._tokens)
            return
        if isinstance(part, ToolCall):
            yield from self._flush()
        yield Delta(self._at(type(part), event.index), part, self._tokens, event.logprobs)

    def _flush(self) -> Iterator[Delta]:
        """Give out what was held back; what comes later is text as it stands."""
        parser, self._parser = self._parser, None
        if parser is not None:
            for piece in parser.finish():
                yield self._piece(piece)

    def _piece(self, piece: Piece) -> Delta:
        logprobs: tuple[TokenLogprob, ...] = ()
        if isinstance(piece, Text):
            logprobs = tuple(self._logprobs)
        self._logprobs.clear()  # those of thinking and calls belong to no text
        if isinstance(piece, ToolCall) and piece.id:
            self._called = True
            self._open = None
        return Delta(self._at(type(piece), None), piece, self._tokens, logprobs)

    def _at(self, kind: type[Text | Thinking | ToolCall], theirs: int | None) -> int:
        """The index of a part; a new one where another part is open."""
        if self._open != (kind, theirs):
            self._open = (kind, theirs)
            self._index += 1
        return self._index
