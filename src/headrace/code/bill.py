"""The bill: tokens, cache, cost and expected prefill of a session, from its entries alone."""

from collections.abc import Iterable

import msgspec

from headrace.agent.entries import Answered, Broke, Compacted, Entry, Said, Turned
from headrace.core.models import Usage
from headrace.core.money import NanoDollars, format_usd

_THOUSAND = 1_000
_MILLION = 1_000_000
_MINUTE_S = 60
_TURNS_SHOWN = 10


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """What some model calls used.

    Attributes:
        requests: Answers, summaries, and calls that broke after something was used.
        failed: Calls that broke.
        usage: All tokens.
        cost_nano: All known costs, in nano-dollars, exact.
        unpriced: Calls whose cost nobody told.
        duration_ms: Of the answers.
    """

    requests: int = 0
    failed: int = 0
    usage: Usage = Usage()
    cost_nano: int = 0
    unpriced: int = 0
    duration_ms: int = 0


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """A session's sums, in all and by turn of the user, oldest first."""

    total: Sum = Sum()
    turns: tuple[Sum, ...] = ()


def bill_of(entries: Iterable[Entry]) -> Bill:
    """Add up all model calls of a log, those of branches that were left included.

    A turn begins with the user's words; words that were queued while it ran belong to it.
    """
    turns: list[Sum] = []
    open_turn = False
    for entry in entries:
        body = entry.body
        if isinstance(body, Said) and body.origin == "user" and not open_turn:
            turns.append(Sum())
            open_turn = True
        elif isinstance(body, Turned):
            open_turn = False
        elif isinstance(body, Answered | Broke | Compacted):
            turns = turns or [Sum()]
            turns[-1] = _added(turns[-1], _sum_of(body))
    total = Sum()
    for turn in turns:
        total = _added(total, turn)
    return Bill(total=total, turns=tuple(turns))


def _sum_of(body: Answered | Broke | Compacted) -> Sum:
    answered = isinstance(body, Answered)
    if answered and body.own:
        return Sum()
    used = answered or body.usage is not None or body.cost_nano is not None
    return Sum(
        requests=int(used),
        failed=int(isinstance(body, Broke)),
        usage=body.usage or Usage(),
        cost_nano=body.cost_nano or 0,
        unpriced=int(used and body.cost_nano is None),
        duration_ms=(body.duration_ms or 0) if answered else 0,
    )


def _added(one: Sum, other: Sum) -> Sum:
    return Sum(
        requests=one.requests + other.requests,
        failed=one.failed + other.failed,
        usage=Usage(
            *(
                getattr(one.usage, name) + getattr(other.usage, name)
                for name in Usage.__struct_fields__
            )
        ),
        cost_nano=one.cost_nano + other.cost_nano,
        unpriced=one.unpriced + other.unpriced,
        duration_ms=one.duration_ms + other.duration_ms,
    )


def cache_percent(usage: Usage) -> int | None:
    """How much of the input came from a prefix cache, rounded down; None without input."""
    return min(usage.cached, usage.input) * 100 // usage.input if usage.input > 0 else None


def prefill_s(new_tokens: int, prefill_tokens_per_s: float | None) -> float | None:
    """Seconds until the first token of a prompt with so many tokens that no cache holds."""
    if prefill_tokens_per_s is None or prefill_tokens_per_s <= 0:
        return None
    return max(new_tokens, 0) / prefill_tokens_per_s


def left_nano(bill: Bill, budget_nano: int) -> int:
    """What is left of a budget, so far as costs are known; never below zero."""
    return max(budget_nano - bill.total.cost_nano, 0)


