import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import TooLarge
from headrace.wire.sse import KEEP_ALIVE, Parser, ServerEvent, frame

STREAM = (
    b"\xef\xbb\xbf: a comment\n\n"
    b"event: first\ndata: one\ndata:two\nid: 7\nretry: 100\n\n"
    b"data\n\n\n"
    b"data:  kept space\r\n\r\n"
    b"event: no data\n\n"
    b"data: cr\r\r"
    b"data: last"
)
EVENTS = [
    ServerEvent("first", b"one\ntwo"),
    ServerEvent("", b""),
    ServerEvent("", b" kept space"),
    ServerEvent("", b"cr"),
    ServerEvent("", b"last"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_events_are_the_same_wherever_the_bytes_are_cut(cuts: list[int]):
    parser = Parser()
    events: list[ServerEvent] = []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        events += parser.feed(STREAM[start:end])
    assert events + parser.end() == EVENTS


def test_frames_are_read_back():
    parser = Parser()
    stream = frame(b"{}", b"ping") + KEEP_ALIVE + frame(b"[DONE]")
    assert parser.feed(stream) == [ServerEvent("ping", b"{}"), ServerEvent("", b"[DONE]")]
    assert parser.end() == []


def test_an_event_longer_than_the_buffer_is_refused():
    parser = Parser(buffer_bytes_max=100)
    with pytest.raises(TooLarge):
        parser.feed(b"data: " + b"x" * 100)
