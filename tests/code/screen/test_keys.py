"""Keys come out of bytes, wherever those were cut."""

import pytest

from headrace.code.screen.keys import Decoder, Key


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\r", "enter"),
        (b"\n", "ctrl+j"),
        (b"\t", "tab"),
        (b"\x7f", "backspace"),
        (b"\x03", "ctrl+c"),
        (b"\x1f", "ctrl+_"),
        (b"\x1b[A", "up"),
        (b"\x1bOB", "down"),
        (b"\x1b[1;5D", "ctrl+left"),
        (b"\x1b[3~", "delete"),
        (b"\x1b[1~", "home"),
        (b"\x1b[Z", "shift+tab"),
        (b"\x1b[9;2u", "shift+tab"),
        (b"\x1bb", "alt+b"),
        (b"\x1b\x7f", "alt+backspace"),
        (b"\x1b\r", "alt+enter"),
        (b"\x1b[13;2u", "shift+enter"),
        (b"\x1b[27;2;13~", "shift+enter"),
        (b"\x1b[99;5u", "ctrl+c"),
        (b"\x1b[27u", "esc"),
    ],
)
def test_keys_have_names(data: bytes, name: str):
    whole = Decoder().feed(data)
    assert [key.name for key in whole] == [name]
    pieces = Decoder()
    assert [key for at in range(len(data)) for key in pieces.feed(data[at : at + 1])] == whole


def test_typed_characters_are_text_also_when_cut_within_one():
    decoder = Decoder()
    keys = [key for byte in "日é👩".encode() for key in decoder.feed(bytes([byte]))]
    assert "".join(key.text for key in keys) == "日é👩"
    assert {key.name for key in keys} == {"text"}


def test_what_stands_in_paste_brackets_is_one_paste_whatever_it_holds():
    decoder = Decoder()
    keys = decoder.feed(b"\x1b[200~a\r\nb\x1b[A\rc\x1b[2")
    keys += decoder.feed(b"01~x")
    assert keys == [Key("paste", "a\nb\x1b[A\nc"), Key("text", "x")]


def test_escape_alone_is_a_key_once_nothing_follows():
    decoder = Decoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.waits
    assert decoder.flush() == [Key("esc")]
    assert decoder.feed(b"\x1b\x1b") == [Key("esc")]
    assert decoder.flush() == [Key("esc")]


@pytest.mark.parametrize("data", [b"\x1b[?2026;2$y", b"\x1b[<0;1;1M", b"\x1b[I", b"\x1b[>1u"])
def test_reports_of_the_terminal_are_no_keys(data: bytes):
    assert Decoder().feed(data) == []


def test_a_sequence_without_end_does_not_hold_keys_for_ever():
    keys = Decoder().feed(b"\x1b[" + b"1;" * 60 + b"\xff" + b"hello")
    assert keys[-1].text.endswith("hello")
