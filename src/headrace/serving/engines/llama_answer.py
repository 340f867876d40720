"""From llama.cpp's chunks to Events, and from a Request to the fields of /completion."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from headrace.core.errors import HeadraceError, InvalidRequest, Retryable
from headrace.core.events import (
    Counted,
    Delta,
    Event,
    Failed,
    Finished,
    Started,
    Stop,
    TokenLogprob,
)
from headrace.core.messages import Text, Thinking, ToolCall
from headrace.core.models import Usage
from headrace.core.requests import JsonSchema, Request
from headrace.serving.engines.llama_constraint import Constraint
from headrace.serving.engines.llama_http import Chunk, Probability
from headrace.serving.engines.llama_prompt import shown_tools
from headrace.serving.engines.llama_transcript import Transcript
from headrace.wire.toolcalls import AnswerParser, Opened, Piece
from headrace.wire.toolcalls_forms import PRESERVED_TOKENS

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty")
_TOKEN_ID = re.compile(r"[0-9]{1,9}")
_INT_MAX = 2**31 - 1


def completion_body(request: Request, prompt: list[int | str]) -> dict[str, Any]:
    """The fields of /completion."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": -1 if request.max_tokens is None else request.max_tokens,
        "stop": list(request.stop),
        "cache_prompt": True,
        "preserved_tokens": PRESERVED_TOKENS,
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
    return body


def _arguments_grammar(schema: JsonSchema) -> str:
    """What may follow the place where a model is about to write the arguments of a call."""
    encoded = msgspec.json.encode(schema).decode()
    return f"%llguidance {{}}\nstart: /[ \\n]?/ arguments\narguments: %json {encoded}"


def _logit_bias(biases: dict[str, float]) -> list[tuple[int, float]]:
    if not all(_TOKEN_ID.fullmatch(token) for token in biases):
        raise InvalidRequest("logit_bias takes token ids", param="logit_bias")
    return [(int(token), bias) for token, bias in biases.items()]


