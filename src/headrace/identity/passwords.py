"""Passwords: hashed with argon2id, a few at a time, off the event loop.

argon2id fills memory on purpose, which whoever signs in often could turn against us. So a fixed
number of threads hash, a bounded number of sign-ins wait for them, and the rest is refused.
Parameters are those of OWASP's cheat sheet for password storage with a third round; a hash of
other parameters is renewed when its password is next given.
"""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import msgspec

from headrace.core.errors import InvalidRequest, Overloaded

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

LENGTH_MIN = 12
LENGTH_MAX = 512
_DIFFERENT_MIN = 5
_LEFT_MIN = 8
_WORD_MIN = 3
_MEMORY_KIB = 19_456
_ROUNDS = 3
_THREADS = 2
_WAITING_MAX = 32
_RETRY_AFTER_S = 2.0


class Verdict(msgspec.Struct, frozen=True):
    """Whether a password is right, and its new hash where the kept one is out of date."""

    is_right: bool
    new_hash: str | None = None


class Passwords:
    """Hashes passwords and knows them again.

    Args:
        memory_kib: What one hash fills.
        rounds: How often.
    """

    def __init__(self, *, memory_kib: int = _MEMORY_KIB, rounds: int = _ROUNDS) -> None:
        self._memory_kib = memory_kib
        self._rounds = rounds
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """The hash of a password, with its salt and parameters.

        Raises:
            Overloaded: Too many sign in at the same time.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, kept: str | None, password: str) -> Verdict:
        """Whether the password is that of a hash; None takes the same time and never is.

        Raises:
            Overloaded: Too many sign in at the same time.
        """
        return await self._run(lambda: self._check(kept, password[:LENGTH_MAX]))

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown()

    async def _run(self, call: Callable[[], T]) -> T:
        if self._waiting >= _WAITING_MAX:
            raise Overloaded("too many people sign in at once", retry_after_s=_RETRY_AFTER_S)
        self._waiting += 1
        work = asyncio.get_running_loop().run_in_executor(self._threads, call)
        # Counted until a thread is done with it, also when nobody waits for the answer any more.
        work.add_done_callback(self._count_down)
        return await asyncio.shield(work)

    def _count_down(self, _: object) -> None:
        self._waiting -= 1

    def _check(self, kept: str | None, password: str) -> Verdict:
        from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415 - rare

        # Looked at in both cases, so that the first sign-in of all tells nothing either.
        nobodys = self._nobodys
        try:
            self._hasher.verify(kept or nobodys, password)
        except (VerificationError, InvalidHashError):
            return Verdict(is_right=False)
        if kept is None:
            return Verdict(is_right=False)
        is_old = self._hasher.check_needs_rehash(kept)
        return Verdict(is_right=True, new_hash=self._hasher.hash(password) if is_old else None)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, "password")

    @cached_property
    def _hasher(self) -> "PasswordHasher":
        from argon2 import PasswordHasher  # noqa: PLC0415 - most installations never need it

        return PasswordHasher(time_cost=self._rounds, memory_cost=self._memory_kib, parallelism=1)

    @cached_property
    def _nobodys(self) -> str:
        """A hash to compare with when there is no such account."""
        return self._hasher.hash("nobody's")


def check_password(password: str, *, email: str, name: str) -> None:
    """Refuse a password that is guessed easily.

    Raises:
        InvalidRequest: It is too short or long, or mostly the person's own name or address.
    """
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise InvalidRequest(f"a password has {LENGTH_MIN} to {LENGTH_MAX} characters", param="new")
    if not password.isprintable():
        raise InvalidRequest("a password is printable characters only", param="new")
    folded = password.casefold()
    if len(set(folded)) < _DIFFERENT_MIN:
        raise InvalidRequest(
            f"a password has at least {_DIFFERENT_MIN} different characters", param="new"
        )
    for word in sorted(_words(email, name), key=len, reverse=True):
        folded = folded.replace(word, "")
    if len(folded) < _LEFT_MIN:
        raise InvalidRequest(
            "this password is little more than your name or address; take other words",
            param="new",
        )


def _words(*texts: str) -> set[str]:
    """What the texts are made of, in lower case; very short words may stand anywhere."""
    found = {word for text in texts for word in re.split(r"[\W_]+", text.casefold())}
    return {
        word for word in (*found, *(text.casefold() for text in texts)) if len(word) >= _WORD_MIN
    }
