"""Chat Completions requests from the wire: `decode_request`."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from headrace.core.errors import InvalidRequest, Unsupported
from headrace.core.messages import Document, Image, Message, Part, Text, Thinking, ToolCall
from headrace.core.messages import ToolResult as Result
from headrace.core.requests import OutputFormat, Request, Sampling, Tool, ToolChoice
from headrace.wire import content, strict_json

IGNORED_FIELDS = frozenset(
    {
        "metadata",  # labels for the caller's own books
        "prediction",  # speeds up, never changes the answer
        "prompt_cache_key",  # the prefix cache finds its own keys
        "prompt_cache_options",
        "prompt_cache_retention",
        "service_tier",  # there is one tier
        "verbosity",  # advice that models served here were not trained on
    }
)
"""Top-level fields that are accepted and change nothing, each for a reason.

Inside messages the same holds for `name` (models are not told who speaks), an image's
`detail` and cache breakpoints; in `stream_options` for `include_obfuscation`.
"""

REFUSED_FIELDS = {
    "audio": "Audio output is not supported.",
    "function_call": "Use `tool_choice` instead of `function_call`.",
    "functions": "Use `tools` instead of `functions`.",
    "moderation": "Moderation results are not supported.",
    "web_search_options": "Web search is not supported.",
}
"""Top-level fields that would change the answer and cannot be honoured, and what to say."""

_REFUSED_TAGS = {
    "custom": "Custom tools are not supported; use a function tool.",
    "function": "Messages of role `function` are not supported; use role `tool`.",
    "input_audio": "Audio input is not supported.",
    "input_video": "Video input is not supported.",
    "video_url": "Video input is not supported.",
}

_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


class Decoded(msgspec.Struct, frozen=True):
    """A request, and how the caller wants to be answered."""

    request: Request
    stream: bool
    include_usage: bool


class _TextPart(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class _RefusalPart(msgspec.Struct, tag_field="type", tag="refusal"):
    refusal: str


class _ImageUrl(msgspec.Struct):
    url: str


class _ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    image_url: _ImageUrl


class _File(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _FilePart(msgspec.Struct, tag_field="type", tag="file"):
    file: _File


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct, tag_field="type", tag="function"):
    id: str
    function: _CalledFunction


class _System(msgspec.Struct, tag_field="role", tag="system"):
    content: str | list[_TextPart]


class _Developer(msgspec.Struct, tag_field="role", tag="developer"):
    content: str | list[_TextPart]


class _User(msgspec.Struct, tag_field="role", tag="user"):
    content: str | list[_TextPart | _ImagePart | _FilePart]


class _Assistant(msgspec.Struct, tag_field="role", tag="assistant"):
    content: str | list[_TextPart | _RefusalPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: Any = None
    audio: Any = None


class _ToolMessage(msgspec.Struct, tag_field="role", tag="tool"):
    content: str | list[_TextPart | _ImagePart]
    tool_call_id: str


class _FunctionDefinition(msgspec.Struct):
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct, tag_field="type", tag="function"):
    function: _FunctionDefinition


class _Named(msgspec.Struct):
    name: str


class _NamedChoice(msgspec.Struct, tag_field="type", tag="function"):
    function: _Named


class _AllowedTool(msgspec.Struct, tag_field="type", tag="function"):
    function: _Named


class _Allowed(msgspec.Struct):
    mode: Literal["auto", "required"]
    tools: list[_AllowedTool]


class _AllowedChoice(msgspec.Struct, tag_field="type", tag="allowed_tools"):
    allowed_tools: _Allowed


class _TextFormat(msgspec.Struct, tag_field="type", tag="text"):
    pass


class _JsonObjectFormat(msgspec.Struct, tag_field="type", tag="json_object"):
    pass


class _JsonSchema(msgspec.Struct):
    name: str
    schema: dict[str, Any]
    strict: bool | None = None


class _JsonSchemaFormat(msgspec.Struct, tag_field="type", tag="json_schema"):
    json_schema: _JsonSchema


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_Penalty = Annotated[float, Meta(ge=-2, le=2)] | None
_Count = Annotated[int, Meta(ge=1)] | None
_StopText = Annotated[str, Meta(min_length=1)]
_AnyMessage = _System | _Developer | _User | _Assistant | _ToolMessage


class _Body(msgspec.Struct, kw_only=True):
    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[_AnyMessage], Meta(min_length=1)]
    audio: Any = None
    frequency_penalty: _Penalty = None
    function_call: Any = None
    functions: Any = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    max_completion_tokens: _Count = None
    max_tokens: _Count = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    modalities: list[str] | None = None
    moderation: Any = None
    n: int | None = None
    parallel_tool_calls: bool | None = None
    presence_penalty: _Penalty = None
    reasoning_effort: str | None = None
    response_format: _TextFormat | _JsonObjectFormat | _JsonSchemaFormat | None = None
    safety_identifier: str | None = None
    seed: Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)] | None = None
    stop: _StopText | list[_StopText] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    tool_choice: str | _NamedChoice | _AllowedChoice | None = None
    tools: list[_Tool] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    user: str | None = None
    web_search_options: Any = None


_BODY = msgspec.json.Decoder(_Body)


def decode_request(body: bytes, *, depth_max: int = strict_json.DEPTH_MAX) -> Decoded:
    """Read the body of POST /v1/chat/completions.

    Fields that nobody knows are passed over; of the known ones each is honoured, listed in
    IGNORED_FIELDS, or refused. `reasoning_content`, `top_k` and `min_p` are taken as other
    local servers take them. Tool messages that follow one another become one user message of
    tool results.

    Raises:
        InvalidRequest: It is not a request; `param` names the field.
        Unsupported: It asks for what cannot be honoured.
        TooLarge: It is nested deeper than `depth_max`.
    """
    wire = strict_json.decode(body, _BODY, depth_max=depth_max, refused=_REFUSED_TAGS)
    _refuse(wire)
    tools, choice = _tools(wire)
    request = Request(
        model=wire.model,
        messages=_messages(wire.messages),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=wire.parallel_tool_calls is not False,
        max_tokens=wire.max_completion_tokens or wire.max_tokens,
        stop=(wire.stop,) if isinstance(wire.stop, str) else tuple(wire.stop or ()),
        sampling=Sampling(
            temperature=wire.temperature,
            top_p=wire.top_p,
            top_k=wire.top_k,
            min_p=wire.min_p,
            frequency_penalty=wire.frequency_penalty,
            presence_penalty=wire.presence_penalty,
            seed=wire.seed,
            logit_bias=wire.logit_bias,
        ),
        output_format=_output_format(wire),
        logprobs=_logprobs(wire),
        thinking=None if wire.reasoning_effort is None else wire.reasoning_effort != "none",
        end_user=wire.user if wire.safety_identifier is None else wire.safety_identifier,
    )
    options = wire.stream_options
    return Decoded(request, bool(wire.stream), bool(options and options.include_usage))


def _refuse(wire: _Body) -> None:
    for name, why in REFUSED_FIELDS.items():
        if getattr(wire, name) is not None:
            raise Unsupported(f"{name}: {why}", param=name)
    if wire.n is not None and wire.n != 1:
        if wire.n < 1:
            raise InvalidRequest("n: Expected a number of at least 1", param="n")
        raise Unsupported("n: Only one choice per request is supported.", param="n")
    if wire.store:
        raise Unsupported("store: Completions are not stored.", param="store")
    if any(modality != "text" for modality in wire.modalities or ()):
        raise Unsupported("modalities: Only text output is supported.", param="modalities")


def _logprobs(wire: _Body) -> int | None:
    if wire.logprobs:
        return wire.top_logprobs or 0
    if wire.top_logprobs:
        raise InvalidRequest(
            "top_logprobs: Only allowed when `logprobs` is true", param="top_logprobs"
        )
    return None


def _output_format(wire: _Body) -> OutputFormat | None:
    match wire.response_format:
        case _JsonSchemaFormat(json_schema=schema):
            return OutputFormat(schema.schema, schema.name, bool(schema.strict))
        case _JsonObjectFormat():
            return OutputFormat()
        case _:
            return None


def _tools(wire: _Body) -> tuple[tuple[Tool, ...], ToolChoice]:
    tools = {
        tool.function.name: Tool(
            tool.function.name,
            _NO_PARAMETERS if tool.function.parameters is None else tool.function.parameters,
            tool.function.description or "",
            bool(tool.function.strict),
        )
        for tool in wire.tools or ()
    }
    if len(tools) != len(wire.tools or ()):
        raise InvalidRequest("tools: Tool names must be unique", param="tools")
    choice, names = _tool_choice(wire.tool_choice)
    if missing := [name for name in names or () if name not in tools]:
        raise InvalidRequest(f"tool_choice: No tool named '{missing[0]}'", param="tool_choice")
    if choice.mode == "required" and not tools:
        raise InvalidRequest("tool_choice: There are no `tools` to call", param="tool_choice")
    if names is not None and choice.mode != "named":
        tools = {name: tool for name, tool in tools.items() if name in names}
    return tuple(tools.values()), choice


def _tool_choice(
    wire: str | _NamedChoice | _AllowedChoice | None,
) -> tuple[ToolChoice, list[str] | None]:
    """The choice, and the names it speaks of where it does."""
    match wire:
        case None | "auto":
            return ToolChoice(), None
        case "none":
            return ToolChoice("none"), None
        case "required":
            return ToolChoice("required"), None
        case _NamedChoice(function=function):
            return ToolChoice("named", function.name), [function.name]
        case _AllowedChoice(allowed_tools=allowed):
            return ToolChoice(allowed.mode), [tool.function.name for tool in allowed.tools]
        case _:
            raise InvalidRequest(
                "tool_choice: Expected 'none', 'auto', 'required' or an object",
                param="tool_choice",
            )


def _messages(wire: list[_AnyMessage]) -> tuple[Message, ...]:
    messages: list[Message] = []
    results: list[Part] = []
    for number, item in enumerate(wire):
        where = f"messages[{number}]"
        if isinstance(item, _ToolMessage):
            results.append(Result(item.tool_call_id, _result_parts(item, where)))
            continue
        if results:
            messages.append(Message("user", tuple(results)))
            results = []
        messages.append(_message(item, where))
    if results:
        messages.append(Message("user", tuple(results)))
    return tuple(messages)


def _message(item: _System | _Developer | _User | _Assistant, where: str) -> Message:
    match item:
        case _System():
            return Message("system", _text_parts(item.content))
        case _Developer():
            return Message("developer", _text_parts(item.content))
        case _Assistant():
            return Message("assistant", _assistant_parts(item, where))
        case _User():
            return Message("user", _user_parts(item, where))


def _text_parts(wire: str | list[_TextPart]) -> tuple[Text, ...]:
    if isinstance(wire, str):
        return (Text(wire),) if wire else ()
    return tuple(Text(part.text) for part in wire)


def _user_parts(item: _User, where: str) -> tuple[Part, ...]:
    if isinstance(item.content, str):
        return _text_parts(item.content)
    parts: list[Part] = []
    for number, part in enumerate(item.content):
        at = f"{where}.content[{number}]"
        match part:
            case _TextPart():
                parts.append(Text(part.text))
            case _ImagePart():
                parts.append(content.image_from_url(part.image_url.url, f"{at}.image_url.url"))
            case _FilePart():
                parts.append(_document(part.file, f"{at}.file"))
    return tuple(parts)


def _document(file: _File, at: str) -> Document:
    if file.file_data is None:
        if file.file_id is not None:
            raise Unsupported(
                f"{at}.file_id: Uploaded files are not supported; send `file_data`.",
                param=f"{at}.file_id",
            )
        raise InvalidRequest(f"{at}.file_data: Field required", param=f"{at}.file_data")
    param = f"{at}.file_data"
    media_type, data = content.parse_data_url(file.file_data, param)
    return content.document_from_base64(data, media_type, file.filename, param)


def _assistant_parts(item: _Assistant, where: str) -> tuple[Part, ...]:
    for name in ("function_call", "audio"):
        if getattr(item, name) is not None:
            param = f"{where}.{name}"
            raise Unsupported(f"{param}: Not supported; use `tool_calls` and text", param=param)
    reasoning = item.reasoning_content or item.reasoning
    parts: list[Part] = [Thinking(reasoning)] if reasoning else []
    if isinstance(item.content, list):
        parts += [
            Text(part.text if isinstance(part, _TextPart) else part.refusal)
            for part in item.content
        ]
    else:
        parts += _text_parts(item.content or item.refusal or "")
    parts += [
        ToolCall(call.id, call.function.name, call.function.arguments)
        for call in item.tool_calls or ()
    ]
    return tuple(parts)


def _result_parts(item: _ToolMessage, where: str) -> tuple[Text | Image, ...]:
    if isinstance(item.content, str):
        return _text_parts(item.content)
    return tuple(
        Text(part.text)
        if isinstance(part, _TextPart)
        else content.image_from_url(part.image_url.url, f"{where}.content[{number}].image_url.url")
        for number, part in enumerate(item.content)
    )
