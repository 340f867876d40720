import base64

import msgspec
import pytest

from headrace.core.errors import InvalidRequest
from headrace.core.messages import Document, Image
from headrace.wire import content

PNG = base64.b64encode(b"\x89PNG").decode()


def test_images_come_from_data_urls_and_web_urls():
    assert content.image_from_url(f"data:image/png;base64,{PNG}", "p") == Image("image/png", PNG)
    assert content.image_from_url("https://a/b.png", "p") == Image(url="https://a/b.png")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "data:image/png,raw",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,%%%",
        "data:image/png;base64,a",
        "data:text/plain;base64,aGk=",
        "data:image/png;base64,\u00e9",
    ],
)
def test_other_urls_are_no_images(url: str):
    with pytest.raises(InvalidRequest) as caught:
        content.image_from_url(url, "image_url.url")
    assert caught.value.param == "image_url.url"


def test_text_documents_are_kept_as_text_and_others_as_data():
    text = base64.b64encode("héllo".encode()).decode()
    assert content.document_from_base64(text, "text/markdown", "t", "p") == Document(
        "text/markdown", text="héllo", title="t"
    )
    latin = base64.b64encode(b"h\xe9llo").decode()
    assert content.document_from_base64(latin, "text/plain", None, "p").data == latin
    assert content.document_from_base64(text, "application/pdf", None, "p").data == text


@pytest.mark.parametrize(
    "arguments",
    ['{"a": 1,\n "b":[ ]}', '{"a"', "[1]", "1", '"x"', '{"a":NaN}', "{" * 200, '{"a":1}}', "\x00"],
)
def test_arguments_survive_as_an_object_even_when_malformed(arguments: str):
    raw = bytes(content.arguments_object(arguments))
    assert isinstance(msgspec.json.decode(raw), dict)
    assert content.arguments_text(raw, "input") == arguments


def test_no_arguments_are_an_empty_object():
    assert bytes(content.arguments_object(" \n")) == b"{}"


def test_arguments_that_are_no_object_are_refused():
    with pytest.raises(InvalidRequest):
        content.arguments_text(b"[1]", "input")
