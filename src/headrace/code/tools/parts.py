"""What all tools share: how they are described, and how errors become outcomes."""

from collections.abc import Callable, Mapping
from typing import Any

from headrace.agent.tools import Outcome
from headrace.core import requests
from headrace.core.errors import HeadraceError
from headrace.safety.files import Workspace

Field = dict[str, Any]
MayRead = Callable[[str], bool]

TEXT: Field = {"type": "string"}
COUNT: Field = {"type": "integer"}
FLAG: Field = {"type": "boolean"}


def spec(name: str, description: str, fields: Mapping[str, Field], required: int) -> requests.Tool:
    """A tool's description; the first `required` fields must be given."""
    parameters = {"type": "object", "properties": dict(fields), "required": [*fields][:required]}
    return requests.Tool(name, parameters, description)


def failed(error: HeadraceError) -> Outcome:
    """An error as the model is told of it."""
    hint = f" ({error.hint})" if error.hint else ""
    return Outcome.error(f"{error.message}{hint}")


def path_in(workspace: Workspace, arguments: Mapping[str, Any], name: str = "file_path") -> str:
    """The absolute path that a call names, for rules and the screen; the root where it is left out.

    Raises:
        InvalidRequest: It is no path.
    """
    return workspace.absolute(str(arguments.get(name) or "."))
