"""Text files as bytes: encoding and byte order mark are kept as they are."""

import codecs
from typing import NamedTuple

from headrace.core.errors import InvalidRequest

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKED_AT_BYTES = 8_192


class Source(NamedTuple):
    """A file's text, its line ends as they are, and how it is written down."""

    text: str
    encoding: str = "utf-8"
    mark: bytes = b""

    def encode(self, text: str) -> bytes:
        """Another text, written down like this one.

        Raises:
            InvalidRequest: It holds characters that the encoding does not have.
        """
        try:
            return self.mark + text.encode(self.encoding)
        except UnicodeEncodeError as error:
            wrong = text[error.start : error.start + 1]
            raise InvalidRequest(
                f"the file is written in {self.encoding}, which has no {wrong!r}; "
                "use other characters"
            ) from None


def decode(data: bytes) -> Source | None:
    """The text of a file; None where it is binary.

    What is neither UTF-8 nor marked as UTF-16 is read as Latin-1, which keeps every byte.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return Source(data[len(mark) :].decode(encoding), encoding, mark)
            except UnicodeDecodeError:
                return None
    if b"\0" in data[:_LOOKED_AT_BYTES]:
        return None
    try:
        return Source(data.decode())
    except UnicodeDecodeError:
        return Source(data.decode("latin-1"), "latin-1")
