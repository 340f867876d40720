"""TodoWrite: the model's own list, shown to people."""

from typing import Any

from headrace.agent.tools import Outcome, Todo, Todos, Use
from headrace.code.tools.parts import TEXT, spec
from headrace.safety.actions import Action

_STATES = ("pending", "in_progress", "completed")


class TodoWrite:
    """Replace the list."""

    def __init__(self) -> None:
        item = {
            "type": "object",
            "properties": {"content": TEXT, "status": {"enum": [*_STATES]}},
            "required": ["content", "status"],
        }
        fields = {"todos": {"type": "array", "items": item}}
        self.spec = spec("TodoWrite", "Set the whole todo list, for work of many steps.", fields, 1)

    def action(self, arguments: dict[str, Any]) -> Action:
        """Touches nothing."""
        del arguments
        return Action(tool="TodoWrite")

    async def run(self, use: Use) -> Outcome:
        """Keep it in the conversation."""
        items = tuple(
            Todo(str(item["content"]), str(item["status"])) for item in use.arguments["todos"]
        )
        left = sum(item.state != "completed" for item in items)
        return Outcome.of(f"Kept, {left} left to do.", detail=Todos(items))
