"""AskUserQuestion: a question that only the user can answer."""

from typing import Any

from headrace.agent.progress import Human
from headrace.agent.tools import Outcome, Use
from headrace.code.tools.parts import TEXT, spec
from headrace.safety.actions import Action


class AskUserQuestion:
    """Ask the user, with options to choose from or none."""

    def __init__(self, human: Human) -> None:
        self._human = human
        fields = {"question": TEXT, "options": {"type": "array", "items": TEXT}}
        self.spec = spec("AskUserQuestion", "Ask the user, if you cannot find out.", fields, 1)

    def action(self, arguments: dict[str, Any]) -> Action:
        """Touches nothing."""
        del arguments
        return Action(tool="AskUserQuestion")

    async def run(self, use: Use) -> Outcome:
        """What the user said."""
        options = tuple(str(option) for option in use.arguments.get("options") or ())
        answer = await self._human.choose(str(use.arguments["question"]), options)
        return Outcome.of(answer or "(no answer)")
