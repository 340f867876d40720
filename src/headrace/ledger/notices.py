"""Notices: when a share of a budget is spent, the log is told, and its webhook if it has one.

A share is noticed once in each window, from the rows, about a second after the call. The notice
is a row before anybody is told, and is told again until somebody takes it: receivers may hear of
it twice, with the same `id`.
"""

import asyncio
import hashlib
import hmac
import logging
from typing import Final
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.errors import EngineFailed, HeadraceError, StoreError
from headrace.ledger.budget_words import reached_words
from headrace.ledger.windows import span_of
from headrace.net.http_client import HttpClient, Timeouts, header_lines
from headrace.store import budgets, notices
from headrace.store.budgets import Budget, Span
from headrace.store.database import Database
from headrace.store.notices import Notice

SIGNATURE_HEADER: Final = "headrace-signature"
KIND: Final = "budget.notice"
_LOOK_S = 1.0
_TIMEOUTS = Timeouts(connect_s=5.0, first_byte_s=10.0, silence_s=10.0, whole_s=15.0)
_AT_ONCE = 16
_KNOWN_MAX = 10_000
# Pauses double from a second to an hour: it is tried for half a day.
_TRIES_MAX = 24
_PAUSE_S_MAX = 3_600.0
_NS_PER_S = 1_000_000_000
_WHOLE_PERCENT = 100
_TAKEN = range(200, 300)

_Key = tuple[str, int, int]
_Watched = tuple[Budget, Span]

_log = logging.getLogger(__name__)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook's request; `id` is the same whenever it is told again."""

    id: str
    kind: str
    budget_id: str
    node_kind: str
    node_id: str
    period: str
    hard: bool
    percent: int
    limit_nano: int
    spent_nano: int
    window_start_ns: int
    window_end_ns: int | None
    time_ns: int


