"""Bash and BashOutput: commands in the sandbox, in the foreground and beside others."""

import asyncio
from codecs import getincrementaldecoder
from typing import Any

from headrace.agent.tools import Outcome, Output, Use
from headrace.code.tools.parts import COUNT, FLAG, TEXT, failed, spec
from headrace.core.errors import HeadraceError
from headrace.safety.actions import Action
from headrace.safety.sandbox.background import Background
from headrace.safety.sandbox.output import SHOWN_CHARACTERS_MAX, Ran, shorten
from headrace.safety.sandbox.sandbox import Sandbox
from headrace.safety.sandbox.unsandboxed import Unsandboxed

_TIMEOUT_S = 120
_TIMEOUT_S_MAX = 3_600
_FIRST_OUTPUT_S = 1.0
_ENDING_CHARACTERS_MAX = 600
_KILLED = {
    "timeout": "It was stopped after {timeout_s} s; give a longer timeout or background=true.",
    "memory": "It was stopped: too much memory.",
    "processes": "It was stopped: too many processes.",
    "stopped": "It was stopped.",
}

Running = dict[str, Background]


class Bash:
    """Run a command with bash in the workspace.

    Args:
        sandbox: What holds it.
        running: The commands in the background by their ids; None offers no background.
    """

    def __init__(self, sandbox: Sandbox | Unsandboxed, running: Running | None) -> None:
        self._sandbox, self._running = sandbox, running
        fields = {"command": TEXT, "timeout": COUNT}
        what = "Run a bash command in the workspace, each in a new shell."
        if running is not None:
            fields["background"] = FLAG
            what += " timeout: seconds."
        self.spec = spec("Bash", what, fields, 1)

    def action(self, arguments: dict[str, Any]) -> Action:
        """Runs a command."""
        return Action(tool="Bash", command=str(arguments["command"]), writes=True)

    async def run(self, use: Use) -> Outcome:
        """Run it to its end, or start it."""
        command = str(use.arguments["command"])
        try:
            if use.arguments.get("background") and self._running is not None:
                return await self._started(command, self._running)
            timeout_s = min(max(int(use.arguments.get("timeout") or _TIMEOUT_S), 1), _TIMEOUT_S_MAX)
            decoder = getincrementaldecoder("utf-8")("replace")
            ran = await self._sandbox.run(
                command,
                timeout_s=timeout_s,
                on_output=lambda data: use.progress(decoder.decode(data)),
            )
        except HeadraceError as error:
            return failed(error)
        return finished(ran, timeout_s)

    async def _started(self, command: str, running: Running) -> Outcome:
        background = await self._sandbox.start(command)
        name = str(len(running) + 1)
        running[name] = background
        text = await _news(background, _FIRST_OUTPUT_S)
        return Outcome.of(f"Started with id {name}. BashOutput reads on.\n{text}".rstrip())


def finished(ran: Ran, timeout_s: float) -> Outcome:
    """How a command ended, as the model is told of it."""
    lines = list(ran.blocked)
    if ran.killed_by:
        lines.append(_KILLED[ran.killed_by].format(timeout_s=round(timeout_s)))
    elif ran.status:
        lines.append(f"exit status {ran.status}")
    ending = "\n".join(lines)[:_ENDING_CHARACTERS_MAX]
    shown = shorten(ran, SHOWN_CHARACTERS_MAX - len(ending) - 1)
    text = "\n".join(part for part in (shown.rstrip("\n"), ending) if part)
    path = None if ran.path_of_rest is None else str(ran.path_of_rest)
    told = Outcome.of(text or "(no output)", detail=Output(shown, ran.status, path))
    return Outcome(told.parts, is_error=ran.status != 0, detail=told.detail, note=ending)


async def _news(background: Background, wait_s: float) -> str:
    try:
        async with asyncio.timeout(wait_s):
            await background.wait()
    except TimeoutError:
        pass
    text = background.read_new().decode(errors="replace")
    if len(text) > SHOWN_CHARACTERS_MAX:
        text = "[…]\n" + text[-SHOWN_CHARACTERS_MAX + 200 :]
    ended = "" if background.status is None else f"\n[ended, exit status {background.status}]"
    return (text.rstrip("\n") + ended).lstrip("\n")


class BashOutput:
    """Read what a background command printed since the last look; write to it; stop it."""

    def __init__(self, running: Running) -> None:
        self._running = running
        fields = {"id": TEXT, "input": TEXT, "stop": FLAG, "wait": COUNT}
        what = "New output of a background command. input: to its stdin. wait: seconds."
        self.spec = spec("BashOutput", what, fields, 1)

    def action(self, arguments: dict[str, Any]) -> Action:
        """Reads of a command that was allowed when it started; what is typed into it was not."""
        return Action(tool="BashOutput", writes=bool(arguments.get("input")))

    async def run(self, use: Use) -> Outcome:
        """Do what was asked, then read."""
        background = self._running.get(str(use.arguments["id"]))
        if background is None:
            known = ", ".join(self._running) or "none"
            return Outcome.error(f"No such background command. There are: {known}.")
        try:
            if use.arguments.get("input"):
                await background.write(str(use.arguments["input"]).encode())
            if use.arguments.get("stop"):
                await background.stop()
        except HeadraceError as error:
            return failed(error)
        wait_s = min(float(use.arguments.get("wait") or _FIRST_OUTPUT_S), _TIMEOUT_S)
        return Outcome.of(await _news(background, wait_s) or "(nothing new; it runs)")
