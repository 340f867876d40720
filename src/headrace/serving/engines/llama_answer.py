"""From llama.cpp's chunks to Events, and from a Request to the fields of /completion."""

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec

from headrace.core.errors import HeadraceError, InvalidRequest, Retryable, Unsupported
from headrace.core.events import Delta, Event, Failed, Finished, Started, Stop, TokenLogprob
from headrace.core.messages import Text, Thinking, ToolCall
from headrace.core.models import Usage
from headrace.core.requests import JsonSchema, Request, Tool
from headrace.serving.engines.llama_http import Chunk, Probability
from headrace.serving.engines.llama_prompt import shown_tools
from headrace.serving.toolcalls import AnswerParser, Piece

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty")
_TOKEN_ID = re.compile(r"[0-9]{1,9}")
_INT_MAX = 2**31 - 1
_MARKUP = ("<think>", "</think>", "<tool_call>", "</tool_call>")


class Constraint(msgspec.Struct, frozen=True):
    """The JSON Schema an answer must meet; `looser` one where that cannot be enforced.

    `forced` says that the answer is one tool call.
    """

    schema: JsonSchema
    forced: bool = False
    looser: JsonSchema | None = None


def constraint_of(request: Request) -> Constraint | None:
    """What the request demands of its answer's form.

    Raises:
        InvalidRequest: A call is demanded of a tool that is not there.
    """
    tools = shown_tools(request)
    if request.tool_choice.mode in {"required", "named"}:
        if not tools:
            raise InvalidRequest("tool_choice asks for a tool that is not given")
        strict = any(tool.strict for tool in tools)
        looser = None if strict else _calls(tools, exact=False)
        return Constraint(_calls(tools, exact=True), forced=True, looser=looser)
    if request.output_format is None:
        return None
    schema = request.output_format.schema or {"type": "object"}
    if tools:  # either the output or a call, which the parser knows by its name
        schema = {"anyOf": [_moved(schema, "#/anyOf/0"), *_shapes(tools, exact=False)]}
    return Constraint(schema)


def _calls(tools: tuple[Tool, ...], *, exact: bool) -> JsonSchema:
    return {"anyOf": _shapes(tools, exact=exact)}


def _shapes(tools: tuple[Tool, ...], *, exact: bool) -> list[JsonSchema]:
    """One schema for a call of each tool; `exact` ones hold its parameters, others any object."""
    return [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.name},
                "arguments": _parameters(tool, number) if exact else {"type": "object"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for number, tool in enumerate(tools)
    ]


def _parameters(tool: Tool, number: int) -> JsonSchema:
    moved = _moved(tool.parameters, f"#/anyOf/{number}/properties/arguments")
    return {**moved, "type": "object"}


def _moved(schema: JsonSchema, place: str) -> JsonSchema:
    """`schema` as it must read when it stands at `place` inside another one."""

    def move(value: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, list):
            return [move(each) for each in cast("list[Any]", value)]
        if not isinstance(value, dict):
            return value
        return {
            name: place + each[1:]
            if name == "$ref" and isinstance(each, str) and each.startswith("#")
            else move(each)
            for name, each in cast("JsonSchema", value).items()
        }

    return move(schema)


