"""Steps of a guided turn: what the model is asked, what the program does, and what comes back."""

from collections.abc import Generator, Mapping, Sequence
from typing import TypeVar

import msgspec

from headrace.agent.entries import Begun
from headrace.agent.guide import Act, Step
from headrace.code.guided import places, project, texts
from headrace.code.guided.turn import Round, Turn
from headrace.core.messages import Message, Text, ToolCall
from headrace.core.requests import Request, Sampling

GREEDY = Sampling(temperature=0.0)
SAMPLED = Sampling(temperature=0.7, top_p=0.95)
_ANSWER_TOKENS = 700
_CHARS_PER_TOKEN = 3
_HEAD_SHARE = 2
_EARLIER_CHARS = 1_500

T = TypeVar("T")


class Reading(msgspec.Struct, frozen=True):
    """An answer with the calls that it amounts to."""

    message: Message


Lead = Generator[Step | Reading, Message | Round | None, T]
"""Gives steps, takes a message for each `Consult` and a round for all else, and comes to T."""


class Asking(msgspec.Struct, frozen=True):
    """What all questions of a turn have in common.

    Attributes:
        begun: What requests of the session are made with.
        task: The user's words.
        head: Files, failures and instructions: the same bytes before every question.
        shown: The files that the head shows whole.
        continues: Whether the model goes on with an answer that is begun for it.
    """

    begun: Begun
    task: str
    head: str
    shown: frozenset[str]
    continues: bool

    def request(
        self,
        system: str,
        ask: str,
        sampling: Sampling,
        *,
        beginning: str = "",
        tokens: int = _ANSWER_TOKENS,
    ) -> Request:
        """One question; with `beginning` the answer begins so, and ends with its block of code."""
        said = Message("user", (Text(self.head), Text(ask)))
        begun = (Message("assistant", (Text(beginning),)),) if beginning else ()
        return Request(
            model=self.begun.model,
            messages=(Message("system", (Text(system),)), said, *begun),
            max_tokens=min(tokens, self.begun.max_tokens or tokens),
            sampling=sampling,
            stop=("\n```",) if beginning else (),
        )

    def with_task(self, *ask: str) -> str:
        """The task, and what is asked of it."""
        return "\n\n".join([texts.TASK.format(task=self.task), *ask])


def asking(
    turn: Turn, begun: Begun, files: Mapping[str, str], failing: tuple[str, str] | None
) -> Asking:
    """The questions of a turn about these files; `failing` is a command and what it printed."""
    room = begun.context_tokens * _CHARS_PER_TOKEN // _HEAD_SHARE
    whole: dict[str, str] = {}
    short: list[str] = []
    for name in sorted(files, key=lambda name: (project.is_test(name), name)):
        block = f"{name}\n{fenced(files[name])}"
        if len(block) <= room:
            room -= len(block)
            whole[name] = block
        elif heads := places.sketch(name, files[name]):
            short.append(f"{name}\n{fenced(heads[: room // 2])}")
    parts = [texts.FILES, *whole.values(), *([texts.OUTLINE, *short] if short else [])]
    if failing is not None:
        parts += [texts.FAILING.format(command=failing[0]), fenced(failing[1])]
    if turn.earlier:
        parts += [texts.CONVERSATION, "\n".join(turn.earlier)[-_EARLIER_CHARS:]]
    head = "\n\n".join(parts) + "\n\n"
    return Asking(begun, turn.task, head, frozenset(whole), begun.continues_answers)


def fenced(code: str, language: str = "") -> str:
    """Code in a block."""
    return f"```{language}\n{code.rstrip()}\n```"


def call(tool: str, **arguments: str) -> ToolCall:
    """A call of one of the session's tools."""
    return ToolCall("", tool, msgspec.json.encode(arguments).decode())


def argument(made: ToolCall, name: str) -> str:
    """What a call was made with."""
    return str(msgspec.json.decode(made.arguments)[name])


def ran(calls: Sequence[ToolCall], text: str = "") -> Lead[Round]:
    """Make calls, and come to their results."""
    given = yield Act(tuple(calls), text)
    return given if isinstance(given, Round) else Round((), 0)
