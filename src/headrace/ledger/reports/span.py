"""Which calls a report is about: whole days of UTC, and what they have in common."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from sqlalchemy import Connection

from headrace.core.errors import Forbidden, InvalidRequest
from headrace.core.scope import Scope
from headrace.store.spend import DAY_NS
from headrace.store.visibility import sees_figures

DAYS_DEFAULT = 30
_NS_PER_S = 1_000_000_000
# The last day that a database's integers and the calendar can both tell.
_NS_MAX = 9_000_000_000 * _NS_PER_S


class Span(msgspec.Struct, frozen=True):
    """From the beginning of a day up to the beginning of another, in UTC nanoseconds."""

    from_ns: int
    to_ns: int

    @property
    def days(self) -> int:
        """How many days."""
        return (self.to_ns - self.from_ns) // DAY_NS

    def receipts(self, **same: str) -> str:
        """Where the receipts of the span are listed that have all of these fields."""
        return receipts_path({"from_ns": self.from_ns, "to_ns": self.to_ns} | same)


def span_of(now_ns: int, from_ns: int | None, to_ns: int | None) -> Span:
    """The whole days that hold the times asked for: the last thirty where none are.

    Raises:
        InvalidRequest: It ends before it begins, or is out of any calendar.
    """
    for name, value in (("from_ns", from_ns), ("to_ns", to_ns)):
        if value is not None and not 0 <= value <= _NS_MAX:
            raise InvalidRequest(f"{name} is not a time in nanoseconds since 1970", param=name)
    end_ns = now_ns + 1 if to_ns is None else to_ns
    end_ns += -end_ns % DAY_NS
    begin_ns = end_ns - DAYS_DEFAULT * DAY_NS if from_ns is None else from_ns - from_ns % DAY_NS
    if begin_ns >= end_ns:
        raise InvalidRequest("the span ends before it begins", param="to_ns")
    return Span(max(0, begin_ns), end_ns)


def receipts_path(same: Mapping[str, Any]) -> str:
    """Where receipts are listed that have all of these fields."""
    return f"/admin/receipts?{urlencode(same)}"


def day_of(time_ns: int) -> str:
    """A day as people write it, in UTC."""
    return datetime.fromtimestamp(time_ns // _NS_PER_S, UTC).strftime("%Y-%m-%d")


def check_sees_figures(connection: Connection, scope: Scope) -> None:
    """Refuse those who may see their own calls only.

    Raises:
        Forbidden: `scope` is a member, a closed account, or nobody's.
    """
    if not sees_figures(connection, scope):
        raise Forbidden("this report is for owners, admins and viewers")


def ratio(amount: int, per: int, of: int) -> int | None:
    """`amount * per / of` in integers, rounded half to even; None of nothing."""
    if of <= 0:
        return None
    whole, rest = divmod(amount * per, of)
    twice = 2 * rest
    return whole + (twice > of or (twice == of and whole % 2 == 1))
