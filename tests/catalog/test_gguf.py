import contextlib
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.catalog.gguf import Gguf, read_gguf
from headrace.core.errors import CatalogError
from support.gguf import TEMPLATE, Tensor, build, entries, text

_MIB = 1024 * 1024
Read = Callable[[bytes], Gguf]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_bytes(data: bytes) -> Gguf:
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return read_gguf(path)

    return read_bytes


def test_says_what_the_header_says(read: Read):
    assert read(build()) == Gguf(
        version=3,
        architecture="llama",
        name="Tiny",
        licence="mit",
        licence_url=None,
        context_tokens=512,
        layers=2,
        embedding_length=64,
        feed_forward_length=128,
        heads=4,
        kv_heads=2,
        experts=0,
        experts_used=0,
        pooled=False,
        kv_bytes_per_token=2 * 2 * (16 + 16) * 2,
        quantisation="F32",
        parameters=448,
        active_parameters=448,
        vocabulary_tokens=7,
        chat_template=TEMPLATE,
        special_tokens=("<|im_start|>", "<tool_call>", "<|im_end|>", "<unk>"),
    )


def test_version_2_reads_the_same(read: Read):
    assert read(build(version=2)).parameters == 448


def test_white_space_is_no_special_token(read: Read):
    assert "\n\n" not in read(build()).special_tokens


def test_tokens_named_by_id_are_special_whatever_their_type(read: Read):
    metadata = entries(tokenizer__ggml__bos_token_id=3)
    assert "hello" in read(build(metadata)).special_tokens


def test_heads_may_differ_from_layer_to_layer(read: Read):
    metadata = entries(llama__attention__head_count_kv=(1, 3))
    found = read(build(metadata))
    assert found.kv_heads == 3
    assert found.kv_bytes_per_token == (1 + 3) * (16 + 16) * 2


def test_experts_that_are_not_used_do_not_count_as_active(read: Read):
    tensors = (
        Tensor("token_embd.weight", (64, 7)),
        Tensor("blk.0.ffn_up_exps.weight", (64, 8, 4), offset=1792),
    )
    metadata = entries(llama__expert_count=4, llama__expert_used_count=1)
    found = read(build(metadata, tensors))
    assert (found.parameters, found.active_parameters) == (448 + 2048, 448 + 512)


def test_without_a_file_type_the_commonest_tensor_type_names_it(read: Read):
    metadata = entries()
    del metadata["general.file_type"]
    tensors = (Tensor("a", (64,)), Tensor("b", (256, 64), kind=12, offset=256))
    assert read(build(metadata, tensors)).quantisation == "Q4_K"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "0 of 0"),
        (b"GG", "announced"),
        (b"PK\3\4" + bytes(60), "it begins with"),
        (build()[:40], "announced"),
        (build(version=1), "version 1"),
        (build(version=0x03000000), "big-endian"),
        (build(entries(general__architecture="")), "does not name its architecture"),
        (build(entries(split__count=3)), "split into several"),
        (build(tensors=()), "no tensors"),
        (build(entries(general__alignment=48)), "alignment"),
        (build(data_bytes=100), "need"),
        (build(tensors=(Tensor("a", (64, 7), offset=7),)), "odd place"),
        (build(tensors=(Tensor("a", (64, 7), offset=1 << 60),), data_bytes=4096), "need"),
        (build(tensors=(Tensor("a", (1 << 40, 1 << 40)),), data_bytes=64), "the shape"),
        (build(tensors=(Tensor("a", (0, 4)),), data_bytes=64), "the shape"),
        (build(tensors=(Tensor("a", (33,), kind=12),), data_bytes=4096), "no multiple"),
        (build(tensors=(Tensor("a", (1,) * 5),), data_bytes=4096), "5 dimensions"),
        (build(tensors=(Tensor("a", (8,)), Tensor("a", (8,)))), "stands twice"),
    ],
)
def test_refuses_with_a_reason(read: Read, data: bytes, why: str):
    with pytest.raises(CatalogError, match=why):
        read(data)


@pytest.mark.parametrize(
    "entry",
    [
        text("k") + struct.pack("<IQ", 8, 1 << 62),
        text("k") + struct.pack("<IIQ", 9, 8, 1 << 62),
        text("k") + struct.pack("<IIQ", 9, 4, 1 << 22),
        text("k") + struct.pack("<I", 77),
        text("k") + struct.pack("<IIQ", 9, 77, 1),
        text("k") + struct.pack("<IIQ", 9, 9, 1) * 9,
        struct.pack("<Q", 1 << 40),
        struct.pack("<Q", 2) + b"\xff\xfe" + struct.pack("<IB", 0, 1),
        (text("k") + struct.pack("<IB", 0, 1)) * 2,
    ],
)
def test_refuses_entries_that_lie_about_themselves(read: Read, entry: bytes):
    with pytest.raises(CatalogError):
        read(b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + entry + bytes(64))


def test_counts_over_the_limits_are_refused_before_they_are_used(read: Read):
    with pytest.raises(CatalogError, match="tensor count"):
        read(b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 1) + bytes(64))
    with pytest.raises(CatalogError, match="entry count"):
        read(b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 63) + bytes(64))


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(CatalogError, match="nowhere"):
        read_gguf(tmp_path / "nowhere.gguf")


def _read_or_refuse(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with contextlib.suppress(CatalogError):
        read_gguf(path)


def test_a_thousand_mutated_headers_neither_crash_nor_allocate(tmp_path: Path):
    whole = build()
    header_bytes = len(whole) - 4 * 448
    chance = random.Random(1)
    tracemalloc.start()
    for _ in range(1_000):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            at = chance.randrange(header_bytes)
            data[at] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        _read_or_refuse(tmp_path / "mutant.gguf", bytes(data))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2 * _MIB


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_any_bytes_behind_the_magic_are_read_or_refused(tmp_path: Path, tail: bytes):
    _read_or_refuse(tmp_path / "random.gguf", b"GGUF" + struct.pack("<I", 3) + tail)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_piece_cut_out_or_doubled_is_read_or_refused(tmp_path: Path, data: st.DataObject):
    whole = build()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    middle = whole[start:end] * data.draw(st.integers(0, 3))
    _read_or_refuse(tmp_path / "cut.gguf", whole[:start] + middle + whole[end:])
