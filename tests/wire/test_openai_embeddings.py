"""Embeddings requests and answers on the wire."""

import base64
import json
import struct
from typing import Any

import pytest

from headrace.core.errors import HeadraceError, InvalidRequest, TooLarge, Unsupported
from headrace.wire.openai_embeddings import INPUTS_MAX, Decoded, decode_request, encode_reply


def decode(**fields: Any) -> Decoded:
    return decode_request(json.dumps({"model": "m"} | fields).encode())


def test_one_text_or_several():
    assert decode(input="a", user="u", unknown=1) == Decoded("m", ("a",))
    wanted = decode(input=["a", "b"], encoding_format="base64", dimensions=3)
    assert wanted == Decoded("m", ("a", "b"), "base64", 3)
    assert decode(input=["a"], encoding_format=None, dimensions=None).encoding == "float"
    assert len(decode(input=["a"] * INPUTS_MAX).texts) == INPUTS_MAX


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({}, InvalidRequest, "input"),
        ({"input": ""}, InvalidRequest, "input"),
        ({"input": []}, InvalidRequest, "input"),
        ({"input": ["a", ""]}, InvalidRequest, "input[1]"),
        ({"input": ["a", None]}, InvalidRequest, "input[1]"),
        ({"input": {"text": "a"}}, InvalidRequest, "input"),
        ({"input": [1, 2]}, Unsupported, "input"),
        ({"input": [[1, 2], [3]]}, Unsupported, "input"),
        ({"input": ["a"] * (INPUTS_MAX + 1)}, TooLarge, "input"),
        ({"input": "a", "encoding_format": "int8"}, InvalidRequest, "encoding_format"),
        ({"input": "a", "dimensions": 0}, InvalidRequest, "dimensions"),
        ({"input": "a", "model": ""}, InvalidRequest, "model"),
    ],
)
def test_what_is_refused_names_the_field(
    fields: dict[str, Any], error: type[HeadraceError], param: str
):
    with pytest.raises(InvalidRequest) as refused:
        decode(**fields)
    assert type(refused.value) is error
    assert refused.value.param == param


def test_both_encodings_tell_the_same_numbers():
    vectors = [(0.1, -0.25), (1e-3, 3.0)]
    floats = json.loads(encode_reply(vectors, model="m", encoding="float", input_tokens=7))
    packed = json.loads(encode_reply(vectors, model="m", encoding="base64", input_tokens=7))
    assert floats["object"] == "list"
    assert floats["model"] == "m"
    assert floats["usage"] == packed["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [each["index"] for each in floats["data"]] == [0, 1]
    assert {each["object"] for each in floats["data"]} == {"embedding"}
    for told, sent, vector in zip(floats["data"], packed["data"], vectors, strict=True):
        unpacked = struct.unpack("<2f", base64.b64decode(sent["embedding"]))
        assert tuple(told["embedding"]) == unpacked
        assert unpacked == pytest.approx(vector)
