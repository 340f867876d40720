"""Tools of a Responses request: functions, alone or in namespaces, and the choice of them."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec
from msgspec import Meta

from headrace.core.errors import InvalidRequest
from headrace.core.requests import Tool, ToolChoice

T = TypeVar("T")
Name = Annotated[str, Meta(min_length=1, max_length=128)]

_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}
_HOSTED = (
    "apply_patch",
    "code_interpreter",
    "computer",
    "computer_use_preview",
    "file_search",
    "image_generation",
    "local_shell",
    "mcp",
    "programmatic_tool_calling",
    "shell",
    "tool_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
)

REFUSED_TOOLS = {name: f"The hosted tool '{name}' is not supported." for name in _HOSTED} | {
    "custom": "Custom tools are not supported; use a function tool."
}
"""Types of tools and choices that are known but not supported, and what to say."""


class Read(Protocol):
    """Decodes a part of the body; `where` is the part's path."""

    def __call__(self, raw: msgspec.Raw, decoder: msgspec.json.Decoder[T], where: str) -> T:
        """What `decoder` makes of `raw`."""
        ...


class _Function(msgspec.Struct, tag_field="type", tag="function"):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Namespace(msgspec.Struct, tag_field="type", tag="namespace"):
    name: Name
    tools: list[_Function]
    description: str = ""


class _WebSearch(msgspec.Struct, tag_field="type", tag="web_search"):
    """Coding assistants send it always, so it is left out of the prompt, not refused."""


class FunctionChoice(msgspec.Struct, tag_field="type", tag="function", omit_defaults=True):
    """A tool choice that names one function."""

    name: Name
    namespace: str | None = None


class AllowedChoice(msgspec.Struct, tag_field="type", tag="allowed_tools"):
    """A tool choice that narrows the tools down."""

    mode: Literal["auto", "required"]
    tools: list[FunctionChoice | _WebSearch]


class Toolbox(msgspec.Struct, frozen=True):
    """What the model is told of; `names` leads from a name to (namespace, function).

    `sent` are the tools as the answer repeats them.
    """

    sent: list[_Function | _Namespace | _WebSearch]
    tools: tuple[Tool, ...]
    choice: ToolChoice
    names: dict[str, tuple[str, str]]


_TOOL: msgspec.json.Decoder[_Function | _Namespace | _WebSearch] = msgspec.json.Decoder(
    _Function | _Namespace | _WebSearch
)


def joined(namespace: str | None, name: str) -> str:
    """The one name that the model knows a function by."""
    return f"{namespace}__{name}" if namespace else name


def read_tools(
    raws: Iterable[msgspec.Raw], wire: str | FunctionChoice | AllowedChoice | None, read: Read
) -> Toolbox:
    """The tools, and the choice among them.

    Raises:
        InvalidRequest: A tool has another's name, or the choice names none.
        Unsupported: A tool of a kind that cannot be honoured.
    """
    functions: list[Tool] = []
    names: dict[str, tuple[str, str]] = {}
    sent = [read(raw, _TOOL, f"tools[{at}]") for at, raw in enumerate(raws)]
    for one in sent:
        match one:
            case _Function() as function:
                functions.append(_tool(function, None))
            case _Namespace() as namespace:
                functions += [_tool(each, namespace) for each in namespace.tools]
                names |= {
                    joined(namespace.name, each.name): (namespace.name, each.name)
                    for each in namespace.tools
                }
            case _WebSearch():
                pass
    tools = {tool.name: tool for tool in functions}
    if len(tools) != len(functions):
        raise InvalidRequest("tools: Tool names must be unique", param="tools")
    choice, chosen = _choice(wire, tools, names)
    if chosen is not None and choice.mode != "named":
        tools = {name: tool for name, tool in tools.items() if name in chosen}
    if choice.mode == "required" and not tools:
        raise InvalidRequest("tool_choice: There are no `tools` to call", param="tool_choice")
    return Toolbox(sent, tuple(tools.values()), choice, names)


def _tool(wire: _Function, namespace: _Namespace | None) -> Tool:
    description = wire.description or ""
    # A namespace's own description is told once, with its first function.
    if namespace is not None and namespace.description and wire is namespace.tools[0]:
        description = f"{namespace.description}\n\n{description}".rstrip()
    return Tool(
        joined(namespace and namespace.name, wire.name),
        _NO_PARAMETERS if wire.parameters is None else wire.parameters,
        description,
        bool(wire.strict),
    )


def _choice(
    wire: str | FunctionChoice | AllowedChoice | None,
    tools: dict[str, Tool],
    names: dict[str, tuple[str, str]],
) -> tuple[ToolChoice, list[str] | None]:
    """The choice, and the names it speaks of where it does."""
    match wire:
        case None | "auto":
            return ToolChoice(), None
        case "none":
            return ToolChoice("none"), None
        case "required":
            return ToolChoice("required"), None
        case FunctionChoice():
            name = _find(wire, tools, names)
            return ToolChoice("named", name), [name]
        case AllowedChoice():
            allowed = [one for one in wire.tools if isinstance(one, FunctionChoice)]
            return ToolChoice(wire.mode), [_find(one, tools, names) for one in allowed]
        case _:
            raise InvalidRequest(
                "tool_choice: Expected 'none', 'auto', 'required' or an object",
                param="tool_choice",
            )


def _find(choice: FunctionChoice, tools: dict[str, Tool], names: dict[str, tuple[str, str]]) -> str:
    """The name of the chosen tool; without a namespace, that of the only one it can mean."""
    name = joined(choice.namespace, choice.name)
    if name in tools:
        return name
    meant = [full for full, (_, short) in names.items() if short == choice.name]
    if choice.namespace is None and len(meant) == 1:
        return meant[0]
    raise InvalidRequest(f"tool_choice: No tool named '{name}'", param="tool_choice")
