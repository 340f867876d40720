"""Screen: the face of a session in a terminal."""

from headrace.agent.progress import Reply
from headrace.code.screen.actions import Build
from headrace.core.decisions import Ask
from headrace.core.messages import ToolCall
from headrace.safety.actions import Action


class Screen:
    """An inline screen: it draws a few lines at the bottom, what is finished scrolls up.

    It is the session's `Human`. Used as
    `asyncio.run(Screen().run(build))`; the exit status comes back.
    """

    async def run(self, build: Build, first_words: str | None = None) -> int:
        """Talk until the person leaves; returns the exit status."""
        raise NotImplementedError

    async def may(self, call: ToolCall, action: Action, ask: Ask) -> Reply:
        """Ask whether a call may run."""
        raise NotImplementedError

    async def choose(self, question: str, options: tuple[str, ...]) -> str:
        """Ask the model's question."""
        raise NotImplementedError