def completion_body(
    request: Request, prompt: str | list[int], schema: JsonSchema | None
) -> dict[str, Any]:
    """The fields of /completion."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": -1 if request.max_tokens is None else request.max_tokens,
        "stop": list(request.stop),
        "cache_prompt": True,
        "preserved_tokens": _MARKUP,
    }
    body |= {name: value for name in _SAMPLING if (value := getattr(sampling, name)) is not None}
    if sampling.top_k is not None:
        body["top_k"] = min(sampling.top_k, _INT_MAX)  # more than there are tokens anyway
    if sampling.seed is not None:
        body["seed"] = sampling.seed & 0xFFFF_FFFF  # what llama.cpp's random numbers take
    if sampling.logit_bias:
        body["logit_bias"] = _logit_bias(sampling.logit_bias)
    if request.logprobs is not None:
        body["n_probs"] = max(1, request.logprobs)
    if schema is not None:
        body["json_schema"] = schema
    return body


def _logit_bias(biases: dict[str, float]) -> list[tuple[int, float]]:
    if not all(_TOKEN_ID.fullmatch(token) for token in biases):
        raise InvalidRequest("logit_bias takes token ids", param="logit_bias")
    return [(int(token), bias) for token, bias in biases.items()]


class Answer:
    """Turns the chunks of one completion into events."""

    def __init__(
        self,
        request: Request,
        new_call_id: Callable[[], str],
        *,
        forced: bool,
        prompt_opens_thinking: bool,
    ) -> None:
        self._request = request
        names = [tool.name for tool in shown_tools(request)]
        self._parser = AnswerParser(
            names,
            new_call_id,
            forced=forced,
            parallel=request.parallel_tool_calls,
            thinking=prompt_opens_thinking,
        )
        self._started = False
        self._index = -1
        self._open: type[Piece] | None = None
        self._input = self._cached = self._output = self._reasoning = 0
        self._logprobs: list[TokenLogprob] = []
        self.finished = False

    def events(self, chunk: Chunk) -> Iterator[Event]:
        """What `chunk` says. After the last chunk, `finished` is set."""
        progress = chunk.prompt_progress
        self._input = chunk.tokens_evaluated or self._input
        if progress is not None:
            self._input, self._cached = progress.total, progress.cache
        if chunk.stop:
            self._cached = chunk.timings.cache_n
        if not self._started:
            self._started = True
            yield Started(self._request.model, Usage(input=self._input, cached=self._cached))
        fresh = max(0, chunk.tokens_predicted - self._output)
        self._output += fresh
        if self._request.logprobs is not None:
            self._logprobs += [self._logprob(each) for each in chunk.completion_probabilities]
        pieces = self._parser.feed(chunk.content) if chunk.content else []
        if any(isinstance(piece, Thinking) for piece in pieces):
            self._reasoning += fresh
        for piece in pieces:
            yield self._delta(piece)
        if chunk.stop:
            yield from self._finish(self._stop_of(chunk), chunk.stopping_word or None)
        elif self._parser.full:
            yield from self._finish("tool_calls", None)  # the caller closes the stream

    def failed(self, error: HeadraceError) -> Failed:
        """`error` as the end of an answer that had begun."""
        retry_after_s = error.retry_after_s if isinstance(error, Retryable) else None
        return Failed(error.kind, error.message, retry_after_s, self._usage())

    def begun(self) -> bool:
        """Whether Started is out."""
        return self._started

    def _finish(self, stop: Stop, word: str | None) -> Iterator[Event]:
        for piece in self._parser.finish():
            yield self._delta(piece)
        if self._parser.calls_begun and stop == "end":
            stop = "tool_calls"
        self.finished = True
        yield Finished(stop, self._usage(), word if stop == "stop_sequence" else None)

    def _stop_of(self, chunk: Chunk) -> Stop:
        if chunk.stop_type == "word":
            return "stop_sequence"
        if chunk.stop_type != "limit":
            return "end"
        limit = self._request.max_tokens
        return "length" if limit is not None and self._output >= limit else "context_full"

    def _delta(self, piece: Piece) -> Delta:
        begins_call = isinstance(piece, ToolCall) and piece.id
        if begins_call or self._open is not type(piece):
            self._open = type(piece)
            self._index += 1
        logprobs: tuple[TokenLogprob, ...] = ()
        if isinstance(piece, Text):
            logprobs = tuple(self._logprobs)
        self._logprobs.clear()  # those of thinking and calls belong to no text
        return Delta(self._index, piece, self._output, logprobs)

    def _usage(self) -> Usage:
        return Usage(self._input, self._cached, self._output, self._reasoning)

    def _logprob(self, each: Probability) -> TokenLogprob:
        rivals = each.top_logprobs[: self._request.logprobs or 0]
        return TokenLogprob(
            each.token,
            _finite(each.logprob),
            each.bytes,
            tuple(TokenLogprob(r.token, _finite(r.logprob), r.bytes) for r in rivals),
        )


_IMPOSSIBLE = -9999.0


def _finite(logprob: float | None) -> float:
    """JSON has no infinity; llama.cpp sends null for a token that a constraint forbids."""
    return _IMPOSSIBLE if logprob is None else max(logprob, _IMPOSSIBLE)


def unenforceable(reason: str | None) -> Unsupported:
    """The refusal of a schema that the engine cannot enforce."""
    why = f": {reason}" if reason else ""
    return Unsupported(f"the engine cannot enforce this JSON Schema{why}")
