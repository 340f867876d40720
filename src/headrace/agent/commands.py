"""`headrace ask`: one answer, streamed to the terminal."""

import argparse
import asyncio
import io
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TextIO

import msgspec

from headrace.agent.client import Client
from headrace.agent.endpoint import Endpoint
from headrace.agent.start import find_or_start, wait_ready
from headrace.agent.terminal import neutral
from headrace.config.settings import load_settings
from headrace.core.errors import InvalidRequest, ModelNotFound, of_kind
from headrace.core.events import Delta, Failed, Finished, Started
from headrace.core.messages import Message, Text, user
from headrace.core.models import Usage
from headrace.core.requests import Request

_INPUT_BYTES_MAX = 16 * 1024 * 1024
_INTERRUPTED = 130
_CUT = {
    "length": "the answer was cut at the limit of tokens",
    "context_full": "the answer was cut: the model's context is full",
    "refusal": "the model refused to go on",
}


class Answer(msgspec.Struct):
    """What `--json` prints."""

    text: str
    model: str
    stop: str
    usage: Usage
    generation_id: str | None


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    options = _parse(arguments)
    settings = load_settings({"data": options.data})
    text = _prompt(options.prompt)
    system: str | None = options.system
    messages = (user(text),)
    if system:
        messages = (Message("system", (Text(system),)), *messages)
    _accept_any_text(sys.stdout)
    try:
        asyncio.run(_ask(settings.data, options.model, messages, as_json=options.json))
    except KeyboardInterrupt:
        sys.stdout.write("\n" if sys.stdout.isatty() else "")
        return _INTERRUPTED
    return 0


def _accept_any_text(stream: TextIO) -> None:
    """A terminal that lacks a character shows another in its place."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="headrace ask",
        description="One answer, streamed to the terminal. What is piped in is sent along, after"
        " the prompt. Starts Headrace in the background if it does not run.",
    )
    parser.add_argument("prompt", nargs="?", help="what to ask; may be left out when piped in")
    parser.add_argument("--model", metavar="ID", help="which of the served models shall answer")
    parser.add_argument(
        "--system", metavar="TEXT", help="instructions that stand before the prompt"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where everything is kept")
    return parser.parse_args(arguments)


def _prompt(given: str | None) -> str:
    """The argument and what is piped in, the argument first.

    Raises:
        InvalidRequest: Neither holds any text, or it is too long.
    """
    piped = ""
    if sys.stdin is not None and not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison] - it is None where it was closed
        data = sys.stdin.buffer.read(_INPUT_BYTES_MAX + 1)
        if len(data) > _INPUT_BYTES_MAX:
            raise InvalidRequest(f"the input is longer than {_INPUT_BYTES_MAX} bytes")
        piped = data.decode(errors="replace")
    text = "\n\n".join(part for part in (given or "", piped) if part.strip())
    if not text:
        raise InvalidRequest("there is nothing to ask", hint='headrace ask "Why is the sky blue?"')
    return text


async def _ask(
    data: Path, model: str | None, messages: tuple[Message, ...], *, as_json: bool
) -> None:
    run, fresh = await find_or_start(data, model)
    client = Client(Endpoint(base_url=run.url, key=run.credential, ours=True))
    await wait_ready(client)
    # A fresh one was told what to serve: `model` may be a source, and is the default there.
    chosen = await _default_model(client) if model is None or fresh else model
    request = Request(model=chosen, messages=messages)
    answer = await _stream(client, request, show=not as_json)
    if as_json:
        print(msgspec.json.encode(answer).decode())
    elif answer.stop in _CUT:
        print(f"headrace ask: {_CUT[answer.stop]}", file=sys.stderr)


async def _default_model(client: Client) -> str:
    models = [model for model in await client.models() if model.abilities.chat]
    if not models:
        raise ModelNotFound("no model is served", hint="headrace models list shows what there is")
    return models[0].id


async def _stream(client: Client, request: Request, *, show: bool) -> Answer:
    """The answer, shown as it comes.

    Raises:
        HeadraceError: It failed; what came before has been shown.
    """
    answer = Answer("", request.model, "", Usage(), None)
    printer = _Printer() if show else None
    pieces: list[str] = []
    async with aclosing(client.stream(request)) as events:
        async for event in events:
            match event:
                case Started():
                    answer.model, answer.generation_id = event.model, event.generation_id
                case Delta(part=Text(text=text)):
                    pieces.append(text)
                    if printer is not None:
                        printer.write(text)
                case Delta():
                    pass  # thoughts are not the answer
                case Finished():
                    answer.stop, answer.usage = event.stop, event.usage
                case Failed():
                    if printer is not None:
                        printer.end()
                    raise of_kind(event.kind, event.message)
    if printer is not None:
        printer.end()
    answer.text = "".join(pieces)
    return answer


class _Printer:
    """Writes the pieces of an answer to stdout as they come."""

    def __init__(self) -> None:
        self._on_terminal = sys.stdout.isatty()
        self._last = "\n"

    def write(self, text: str) -> None:
        if text:
            sys.stdout.write(neutral(text) if self._on_terminal else text)
            sys.stdout.flush()
            self._last = text[-1]

    def end(self) -> None:
        """Close the last line."""
        if self._last != "\n":
            sys.stdout.write("\n")
            sys.stdout.flush()