class Answer:
    """Turns the chunks of one answer into events.

    Where the model calls a tool of its own accord, its name is the model's and its arguments are
    held to the tool's schema: the completion is broken off before the arguments and goes on from
    there under a constraint, then without. Each is a completion in the same slot, which holds
    all that went before. So `body` is asked for as long as the answer is not `finished`.

    Args:
        request: What is answered.
        prompt: Its token ids.
        new_call_id: Makes the id of a call.
        constraint: What the whole answer is held to.
        schema: The schema of it that the engine can enforce.
        arguments: Likewise what the arguments of each tool are held to, by its name.
        opens_thinking: The prompt ends inside thinking.
    """

    def __init__(
        self,
        request: Request,
        prompt: list[int],
        new_call_id: Callable[[], str],
        *,
        constraint: Constraint | None,
        schema: JsonSchema | None,
        arguments: Mapping[str, JsonSchema],
        opens_thinking: bool,
    ) -> None:
        self._request = request
        self._schema = schema
        self._arguments = arguments
        self._parser = AnswerParser(
            [tool.name for tool in shown_tools(request)],
            new_call_id,
            forced=constraint is not None and constraint.forced,
            parallel=request.parallel_tool_calls,
            # A constrained answer cannot think first: no tag fits its grammar.
            thinking=opens_thinking and constraint is None,
            pausing=bool(arguments),
        )
        self._said = Transcript(prompt)
        self._call: Opened | None = None
        self._begun = False
        self._later = False
        self._index = -1
        self._open: type[Piece] | None = None
        self._input = self._cached = self._output = self._reasoning = 0
        self._written = self._written_long = 0
        self._output_before = 0
        self._evaluated = 0
        self._logprobs: list[TokenLogprob] = []
        self.paused = False
        self.finished = False

    def body(self) -> dict[str, Any]:
        """The fields of /completion for what is to come next."""
        self.paused = False
        body = completion_body(self._request, self._said.prompt())
        if self._request.max_tokens is not None:
            body["n_predict"] = self._request.max_tokens - self._output
        if self._call is not None:
            body["grammar"] = _arguments_grammar(self._arguments[self._call.name])
        elif self._schema is not None:
            body["json_schema"] = self._schema
        return body

    def events(self, chunk: Chunk) -> Iterator[Event | Counted]:
        """What `chunk` says. After the last chunk, `finished` is set.

        When `paused` is set, the completion is to be broken off and the next one begun.
        """
        self._see_input(chunk)
        if not self._begun:
            self._begun = True
            yield Started(self._request.model, Usage(input=self._input, cached=self._cached))
        fresh = max(0, self._output_before + chunk.tokens_predicted - self._output)
        thinking = self._parser.thinking
        pieces = self._parser.feed(chunk.content) if chunk.content else []
        opened = self._parser.opened if chunk.content else None
        fresh = self._keep(chunk, fresh, opened)
        self._output += fresh
        if thinking or any(isinstance(piece, Thinking) for piece in pieces):
            self._reasoning += fresh
        if self._request.logprobs is not None and self._call is None:
            self._logprobs += [self._logprob(each) for each in chunk.completion_probabilities]
        for piece in pieces:
            yield self._delta(piece)
        if fresh and not pieces:
            yield Counted(self._output, self._reasoning)
        yield from self._go_on(chunk, opened)

    def _see_input(self, chunk: Chunk) -> None:
        """Take note of the prompt's tokens; those of later completions were counted before."""
        if chunk.prompt_progress is not None:
            self._evaluated = chunk.prompt_progress.total
        if self._later:
            return
        progress = chunk.prompt_progress
        self._input = chunk.tokens_evaluated or self._input
        if progress is not None:
            self._input, self._cached = progress.total, progress.cache
        if chunk.stop:
            self._cached = chunk.timings.cache_n
        self._written, self._written_long = chunk.cache_written, chunk.cache_written_long

    def _keep(self, chunk: Chunk, fresh: int, opened: Opened | None) -> int:
        """Write down what was said, up to the arguments of a call; gives the tokens that count."""
        known = len(chunk.tokens) == fresh
        if chunk.content or (fresh and known):
            self._said.add(chunk.content, chunk.tokens if known else None)
        if opened is None:
            return fresh
        self._call = opened
        if opened.lead:
            self._said.drop(opened.unread)
            self._said.add(opened.lead)
            return fresh
        unread = min(opened.unread, len(chunk.content))
        self._said.drop(unread)
        # A token that is all arguments will come again, and is counted then.
        return 0 if unread == len(chunk.content) else fresh

    def _go_on(self, chunk: Chunk, opened: Opened | None) -> Iterator[Event]:
        """Find out whether the answer ends here, or goes on in another completion."""
        call, parser = self._call, self._parser
        argued = call if parser.calls_read == parser.calls_begun else None
        if parser.full or (argued is not None and argued.close is None):
            yield from self._finish("tool_calls")
            return
        if argued is not None:
            self._call = None
            close = argued.close or ""
            self._said.add(close)
            for piece in parser.feed(close):
                yield self._delta(piece)
        elif chunk.stop and (opened is None or chunk.stop_type != "eos"):
            yield from self._finish(self._stop_of(chunk), chunk.stopping_word or None)
            return
        elif opened is None:
            return
        limit = self._request.max_tokens
        if limit is not None and self._output >= limit:
            yield from self._finish("length" if self._call else "tool_calls")
            return
        self.paused = self._later = True
        self._output_before = self._output

    def context_full(self) -> Iterator[Event]:
        """The end of an answer that finds no room to go on."""
        yield from self._finish("context_full")

    def failed(self, error: HeadraceError) -> Failed:
        """`error` as the end of an answer that had begun."""
        retry_after_s = error.retry_after_s if isinstance(error, Retryable) else None
        return Failed(error.kind, error.message, retry_after_s, self._usage())

    def begun(self) -> bool:
        """Whether Started is out."""
        return self._begun

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt of the completion that is under way."""
        return self._evaluated

    def late(self, decoded: int) -> int:
        """Tokens that were never told, if the completion under way has decoded so many."""
        return max(0, self._output_before + decoded - self._output)

    def _finish(self, stop: Stop, word: str | None = None) -> Iterator[Event]:
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
        return Delta(self._index, piece, self._output, logprobs, self._reasoning)

    def _usage(self) -> Usage:
        return Usage(
            self._input,
            self._cached,
            self._output,
            self._reasoning,
            self._written,
            self._written_long,
        )

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
