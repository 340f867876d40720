r"""Script: what a scripted engine plays, as it stands in a file.

A script is one JSON file. Everything but `turns` may be left out:

    {
      "model": {"id": "parrot", "display_name": "Parrot", "context_tokens": 8192,
                "abilities": {"tools": true, "thinking": true}},
      "token_delay_ms": 0,
      "late_tokens": 0,
      "embedding_dimensions": 8,
      "turns": [
        {"match": {"user": "(?i)weather in (\\w+)"},
         "steps": [
           {"thinking": "They want the weather."},
           {"text": "Let me look. ", "token_delay_ms": 30},
           {"tool_call": {"name": "weather", "arguments": {"city": "Delft"}}}]},
        {"match": {"tool_result": true},
         "steps": [{"text": "It rains."}]},
        {"match": {"user": "again"}, "times": 1,
         "steps": [{"error": {"kind": "overloaded", "message": "Busy.", "retry_after_s": 2}}]},
        {"steps": [{"text": "Once upon"}, {"delay_ms": 500}, {"cut": true}]},
        {"steps": [{"text": "Short."},
                   {"finish": {"stop": "length", "usage": {"input": 7, "cached": 3}}}]}
      ]
    }

Which turn plays: the first in the file that fits the request and has plays left. `match.user`
is a regular expression searched in the text of the last user message, `match.tool_result` says
whether the last message carries a tool's result; both must hold. A turn without `match` fits
everything. `times` is how often a turn may play: by default once without `match`, and without
limit with one. So turns without `match` play in order. When none fits, the user's last text is
echoed.

Steps, one field each (`token_delay_ms` may stand beside `text`, `thinking` and `tool_call`):

- `text`, `thinking`: streamed token by token, `token_delay_ms` before each.
- `tool_call`: `name`, `arguments` (an object, or a string sent as it is, malformed or not) and
  optionally `id`; the arguments are streamed in pieces.
- `delay_ms`: silence.
- `error`: `kind` (one of the error tree's), `message`, `retry_after_s`. Before the first token it
  is raised, afterwards it is a Failed event.
- `cut`: the stream breaks off, as when an engine dies: Failed with kind `engine_failed`.
- `finish`: ends the answer; `stop` and the figures of `usage` override what was counted.

`late_tokens` is how many more tokens it makes for nobody when a client leaves in the midst of an
answer, as real engines do.

A token is a run of word characters or one other visible character, with the space before it.
Stop sequences, `max_tokens` and logprobs are honoured: a scripted token is certain, its
log probability is 0. Embeddings are unit vectors from a hash of the text.
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec

from headrace.core.errors import ConfigError, HeadraceError, Retryable
from headrace.core.events import Stop
from headrace.core.messages import ToolResult
from headrace.core.models import Abilities
from headrace.core.requests import Request


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model that answers."""

    id: str = "scripted"
    display_name: str = "Scripted"
    context_tokens: int = 8192
    abilities: Abilities = Abilities(tools=True, thinking=True)


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests a turn is for."""

    user: str | None = None
    tool_result: bool | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.user or "")
        except re.error as error:
            raise ValueError(f"`user` is not a regular expression: {error}") from None

    def fits(self, request: Request) -> bool:
        """Whether a request is one of them."""
        if self.user is not None and not re.search(self.user, last_user_text(request)):
            return False
        return self.tool_result is None or self.tool_result == _ends_in_tool_result(request)


class CallSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of a tool."""

    name: str
    arguments: dict[str, Any] | str = ""
    id: str | None = None


class ErrorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error of the tree, by its kind."""

    kind: str
    message: str
    retry_after_s: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in _error_types():
            raise ValueError(f"`kind` must be one of {', '.join(sorted(_error_types()))}")

    def build(self) -> HeadraceError:
        """The error itself."""
        error_type = _error_types()[self.kind]
        if issubclass(error_type, Retryable):
            return error_type(self.message, retry_after_s=self.retry_after_s)
        return error_type(self.message)


class UsageSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures that override what was counted."""

    input: int | None = None
    cached: int | None = None
    output: int | None = None
    reasoning: int | None = None


class FinishSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an answer ends."""

    stop: Stop | None = None
    usage: UsageSpec = UsageSpec()


_STEPS = ("text", "thinking", "tool_call", "delay_ms", "error", "cut", "finish")


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that an answer does."""

    text: str | None = None
    thinking: str | None = None
    tool_call: CallSpec | None = None
    delay_ms: float | None = None
    error: ErrorSpec | None = None
    cut: bool = False
    finish: FinishSpec | None = None
    token_delay_ms: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in _STEPS if getattr(self, name) not in (None, False)]
        if len(given) != 1:
            raise ValueError(f"a step needs exactly one of {', '.join(_STEPS)}; got {given}")


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer."""

    steps: tuple[Step, ...]
    match: Match | None = None
    times: int | None = None


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    turns: tuple[Turn, ...] = ()
    model: ModelSpec = ModelSpec()
    token_delay_ms: float = 0
    late_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    embedding_dimensions: int | None = None


def read(path: Path) -> tuple[Script, str]:
    """The script of a file, and the file's digest.

    Raises:
        ConfigError: It cannot be read or is wrong; the text names the field.
    """
    try:
        content = path.read_bytes()
        script = msgspec.json.decode(content, type=Script)
    except OSError as error:
        raise ConfigError(f"cannot read the script {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"the script {path} is wrong: {error}") from error
    return script, f"sha256:{hashlib.sha256(content).hexdigest()}"


def _error_types() -> dict[str, type[HeadraceError]]:
    """Every kind of the error tree that can be raised."""
    found: dict[str, type[HeadraceError]] = {}
    waiting: list[type[HeadraceError]] = [HeadraceError]
    while waiting:
        error_type = waiting.pop()
        waiting += error_type.__subclasses__()
        found.setdefault(error_type.kind, error_type)
    return found


def last_user_text(request: Request) -> str:
    """What the user said last; empty for a request without such words."""
    for message in reversed(request.messages):
        if message.role == "user" and message.text():
            return message.text()
    return ""


def _ends_in_tool_result(request: Request) -> bool:
    last = request.messages[-1:]
    return any(isinstance(part, ToolResult) for message in last for part in message.parts)
