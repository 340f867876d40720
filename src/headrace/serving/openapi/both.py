"""Paths that OpenAI and Anthropic share, answered in the dialect of whoever asks."""

from typing import Any, Literal

import msgspec

from headrace.edge.openapi import TEXT, Operation, Reply
from headrace.edge.routes import Rule
from headrace.serving.openapi.common import BOTH, EITHER, RESOURCE_FAULTS, place, query
from headrace.wire.openai_files import PURPOSES

_FILE = "/v1/files/{file_id}"


class Model(msgspec.Struct):
    """A model, as OpenAI tells it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(msgspec.Struct):
    """All models, as OpenAI tells it."""

    object: Literal["list"]
    data: list[Model]


class AnthropicModel(msgspec.Struct):
    """A model, as Anthropic tells it."""

    id: str
    type: Literal["model"]
    display_name: str
    created_at: str
    max_input_tokens: int
    max_tokens: int
    capabilities: dict[str, Any]


class AnthropicModels(msgspec.Struct):
    """A page of models, as Anthropic tells it."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


class File(msgspec.Struct):
    """A file, as OpenAI tells it."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]


class Files(msgspec.Struct):
    """A page of files, as OpenAI tells it."""

    object: Literal["list"]
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool


class AnthropicFile(msgspec.Struct):
    """A file, as Anthropic tells it."""

    id: str
    type: Literal["file"]
    filename: str
    mime_type: str
    size_bytes: int
    created_at: str
    expires_at: str | None
    downloadable: bool


class AnthropicFiles(msgspec.Struct):
    """A page of files, as Anthropic tells it."""

    data: list[AnthropicFile]
    has_more: bool
    first_id: str | None
    last_id: str | None
    next_page: str | None


class FileDeleted(msgspec.Struct):
    """What is gone, as OpenAI tells it."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class AnthropicFileDeleted(msgspec.Struct):
    """What is gone, as Anthropic tells it."""

    id: str
    type: Literal["file_deleted"]


_UPLOAD: dict[str, Any] = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The contents."},
        "purpose": {
            "type": "string",
            "enum": sorted(PURPOSES),
            "description": "What for; OpenAI's dialect demands it.",
        },
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3_600},
        "expires_in_seconds": {
            "type": "integer",
            "minimum": 3_600,
            "description": "Anthropic's way to say how long it is kept.",
        },
    },
}


_FILES: dict[str, Any] = {
    "family": "Files",
    "rule": Rule.KEY,
    "faults": RESOURCE_FAULTS,
    "fault": BOTH,
}


def _either(text: str, openai: type, anthropic: type) -> dict[int, Reply]:
    return {200: Reply(text, {"application/json": (openai, anthropic)})}


def operations() -> list[Operation]:
    """Models and files."""
    return [*_models(), *_files(), *_file()]


def _models() -> list[Operation]:
    shared: dict[str, Any] = {
        "family": "Models",
        "rule": Rule.KEY,
        "faults": (400, 404),
        "fault": BOTH,
    }
    page = {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 20}
    return [
        Operation(
            method="GET",
            path="/v1/models",
            name="listModels",
            summary="The models served, in the dialect of whoever asks.",
            parameters=(
                EITHER,
                query("limit", "Anthropic's alone: how many a page may hold.", page),
                query("after_id", "Anthropic's alone: the last model of the page before.", TEXT),
                query("before_id", "Anthropic's alone: the first of the page after.", TEXT),
            ),
            replies=_either("The models.", Models, AnthropicModels),
            **shared,
        ),
        Operation(
            method="GET",
            path="/v1/models/{model}",
            name="getModel",
            summary="One model.",
            parameters=(EITHER, place("model", "Its name, which may contain slashes.")),
            replies=_either("The model.", Model, AnthropicModel),
            **shared,
        ),
    ]


def _files() -> list[Operation]:
    number = {"type": "integer", "minimum": 1, "maximum": 10_000}
    return [
        Operation(
            method="POST",
            path="/v1/files",
            name="uploadFile",
            summary="Upload a file as a form.",
            parameters=(EITHER,),
            body=_UPLOAD,
            media_type="multipart/form-data",
            replies=_either("The file.", File, AnthropicFile),
            **_FILES,
        ),
        Operation(
            method="GET",
            path="/v1/files",
            name="listFiles",
            summary="The caller's files, in the dialect of whoever asks.",
            parameters=(
                EITHER,
                query("limit", "How many a page may hold; Anthropic's at most 1000.", number),
                query("after", "OpenAI's: the last file of the page before.", TEXT),
                query("order", "OpenAI's: by age.", {"enum": ["asc", "desc"]}),
                query("purpose", "OpenAI's: files for this alone.", TEXT),
                query("after_id", "Anthropic's: the last file of the page before.", TEXT),
                query("before_id", "Anthropic's: the first file of the page after.", TEXT),
                query("page", "Anthropic's: `next_page` of the page before.", TEXT),
                query(
                    "ids",
                    "Anthropic's: these files alone.",
                    {"type": "array", "items": TEXT, "maxItems": 100},
                ),
            ),
            replies=_either("A page of files.", Files, AnthropicFiles),
            **_FILES,
        ),
    ]


def _file() -> list[Operation]:
    one = place("file_id", "A file, by either dialect's id.")
    return [
        Operation(
            method="GET",
            path=_FILE,
            name="getFile",
            summary="What is known of a file.",
            parameters=(EITHER, one),
            replies=_either("The file.", File, AnthropicFile),
            **_FILES,
        ),
        Operation(
            method="GET",
            path=f"{_FILE}/content",
            name="getFileContent",
            summary="Its contents.",
            parameters=(EITHER, one),
            replies={200: Reply("The bytes, of the type it came with.", {"*/*": {}})},
            **_FILES,
        ),
        Operation(
            method="DELETE",
            path=_FILE,
            name="deleteFile",
            summary="Delete a file.",
            parameters=(EITHER, one),
            replies=_either("It is gone.", FileDeleted, AnthropicFileDeleted),
            **_FILES,
        ),
    ]
