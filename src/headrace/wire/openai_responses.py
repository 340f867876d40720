"""OpenAI Responses, for our server: requests from the wire, answers to it.

Reasoning travels as the summary of a reasoning item where the caller asked for one, else as
its text.
"""

from headrace.wire.openai_errors import encode_error
from headrace.wire.openai_responses_answer import StreamEncoder, encode_reply
from headrace.wire.openai_responses_request import (
    IGNORED_FIELDS,
    REFUSED_FIELDS,
    Decoded,
    Echo,
    decode_request,
)

__all__ = [
    "IGNORED_FIELDS",
    "LOSSES",
    "REFUSED_FIELDS",
    "Decoded",
    "Echo",
    "StreamEncoder",
    "decode_request",
    "encode_error",
    "encode_reply",
]

LOSSES = (
    "Thinking.signature",
    "Finished.stop_sequence, and the stops `stop_sequence` and `context_full`",
    "Started.usage",
)
"""What this dialect cannot carry; encoding drops it."""