def cost_text(
    bill: Bill,
    *,
    budget_nano: int | None = None,
    prefill_tokens_per_s: float | None = None,
    source: str | None = None,
) -> str:
    """The text of `/cost`: the session, its cache, its budget, and its last ten turns.

    `source` is who tells the model's prices.
    """
    total = bill.total
    usage = total.usage
    failed = f", {total.failed} failed" if total.failed else ""
    lines = [f"Requests   {total.requests}{failed}", f"Input      {_input(usage)}"]
    reasoning = f", {_tokens(usage.reasoning)} of them reasoning" if usage.reasoning else ""
    lines.append(f"Output     {_tokens(usage.output)} tokens{reasoning}")
    lines.append(f"Time       {_seconds(total.duration_ms / 1000)} of answers")
    lines.append(f"Cost       {_cost(total)}")
    if source is not None:
        lines.append(f"Prices     {source}")
    if budget_nano is not None:
        left = format_usd(NanoDollars(left_nano(bill, budget_nano)))
        lines.append(f"Budget     {left} left of {format_usd(NanoDollars(budget_nano))}")
    prefill = prefill_s(usage.input - usage.cached, prefill_tokens_per_s)
    if prefill is not None:
        lines.append(
            f"Prefill    about {_seconds(prefill)} so far, {prefill_tokens_per_s:,.0f} tokens/s"
        )
    lines.extend(_turn_lines(bill.turns))
    return "\n".join(lines)


def _turn_lines(turns: tuple[Sum, ...]) -> list[str]:
    if len(turns) <= 1:
        return []
    first = max(len(turns) - _TURNS_SHOWN, 0)
    lines = ["", f"Turns {first + 1} to {len(turns)}:"]
    for number, turn in enumerate(turns[first:], first + 1):
        used = f"{_tokens(turn.usage.input)} in, {_tokens(turn.usage.output)} out"
        lines.append(f"{number:>5}  {_requests(turn.requests)}, {used}, {_cost(turn)}")
    return lines


def status_line(bill: Bill, *, budget_nano: int | None = None) -> str:
    """The session's bill in one short line: `12.3k in (81 % cached) · 1.2k out · $0.0123`."""
    total = bill.total
    percent = cache_percent(total.usage)
    cached = f" ({percent} % cached)" if percent else ""
    parts = [f"{_tokens(total.usage.input)} in{cached}", f"{_tokens(total.usage.output)} out"]
    if total.cost_nano or not total.unpriced:
        # Rounded up, so that the short form never tells less than was spent.
        parts.append(_short_usd(total.cost_nano) + "+?" * bool(total.unpriced))
    if budget_nano is not None:
        parts.append(f"{_short_usd(left_nano(bill, budget_nano), up=False)} left")
    return " · ".join(parts)


def _input(usage: Usage) -> str:
    percent = cache_percent(usage)
    if percent is None:
        return "0 tokens"
    cached = f"{_tokens(usage.cached)} of them from the cache ({percent} %)"
    return f"{_tokens(usage.input)} tokens, {cached}"


def _cost(total: Sum) -> str:
    """The exact cost; what is unknown is said, never guessed."""
    if total.unpriced == 0:
        return format_usd(NanoDollars(total.cost_nano))
    if total.unpriced == total.requests and total.cost_nano == 0:
        return "unknown: nobody tells this model's prices" if total.requests else "$0.00"
    known = format_usd(NanoDollars(total.cost_nano))
    return f"{known} and an unknown cost of {_requests(total.unpriced)}"


def _requests(count: int) -> str:
    return f"{count} request" + "s" * (count != 1)


def _tokens(count: int) -> str:
    if count < _THOUSAND:
        return str(count)
    if count < _MILLION:
        return f"{count // 100 / 10:.1f}k"
    return f"{count // 100_000 / 10:.1f}M"


def _seconds(seconds: float) -> str:
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), _MINUTE_S)
    return f"{minutes} min {rest} s"


def _short_usd(nano: int, *, up: bool = True) -> str:
    """Dollars with two decimals, or as many as show the first two digits."""
    step = 10_000_000
    while step > 1 and nano and nano < 10 * step:
        step //= 10
    rounded = -(-nano // step) if up else nano // step
    return format_usd(NanoDollars(rounded * step))