class Notices:
    """Watches all budgets; the control process alone does.

    Args:
        database: Where budgets, sums and notices are.
        clock: The house's clock.
        secret: What requests are signed with.
    """

    def __init__(self, database: Database, clock: Clock, secret: bytes) -> None:
        self._database = database
        self._clock = clock
        self._secret = secret
        self._budgets: dict[str, Budget] = {}
        self._seen: tuple[dict[str, str], list[_Watched]] | None = None
        self._known: set[_Key] = set()
        self._due_s: dict[_Key, float] = {}

    async def reload(self) -> None:
        """Read all budgets anew.

        Raises:
            StoreError: The database refuses.
        """
        found = await self._database.read(budgets.everywhere)
        self._budgets = {one.id: one for one in found}
        self._seen = None

    async def run(self) -> None:
        """Notice and tell, until cancelled."""
        while True:
            try:
                await self.look()
                await self.deliver()
            except StoreError:
                _log.exception("budgets cannot be watched")
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Notice the shares that were reached, also those of windows that have just ended.

        Raises:
            StoreError: The database refuses.
        """
        watched = [(one, span) for one in self._budgets.values() for span in self._spans(one)]
        if not watched:
            return
        found = await self._database.read(lambda connection: self._charged(connection, watched))
        if found is None:
            return
        for one, span in watched:
            spent_nano = sum(found[span].values()) - one.base_nano
            for percent in one.warn_percent:
                if spent_nano > 0 and spent_nano * _WHOLE_PERCENT >= percent * one.limit_nano:
                    await self._notice(one, span.start_ns, percent, spent_nano)

    async def deliver(self) -> None:
        """Tell the webhooks what is due.

        Raises:
            StoreError: The database refuses.
        """
        if not any(one.webhook_url for one in self._budgets.values()):
            return
        now_s = asyncio.get_running_loop().time()
        waiting = await self._database.read(
            lambda connection: notices.waiting(connection, tries_max=_TRIES_MAX)
        )
        due = [one for one in waiting if self._due_s.get(_key(one), now_s) <= now_s]
        for first in range(0, len(due), _AT_ONCE):
            await asyncio.gather(*map(self._deliver, due[first : first + _AT_ONCE]))

    def _spans(self, one: Budget) -> set[Span]:
        """The window that is now, and the one before."""
        if not one.warn_percent:
            return set()
        start_ns, end_ns = span_of(one.period, self._clock.now_ns())
        before = span_of(one.period, max(0, start_ns - 1))
        return {Span(one.node_id, start_ns, end_ns), Span(one.node_id, *before)}

    def _charged(
        self, connection: Connection, watched: list[_Watched]
    ) -> dict[Span, dict[str, int]] | None:
        """What the rows say; None where they say the same as last time."""
        seen = (budgets.positions(connection), watched)
        if seen == self._seen:
            return None
        found = budgets.charged(connection, {span for _, span in watched})
        self._seen = seen
        return found

    async def _notice(self, one: Budget, window_ns: int, percent: int, spent_nano: int) -> None:
        key = (one.id, window_ns, percent)
        if key in self._known:
            return
        now_ns = self._clock.now_ns()
        made = Notice(one.id, window_ns, percent, spent_nano, now_ns)
        taken_ns = now_ns if one.webhook_url is None else None
        if await self._database.write(
            lambda connection: notices.add(connection, made, delivered_ns=taken_ns)
        ):
            _log.warning("%s", reached_words(one, percent, spent_nano))
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known.add(key)

    async def _deliver(self, notice: Notice) -> None:
        one = self._budgets.get(notice.budget_id)
        if one is None:
            return
        taken_ns: int | None = self._clock.now_ns()
        try:
            if one.webhook_url is not None:
                await self._post(one.webhook_url, one, notice)
        except HeadraceError as error:
            taken_ns = None
            pause_s = min(2.0**notice.tries, _PAUSE_S_MAX)
            self._due_s[_key(notice)] = asyncio.get_running_loop().time() + pause_s
            _log.warning(
                "the webhook of budget %s was not told, try %d of %d: %s",
                one.id,
                notice.tries + 1,
                _TRIES_MAX,
                error.message,
            )
        else:
            self._due_s.pop(_key(notice), None)
        await self._database.write(
            lambda connection: notices.tried(connection, notice, delivered_ns=taken_ns)
        )

    async def _post(self, url: str, one: Budget, notice: Notice) -> None:
        told = _told(one, notice)
        body = msgspec.json.encode(told)
        time_s = self._clock.now_ns() // _NS_PER_S
        headers = {
            "content-type": "application/json",
            "user-agent": "headrace",
            SIGNATURE_HEADER: f"t={time_s},v1={signature(self._secret, time_s, body)}",
        }
        client = HttpClient(f"the webhook of budget {one.id}", url)
        place = urlsplit(url)
        target = (place.path or "/") + (f"?{place.query}" if place.query else "")
        try:
            reply = await client.send("POST", target, header_lines(headers), body, _TIMEOUTS)
            status = reply.status
            reply.release()
        finally:
            client.close()
        if status not in _TAKEN:
            raise EngineFailed(f"it answered with status {status}")


def signature(secret: bytes, time_s: int, body: bytes) -> str:
    """HMAC-SHA256 over the time, a full stop and the body, in hexadecimal."""
    return hmac.new(secret, b"%d." % time_s + body, hashlib.sha256).hexdigest()


def _key(notice: Notice) -> _Key:
    return notice.budget_id, notice.window_ns, notice.percent


def _told(one: Budget, notice: Notice) -> Told:
    once = one.period == "once"
    return Told(
        id=f"{notice.budget_id}-{notice.window_ns}-{notice.percent}",
        kind=KIND,
        budget_id=one.id,
        node_kind=one.node_kind,
        node_id=one.node_id,
        period=one.period,
        hard=one.hard,
        percent=notice.percent,
        limit_nano=one.limit_nano,
        spent_nano=notice.spent_nano,
        window_start_ns=one.created_ns if once else notice.window_ns,
        window_end_ns=None if once else span_of(one.period, notice.window_ns)[1],
        time_ns=notice.created_ns,
    )
