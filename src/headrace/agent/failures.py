"""Unexpected errors: class and words for people and models, the trace for the program's log."""

import logging

from headrace.core.errors import HeadraceError

_CHARS_MAX = 500
_log = logging.getLogger(__name__)


def told(error: BaseException) -> str:
    """What people and models are told of an error, as text that any file can hold.

    The trace of an error that is none of ours goes to the log, and nowhere else.
    """
    if isinstance(error, HeadraceError):
        text = error.message
    else:
        _log.error("unexpected in a coding session", exc_info=error)
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
    shown = text if len(text) <= _CHARS_MAX else f"{text[:_CHARS_MAX]}…"
    return shown.encode("utf-8", "backslashreplace").decode()
