"""Read the header of a GGUF file, and trust nothing in it.

Every size is checked against the file's size and against a limit before it is used, so a
header can neither crash the reader nor make it allocate much. Tensors are never loaded; that
each of them lies within the file is checked, which finds files cut short.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from headrace.catalog.gguf_types import FILE_TYPES, TENSOR_TYPES
from headrace.core.errors import CatalogError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_HEADER_BYTES_MAX = 256 * 1024 * 1024
_ENTRIES_MAX = 65_536
_TENSORS_MAX = 65_536
_KEY_BYTES_MAX = 256
_STRING_BYTES_MAX = 4 * 1024 * 1024
_KEPT_BYTES_MAX = 8 * 1024 * 1024
_SPECIAL_BYTES_MAX = 1_024
_SPECIALS_MAX = 65_536
_ARRAY_ITEMS_MAX = 4 * 1024 * 1024
_KEPT_ITEMS_MAX = 4_096
_ARRAY_DEPTH_MAX = 3
_DIMENSIONS_MAX = 4
_ELEMENTS_MAX = 1 << 48
_ALIGNMENT_MAX = 1 << 20

_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32, _U64 = _SCALARS[4], _SCALARS[10]
_TOKENS, _TOKEN_TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_UNKNOWN_TOKEN, _CONTROL_TOKEN, _USER_DEFINED_TOKEN = 2, 3, 4
_SPECIAL_TYPES = frozenset((_UNKNOWN_TOKEN, _CONTROL_TOKEN, _USER_DEFINED_TOKEN))
_SPECIAL_ID_KEYS = ("bos", "eos", "eot", "eom", "separator", "padding", "cls", "mask")

_Value = int | float | bool | str | tuple[int, ...]


class Gguf(msgspec.Struct, frozen=True, kw_only=True):
    """What the header of a model file says. Counts are 0 and texts None where it says nothing.

    `kv_bytes_per_token` is the size of keys and values of one token over all layers, at two
    bytes a number. `active_parameters` are those one token passes through: all of them, or in
    a mixture of experts the shared ones and those of the experts used.
    """

    version: int
    architecture: str
    name: str | None
    licence: str | None
    licence_url: str | None
    context_tokens: int
    layers: int
    embedding_length: int
    feed_forward_length: int
    heads: int
    kv_heads: int
    experts: int
    experts_used: int
    pooled: bool
    kv_bytes_per_token: int
    quantisation: str
    parameters: int
    active_parameters: int
    vocabulary_tokens: int
    chat_template: str | None
    special_tokens: tuple[str, ...]


def read_gguf(path: Path) -> Gguf:
    """Read and check the header of the model file at `path`.

    Raises:
        CatalogError: It is not a GGUF file that this release reads, or it is damaged.
    """
    try:
        with path.open("rb") as file:
            name = path.name.removesuffix(".partial")
            return _parse(_Reader(file, name, path.stat().st_size))
    except OSError as error:
        raise CatalogError(f"cannot read {path}: {error.strerror or error}") from None


class _Reader:
    """Reads little-endian values and never past the end of the file."""

    def __init__(self, file: BinaryIO, name: str, size_bytes: int) -> None:
        self._file = file
        self.name = name
        self.size_bytes = size_bytes
        self.position = 0
        self._end = min(size_bytes, _HEADER_BYTES_MAX)

    def broken(self, why: str) -> CatalogError:
        return CatalogError(
            f"{self.name} is not a whole GGUF model: {why}",
            hint="the file is cut short, altered or no model; fetch it again",
        )

    def _expect(self, count: int) -> None:
        if count > self._end - self.position:
            raise self.broken(
                f"{count:,} bytes are announced at byte {self.position:,} of {self._end:,}"
            )

    def take(self, count: int) -> bytes:
        self._expect(count)
        data = self._file.read(count)
        if len(data) != count:
            raise self.broken(f"it ends at byte {self.position + len(data):,}")
        self.position += count
        return data

    def skip(self, count: int) -> None:
        self._expect(count)
        self.position += count
        self._file.seek(self.position)

    def go_to(self, position: int) -> None:
        self.position = position
        self._file.seek(position)

    def u32(self) -> int:
        return _U32.unpack(self.take(4))[0]

    def u64(self) -> int:
        return _U64.unpack(self.take(8))[0]

    def length(self, limit: int, what: str) -> int:
        value = self.u64()
        if value > limit:
            raise self.broken(f"{what} of {value:,} is over the limit of {limit:,}")
        return value

    def key(self) -> str:
        raw = self.take(self.length(_KEY_BYTES_MAX, "a name length"))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self.broken("a name is not UTF-8") from None

    def text(self) -> str:
        raw = self.take(self.length(_STRING_BYTES_MAX, "a text length"))
        return raw.decode(errors="replace")

    def skip_text(self) -> None:
        self.skip(self.length(_STRING_BYTES_MAX, "a text length"))


class _Header:
    """The key-value part, kept as far as it is wanted."""

    def __init__(self, reader: _Reader) -> None:
        self.values: dict[str, _Value] = {}
        self.tokens_at: tuple[int, int] | None = None
        self.token_types = b""
        self._reader = reader
        self._seen: set[str] = set()
        self._kept_bytes = 0

    def read_entry(self) -> None:
        reader = self._reader
        key, kind = reader.key(), reader.u32()
        if key in self._seen:
            raise reader.broken(f"the entry {key!r} stands twice")
        self._seen.add(key)
        if kind == _ARRAY:
            self._read_array(key)
        elif kind == _STRING and _is_wanted(key):
            self._keep_text(key)
        elif kind == _STRING:
            reader.skip_text()
        elif kind in _SCALARS:
            shape = _SCALARS[kind]
            self.values[key] = shape.unpack(reader.take(shape.size))[0]
        else:
            raise reader.broken(f"the entry {key!r} has the unknown type {kind}")

    def _keep_text(self, key: str) -> None:
        text = self._reader.text()
        self._kept_bytes += len(text)
        if self._kept_bytes > _KEPT_BYTES_MAX:
            raise self._reader.broken(f"its texts are over the limit of {_KEPT_BYTES_MAX:,} bytes")
        self.values[key] = text

    def _read_array(self, key: str) -> None:
        reader = self._reader
        kind, count = reader.u32(), reader.length(_ARRAY_ITEMS_MAX, "an array length")
        if key == _TOKENS and kind == _STRING:
            self.tokens_at = (reader.position, count)
        if key == _TOKEN_TYPES and kind in {4, 5}:
            self.token_types = reader.take(4 * count)
        elif kind in _SCALARS and count <= _KEPT_ITEMS_MAX and _is_wanted(key):
            shape = _SCALARS[kind]
            raw = reader.take(shape.size * count)
            self.values[key] = tuple(int(item[0]) for item in shape.iter_unpack(raw))
        else:
            self._skip_items(kind, count, _ARRAY_DEPTH_MAX)

    def _skip_items(self, kind: int, count: int, depth: int) -> None:
        reader = self._reader
        if kind in _SCALARS:
            reader.skip(_SCALARS[kind].size * count)
        elif kind == _STRING:
            for _ in range(count):
                reader.skip_text()
        elif kind == _ARRAY and depth > 1:
            for _ in range(count):
                inner = reader.u32()
                self._skip_items(inner, reader.length(_ARRAY_ITEMS_MAX, "an array"), depth - 1)
        else:
            raise reader.broken(f"an array holds the unknown type {kind}")

    def number(self, key: str) -> int:
        """A whole number, the largest of several; 0 where there is none."""
        value = self.values.get(key, 0)
        if isinstance(value, tuple):
            return max(value, default=0)
        return value if isinstance(value, int) and value >= 0 else 0

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return value if isinstance(value, str) and value else None


def _is_wanted(key: str) -> bool:
    if key == "tokenizer.chat_template" or key.startswith("general."):
        return True
    return key.endswith((".head_count_kv", ".feed_forward_length", ".head_count"))


def _parse(reader: _Reader) -> Gguf:
    version, tensors, entries = _read_counts(reader)
    header = _Header(reader)
    for _ in range(entries):
        header.read_entry()
    architecture = header.text("general.architecture")
    if architecture is None:
        raise reader.broken("it does not name its architecture")
    if header.number("split.count") > 1:
        raise CatalogError(
            f"{reader.name} is one part of a model split into several, which is not supported",
            hint="join the parts with llama.cpp's gguf-split --merge and import the result",
        )
    sizes = _read_tensors(reader, header, architecture, tensors)
    return _describe(reader, header, architecture, version, sizes)


def _read_counts(reader: _Reader) -> tuple[int, int, int]:
    magic = reader.take(4)
    if magic != _MAGIC:
        raise reader.broken(f"it begins with {magic!r} in place of {_MAGIC!r}")
    version = reader.u32()
    if version not in _VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        what = "is big-endian" if swapped in _VERSIONS else f"has version {version}"
        raise CatalogError(
            f"{reader.name} {what}; GGUF versions 2 and 3, little-endian, are read",
            hint="convert it with a current llama.cpp",
        )
    tensors = reader.length(_TENSORS_MAX, "a tensor count")
    return version, tensors, reader.length(_ENTRIES_MAX, "an entry count")


class _Sizes(msgspec.Struct):
    parameters: int = 0
    expert_parameters: int = 0
    bytes_by_type: dict[int, int] = {}


def _read_tensors(reader: _Reader, header: _Header, architecture: str, count: int) -> _Sizes:
    if count == 0:
        raise reader.broken("it holds no tensors")
    sizes, ends = _Sizes(), 0
    alignment = header.number("general.alignment") or 32
    if alignment > _ALIGNMENT_MAX or alignment & (alignment - 1):
        raise reader.broken(f"an alignment of {alignment:,} is no power of two in range")
    for name, dimensions, kind, offset in _tensor_infos(reader, count):
        elements = 1
        for dimension in dimensions:
            elements *= dimension
            if not 0 < elements <= _ELEMENTS_MAX:
                raise reader.broken(f"the tensor {name!r} has the shape {list(dimensions)}")
        length = _tensor_bytes(reader, name, dimensions, kind, elements)
        if offset % alignment:
            raise reader.broken(f"the tensor {name!r} lies at the odd place {offset:,}")
        sizes.parameters += elements
        sizes.expert_parameters += elements if "_exps" in name else 0
        sizes.bytes_by_type[kind] = sizes.bytes_by_type.get(kind, 0) + length
        ends = max(ends, offset + length)
    begin = -(-reader.position // alignment) * alignment
    if begin + ends > reader.size_bytes:
        raise reader.broken(
            f"the tensors of this {architecture} model need {begin + ends:,} bytes,"
            f" the file has {reader.size_bytes:,}"
        )
    return sizes


def _tensor_infos(reader: _Reader, count: int) -> Iterator[tuple[str, tuple[int, ...], int, int]]:
    seen: set[str] = set()
    for _ in range(count):
        name, rank = reader.key(), reader.u32()
        if name in seen:
            raise reader.broken(f"the tensor {name!r} stands twice")
        seen.add(name)
        if not 1 <= rank <= _DIMENSIONS_MAX:
            raise reader.broken(f"the tensor {name!r} has {rank:,} dimensions")
        dimensions = tuple(reader.u64() for _ in range(rank))
        yield name, dimensions, reader.u32(), reader.u64()


def _tensor_bytes(
    reader: _Reader, name: str, dimensions: tuple[int, ...], kind: int, elements: int
) -> int:
    """The bytes a tensor takes; 0 for types this release does not know."""
    known = TENSOR_TYPES.get(kind)
    if known is None:
        return 0
    if dimensions[0] % known.block:
        raise reader.broken(f"the tensor {name!r} has a row that is no multiple of its block")
    return elements // known.block * known.block_bytes


def _describe(
    reader: _Reader, header: _Header, architecture: str, version: int, sizes: _Sizes
) -> Gguf:
    def number(key: str) -> int:
        return header.number(f"{architecture}.{key}")

    experts, used = number("expert_count"), number("expert_used_count")
    active = sizes.parameters
    if experts > 0 and used <= experts:
        active -= sizes.expert_parameters * (experts - used) // experts
    return Gguf(
        version=version,
        architecture=architecture,
        name=header.text("general.name"),
        licence=header.text("general.license"),
        licence_url=header.text("general.license.link"),
        context_tokens=number("context_length"),
        layers=number("block_count"),
        embedding_length=number("embedding_length"),
        feed_forward_length=number("feed_forward_length"),
        heads=number("attention.head_count"),
        kv_heads=number("attention.head_count_kv"),
        experts=experts,
        experts_used=used,
        pooled=number("pooling_type") > 0,
        kv_bytes_per_token=_kv_bytes_per_token(header, architecture),
        quantisation=_quantisation(header, sizes),
        parameters=sizes.parameters,
        active_parameters=active,
        vocabulary_tokens=header.tokens_at[1] if header.tokens_at else 0,
        chat_template=header.text("tokenizer.chat_template"),
        special_tokens=_special_tokens(reader, header),
    )


def _kv_bytes_per_token(header: _Header, architecture: str) -> int:
    layers = header.number(f"{architecture}.block_count")
    heads = header.number(f"{architecture}.attention.head_count")
    kv_heads = header.values.get(f"{architecture}.attention.head_count_kv", heads)
    heads_of_all_layers = (
        sum(count for count in kv_heads if count > 0)
        if isinstance(kv_heads, tuple)
        else layers * (kv_heads if isinstance(kv_heads, int) and kv_heads > 0 else 0)
    )
    usual = header.number(f"{architecture}.embedding_length") // heads if heads else 0
    keys = header.number(f"{architecture}.attention.key_length") or usual
    values = header.number(f"{architecture}.attention.value_length") or usual
    return heads_of_all_layers * (keys + values) * 2


def _quantisation(header: _Header, sizes: _Sizes) -> str:
    named = FILE_TYPES.get(header.number("general.file_type"))
    if named is not None and "general.file_type" in header.values:
        return named
    commonest = max(sizes.bytes_by_type, key=lambda kind: sizes.bytes_by_type[kind])
    known = TENSOR_TYPES.get(commonest)
    return known.name if known else f"type {commonest}"


def _special_tokens(reader: _Reader, header: _Header) -> tuple[str, ...]:
    """Texts that the tokenizer reads as one special token, longest first.

    Tokens of white space alone are left out: they mark no turn, and plain text is full of them.
    """
    if header.tokens_at is None:
        return ()
    named = {header.values.get(f"tokenizer.ggml.{name}_token_id") for name in _SPECIAL_ID_KEYS}
    start, count = header.tokens_at
    types = memoryview(header.token_types)
    typed = len(types) // 4
    found: set[str] = set()
    reader.go_to(start)
    for index in range(count):
        is_typed = index < typed and _U32.unpack_from(types, 4 * index)[0] in _SPECIAL_TYPES
        if is_typed or index in named:
            found.add(_special_token(reader))
        else:
            reader.skip_text()
        if len(found) > _SPECIALS_MAX:
            raise reader.broken(f"it has over {_SPECIALS_MAX:,} special tokens")
    return tuple(sorted((text for text in found if text.strip(" \t\r\n▁")), key=_longest_first))


def _special_token(reader: _Reader) -> str:
    length = reader.length(_SPECIAL_BYTES_MAX, "a special token")
    return reader.take(length).decode(errors="replace")


def _longest_first(text: str) -> tuple[int, str]:
    return -len(text), text
