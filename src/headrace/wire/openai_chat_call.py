"""Chat Completions requests to the wire: `encode_request`."""

import base64
from typing import Any

import msgspec

from headrace.core.errors import Unsupported
from headrace.core.messages import (
    Document,
    Image,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from headrace.core.requests import OutputFormat, Request, ToolChoice
from headrace.wire import content


def encode_request(request: Request, *, stream: bool) -> bytes:
    """Write the body of POST /v1/chat/completions. A stream is asked to end with its usage.

    Raises:
        Unsupported: A message holds a part that Chat Completions cannot carry and that would
            be missed; what is merely lost stands in LOSSES.
    """
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [
            wire
            for number, message in enumerate(request.messages)
            for wire in _messages(message, f"messages[{number}]")
        ],
        "stream": stream,
    }
    if stream:
        body["stream_options"] = {"include_usage": True}
    body |= _tools(request)
    body |= {
        "max_completion_tokens": request.max_tokens,
        "stop": list(request.stop) or None,
        "response_format": _response_format(request.output_format),
        "logprobs": None if request.logprobs is None else True,
        "top_logprobs": request.logprobs or None,
        "reasoning_effort": {None: None, True: "medium", False: "none"}[request.thinking],
        "user": request.end_user,
    }
    body |= msgspec.structs.asdict(request.sampling)
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})


def _tools(request: Request) -> dict[str, Any]:
    if not request.tools:
        return {}
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                "strict": tool.strict,
            },
        }
        for tool in request.tools
    ]
    return {
        "tools": tools,
        "tool_choice": _tool_choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tool_calls,
    }


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _response_format(form: OutputFormat | None) -> dict[str, Any] | None:
    if form is None:
        return None
    if form.schema is None:
        return {"type": "json_object"}
    schema = {"name": form.name, "schema": form.schema, "strict": form.strict}
    return {"type": "json_schema", "json_schema": schema}


def _messages(message: Message, where: str) -> list[dict[str, Any]]:
    if message.role == "assistant":
        return [_assistant(message, where)]
    results = [
        {"role": "tool", "tool_call_id": part.call_id, "content": _content(part.parts, where)}
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
    if results and not rest:
        return results
    return [*results, {"role": message.role, "content": _content(rest, where)}]


def _assistant(message: Message, where: str) -> dict[str, Any]:
    texts: list[Part] = []
    calls: list[dict[str, Any]] = []
    reasoning = ""
    for part in message.parts:
        match part:
            case Thinking():
                reasoning += part.text
            case ToolCall():
                function = {"name": part.name, "arguments": part.arguments}
                calls.append({"id": part.id, "type": "function", "function": function})
            case Text():
                texts.append(part)
            case _:
                raise _cannot_carry(part, where)
    wire: dict[str, Any] = {"role": "assistant", "content": _content(tuple(texts), where) or None}
    if reasoning:
        wire["reasoning_content"] = reasoning
    if calls:
        wire["tool_calls"] = calls
    return wire


def _content(parts: tuple[Part, ...], where: str) -> str | list[dict[str, Any]]:
    match parts:
        case ():
            return ""
        case (Text(text=text),) if text:
            return text
        case _:
            return [_part(part, where) for part in parts]


def _part(part: Part, where: str) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            return {"type": "image_url", "image_url": {"url": content.image_to_url(part)}}
        case Document() if part.url is None:
            return {"type": "file", "file": _file(part)}
        case _:
            raise _cannot_carry(part, where)


def _file(document: Document) -> dict[str, str]:
    if document.data is not None:
        url = content.data_url(document.media_type or "application/pdf", document.data)
    else:
        data = base64.b64encode((document.text or "").encode()).decode()
        url = content.data_url(document.media_type or "text/plain", data)
    return {"file_data": url, "filename": document.title or "document"}


def _cannot_carry(part: Part, where: str) -> Unsupported:
    kind = type(part).__name__
    return Unsupported(f"{where}: Chat Completions cannot carry this {kind}", param=where)
