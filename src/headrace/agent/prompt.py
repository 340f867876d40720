"""The request that a branch of the log amounts to: a pure function, so its prefix is stable."""

from collections.abc import Sequence

from headrace.agent.entries import Entry
from headrace.core.requests import Request


def request_of(branch: Sequence[Entry]) -> Request:
    """The next request of a session.

    Raises:
        InvalidRequest: The branch does not say which model is asked.
    """
    raise NotImplementedError


def invariants(request: Request) -> list[str]:
    """What is wrong with a request; each must hold for every request of every session."""
    raise NotImplementedError


def extends(before: Request, after: Request) -> bool:
    """Whether `after` says what `before` says, and then more."""
    raise NotImplementedError
