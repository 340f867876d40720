"""A scripted session for the screen: the words said choose what happens, all of it real progress.

Run as a program in a terminal: `python -m support.screen_script FOLDER`.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

from headrace.agent import progress as told
from headrace.agent.entries import (
    Answered,
    Body,
    Compacted,
    Entry,
    Said,
    Turned,
    Used,
)
from headrace.agent.tools import Diff, Output, Todo, Todos
from headrace.code.screen.actions import Desk, Kept, Ran, Status
from headrace.code.screen.plain import Plain
from headrace.code.screen.screen import Screen
from headrace.core.decisions import Allow, Ask, Deny
from headrace.core.errors import HeadraceError
from headrace.core.events import Delta
from headrace.core.messages import Message, Text, Thinking, ToolCall, ToolResult, user
from headrace.core.models import Usage
from headrace.safety.actions import Action

ANSWER = """\
# Title

Some **bold** words and `code` in a paragraph that is long enough to wrap on eighty columns.

- one
- two

```python
def add(a, b):
    return a + b  # sum
```

| name | value |
|---|---|
| a | 1 |
"""


class ScriptedLog:
    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def branch(self) -> tuple[Entry, ...]:
        return tuple(self.entries)


class ScriptedTalk:
    """A session whose answers are chosen by the first word said."""

    def __init__(self, human: told.Human) -> None:
        self.log = ScriptedLog()
        self.mode = "default"
        self._human = human
        self._listeners: list[told.Listener] = []
        self._queue: list[str] = []
        self._running: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)

    def subscribe(self, listener: told.Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def turn(self, said: str) -> told.End:
        why: told.End = "done"
        self.write(Said(user(said)))
        self._running = asyncio.ensure_future(self._act(said))
        try:
            await self._running
        except asyncio.CancelledError:
            if self._running.cancelled():
                why = "interrupted"
            else:
                raise
        self.write(Turned(why))
        return why

    def interrupt(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def queue(self, said: str) -> None:
        self._queue.append(said)

    def unqueue(self) -> tuple[str, ...]:
        taken, self._queue = tuple(self._queue), []
        return taken

    async def compact(self, instructions: str = "") -> Compacted | None:
        compacted = Compacted(summary=f"summary {instructions}".strip())
        self.write(compacted)
        return compacted

    def compacted(self) -> Compacted | None:
        bodies = [entry.body for entry in self.log.entries]
        return next((body for body in bodies[::-1] if isinstance(body, Compacted)), None)

    def edit_compaction(self, summary: str) -> Compacted:
        compacted = Compacted(summary=summary)
        self.write(compacted)
        return compacted

    def undo_compaction(self) -> bool:
        return self.compacted() is not None

    async def rewind(
        self, entry_id: str, *, files: bool = True, conversation: bool = True
    ) -> Message | None:
        at = next(i for i, entry in enumerate(self.log.entries) if entry.id == entry_id)
        body = self.log.entries[at].body
        if conversation:
            del self.log.entries[at:]
        self.tell(told.Noticed(f"rewound files={files} conversation={conversation}"))
        return body.message if isinstance(body, Said) else None

    def set_mode(self, mode: str) -> None:
        self.mode = mode

    # The script

    def tell(self, progress: told.Progress) -> None:
        for listener in list(self._listeners):
            listener(progress)

    def write(self, body: Body) -> None:
        entry = Entry(id=f"e{next(self._ids)}", parent_id=None, time_ns=0, body=body)
        self.log.entries.append(entry)
        self.tell(told.Logged(entry))

    async def _act(self, said: str) -> None:
        word = said.split(maxsplit=1)[0]
        await getattr(self, f"do_{word}", self.do_answer)()
        while self._queue:
            queued = self._queue.pop(0)
            self.write(Said(user(queued)))
            await self.answer(f"You said: {queued}")

    async def answer(self, text: str, wait_s: float = 0.0) -> None:
        self.tell(told.Asking(input_tokens=812, new_tokens=812))
        for count, word in enumerate(text.split(" ")):
            delta = Delta(0, Text(word if not count else f" {word}"), output_tokens=count + 1)
            self.tell(told.Partial(delta))
            await asyncio.sleep(wait_s)
        message = Message("assistant", (Text(text),))
        self.write(Answered(message=message, stop="end", usage=Usage(812, 0, 40)))

    async def use(
        self, call: ToolCall, action: Action, used: Callable[[ToolResult], Used], wait_s: float = 0
    ) -> None:
        self.write(Answered(message=Message("assistant", (call,)), stop="tool_calls"))
        self.tell(told.Running(call, action))
        await asyncio.sleep(wait_s)
        self.write(used(ToolResult(call.id, (Text("text for the model"),))))

    async def do_answer(self) -> None:
        await self.answer(ANSWER)

    async def do_slow(self) -> None:
        await self.answer("word " * 10_000, 0.05)

    async def do_long(self) -> None:
        await self.answer("\n\n".join(f"Paragraph {n} of many." for n in range(100)), 0.001)

    async def do_think(self) -> None:
        self.tell(told.Partial(Delta(0, Thinking("First I look at it."))))
        await self.answer("Thought about it.")

    async def do_tools(self) -> None:
        bash = ToolCall("c1", "Bash", '{"command":"pytest -q"}')
        printed = "\n".join(f"line {n}" for n in range(40))
        await self.use(
            bash,
            Action(tool="Bash", command="pytest -q", writes=True),
            lambda result: Used(
                tool="Bash", result=result, decision=Allow(), detail=Output(printed, 1)
            ),
        )
        edit = ToolCall("c2", "Edit", "{}")
        before = "".join(f"line {n}\n" for n in range(20))
        after = before.replace("line 9\n", "line nine\n")
        await self.use(
            edit,
            Action(tool="Edit", path="/ws/src/a.py", writes=True),
            lambda result: Used(
                tool="Edit",
                result=result,
                decision=Allow(),
                detail=Diff("/ws/src/a.py", before, after),
            ),
        )
        await self.use(
            ToolCall("c3", "Read", '{"file_path":"/ws/.env"}'),
            Action(tool="Read", path="/ws/.env"),
            lambda result: Used(tool="Read", result=result, decision=Deny("rule Read(./.env)")),
        )
        await self.answer("All done.")

    async def do_todo(self) -> None:
        items = (Todo("write it", "completed"), Todo("test it", "in_progress"))
        await self.use(
            ToolCall("c4", "TodoWrite", "{}"),
            Action(tool="TodoWrite"),
            lambda result: Used(
                tool="TodoWrite", result=result, decision=Allow(), detail=Todos(items)
            ),
        )
        await self.answer("Working on the list.")

    async def do_ask(self) -> None:
        call = ToolCall("c5", "Bash", "{}")
        command = "rm -rf build\u200b && echo '\x1b[2J\u202e done'"
        action = Action(tool="Bash", command=command, writes=True)
        self.tell(told.Running(call, action))
        reply = await self._human.may(
            call, action, Ask("no rule allows it", "Bash(rm -rf build:*)", red=True)
        )
        words = f"allowed={reply.allowed} always={reply.always} words={reply.words}"
        await self.answer(words)

    async def do_later(self) -> None:
        await asyncio.sleep(0.5)
        await self.do_ask()

    async def do_big(self) -> None:
        call = ToolCall("c6", "Bash", "{}")
        command = "\n".join(f"echo step {n}" for n in range(60))
        action = Action(tool="Bash", command=command, writes=True)
        reply = await self._human.may(call, action, Ask("no rule allows it"))
        await self.answer(f"allowed={reply.allowed}")

    async def do_choose(self) -> None:
        answer = await self._human.choose("Which colour?", ("red", "green"))
        await self.answer(f"chose {answer}")

    async def do_fail(self) -> None:
        raise RuntimeError("a fault of ours")


async def build(folder: Path, human: told.Human) -> Desk:
    talk = ScriptedTalk(human)
    model = ["scripted"]

    async def use_model(name: str) -> None:
        model[0] = name

    async def models() -> tuple[str, ...]:
        return ("scripted", "other")

    async def again(_: str = "") -> Desk:
        return await build(folder, human)

    async def shell(command: str, printed: Callable[[str], None]) -> Ran:
        child = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
        try:
            out = (await child.communicate())[0].decode()
        except asyncio.CancelledError:
            child.kill()
            raise
        printed(out)
        return Ran(out, child.returncode)

    async def close() -> None:
        return None

    return Desk(
        session=talk,
        status=lambda: Status(
            model=model[0], mode=talk.mode, cost_nano=12_300_000, context_left=0.87
        ),
        workspace="/ws",
        bill=lambda: "812 tokens in, 40 out",
        permissions=lambda: "allow Bash(git diff:*)  project",
        why=lambda count: f"the last {count}: allowed by rule",
        models=models,
        use_model=use_model,
        kept=lambda: (Kept("s1", "an old session", 0),),
        resume=again,
        clear=again,
        export=lambda path: path or "session.md",
        shell=shell,
        init_words="answer",
        files=lambda: ("README.md", "src/a.py", "src/app/main.py"),
        history=folder / "history",
        close=close,
        may_bypass="bypass" in sys.argv,
    )


def main() -> None:
    folder = Path(sys.argv[1])
    # A pipe can be no less than dumb: the plain screen reads those, too.
    screen = Plain() if os.environ.get("TERM") == "dumb" else Screen()
    try:
        status = asyncio.run(screen.run(lambda human, _: build(folder, human)))
    except HeadraceError as error:
        sys.exit(error.message)
    print(f"left with {status}")  # noqa: T201 - a program
    sys.exit(status)


if __name__ == "__main__":
    main()
