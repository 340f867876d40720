"""Small GGUF files, right or wrong at will."""

import struct
from collections.abc import Mapping, Sequence

import msgspec

Value = int | str | bool | float | Sequence[int] | Sequence[str]

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
)
TOKENS = ("<unk>", "<|im_start|>", "<|im_end|>", "hello", " world", "<tool_call>", "\n\n")
_TYPES = (2, 3, 3, 1, 1, 4, 4)


class Tensor(msgspec.Struct, frozen=True):
    """A tensor's entry; its bytes are not checked against it."""

    name: str
    dimensions: tuple[int, ...]
    kind: int = 0
    offset: int = 0


def text(value: str) -> bytes:
    """A string as GGUF writes it."""
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def typed(value: Value) -> bytes:
    """A value behind its type."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if all(isinstance(item, str) for item in value):
        items = b"".join(text(str(item)) for item in value)
        return struct.pack("<IIQ", 9, 8, len(value)) + items
    items = struct.pack(f"<{len(value)}i", *value)
    return struct.pack("<IIQ", 9, 5, len(value)) + items


def entries(**more: Value) -> dict[str, Value]:
    """The metadata of a small llama, with `more` in place or besides (`__` stands for a dot)."""
    usual: dict[str, Value] = {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "general.license": "mit",
        "general.file_type": 0,
        "llama.context_length": 512,
        "llama.block_count": 2,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 128,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": _TYPES,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": TEMPLATE,
    }
    return usual | {name.replace("__", "."): value for name, value in more.items()}


def build(
    metadata: Mapping[str, Value] | None = None,
    tensors: Sequence[Tensor] = (Tensor("token_embd.weight", (64, 7)),),
    *,
    version: int = 3,
    data_bytes: int | None = None,
) -> bytes:
    """A whole file: header, and zeros for the tensors (F32, one behind the other)."""
    metadata = entries() if metadata is None else metadata
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    header += b"".join(text(key) + typed(value) for key, value in metadata.items())
    end = 0
    for tensor in tensors:
        rank = len(tensor.dimensions)
        header += text(tensor.name) + struct.pack(f"<I{rank}Q", rank, *tensor.dimensions)
        header += struct.pack("<IQ", tensor.kind, tensor.offset)
        count = 1
        for dimension in tensor.dimensions:
            count *= dimension
        end = max(end, tensor.offset + 4 * count)
    header += b"\0" * (-len(header) % 32)
    return header + b"\0" * (end if data_bytes is None else data_bytes)
