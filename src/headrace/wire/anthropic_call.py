"""Messages requests to the wire: `encode_request`."""

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
from headrace.core.requests import OutputFormat, Request, Tool
from headrace.wire import content

MAX_TOKENS_DEFAULT = 32_000
"""Stands for "as many as fit", which the dialect cannot say: it requires a number."""

_CHOICES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}


def encode_request(
    request: Request, *, stream: bool, max_tokens_default: int = MAX_TOKENS_DEFAULT
) -> bytes:
    """Write the body of POST /v1/messages.

    A system message at the head becomes `system`; later ones stay in their place.

    Raises:
        Unsupported: A message holds a part that its role cannot carry in Messages and that
            would be missed; what is merely lost stands in LOSSES.
    """
    messages = request.messages
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens or max_tokens_default,
        "stream": stream,
    }
    at = 0
    if messages and messages[0].role in {"system", "developer"}:
        body["system"] = _content(messages[0].parts, "system", "system")
        at = 1
    body["messages"] = [_message(one, f"messages.{at}") for at, one in enumerate(messages[at:])]
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        body["tool_choice"] = _tool_choice(request)
    sampling = request.sampling
    body |= {
        "stop_sequences": list(request.stop) or None,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "output_config": _output_config(request.output_format),
        "thinking": {None: None, True: {"type": "adaptive"}, False: {"type": "disabled"}}[
            request.thinking
        ],
        "metadata": None if request.end_user is None else {"user_id": request.end_user},
    }
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})


def _tool(tool: Tool) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters}
    if tool.description:
        wire["description"] = tool.description
    if tool.strict:
        wire["strict"] = True
    return wire


def _tool_choice(request: Request) -> dict[str, Any]:
    choice: dict[str, Any] = {"type": _CHOICES[request.tool_choice.mode]}
    if request.tool_choice.mode == "named":
        choice["name"] = request.tool_choice.name
    if request.tool_choice.mode != "none":
        choice["disable_parallel_tool_use"] = not request.parallel_tool_calls
    return choice


def _output_config(form: OutputFormat | None) -> dict[str, Any] | None:
    if form is None:
        return None
    schema = {"type": "object"} if form.schema is None else form.schema
    return {"format": {"type": "json_schema", "schema": schema}}


def _message(message: Message, at: str) -> dict[str, Any]:
    role = "system" if message.role == "developer" else message.role
    return {"role": role, "content": _content(message.parts, role, f"{at}.content")}


def _content(parts: tuple[Part, ...], role: str, at: str) -> str | list[dict[str, Any]]:
    match parts:
        case (Text(text=text),) if text:
            return text
        case _:
            return [_block(part, role, f"{at}.{number}") for number, part in enumerate(parts)]


def _block(part: Part, role: str, at: str) -> dict[str, Any]:
    match part, role:
        case Text(), _:
            return {"type": "text", "text": part.text}
        case (Image(), "user" | "tool") | (Document(), "user" | "tool" | "assistant"):
            return _image(part) if isinstance(part, Image) else _document(part)
        case ToolResult(), "user":
            wire: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.call_id}
            if part.parts:
                wire["content"] = _content(part.parts, "tool", f"{at}.content")
            return wire | ({"is_error": True} if part.is_error else {})
        case Thinking(redacted=str() as data), "assistant":
            return {"type": "redacted_thinking", "data": data}
        case Thinking(), "assistant":
            signature = part.signature or ""
            return {"type": "thinking", "thinking": part.text, "signature": signature}
        case ToolCall(), "assistant":
            arguments = content.arguments_object(part.arguments)
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments}
        case _:
            kind = type(part).__name__
            what = f"{at}: A message of role {role} cannot carry this {kind}"
            raise Unsupported(what, param=at)


def _image(image: Image) -> dict[str, Any]:
    if image.url is not None:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    media_type = image.media_type or "image/png"
    source = {"type": "base64", "media_type": media_type, "data": image.data or ""}
    return {"type": "image", "source": source}


def _document(document: Document) -> dict[str, Any]:
    if document.data is not None:
        media_type = document.media_type or "application/pdf"
        source = {"type": "base64", "media_type": media_type, "data": document.data}
    elif document.text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": document.text}
    else:
        source = {"type": "url", "url": document.url or ""}
    wire: dict[str, Any] = {"type": "document", "source": source}
    if document.title is not None:
        wire["title"] = document.title
    return wire
