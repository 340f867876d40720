"""Break-even: at which volume a machine of our own beats a provider (`economics.py`)."""

from collections.abc import Mapping
from fractions import Fraction

import msgspec
from sqlalchemy import Connection

from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.ledger.economics import Work, breakeven_tokens, token_costs
from headrace.ledger.machines import NS_PER_HOUR, Rated, decode_terms, rated
from headrace.ledger.prices import Rates, amount, half_even
from headrace.ledger.reports.span import Span, check_sees_figures, ratio
from headrace.ledger.reports.sums import Figures, sums
from headrace.store import machines as machine_rows
from headrace.store import prices
from headrace.store.spend import DAY_NS

_MILLION = 1_000_000
_BASIS_POINTS = 10_000
_NS_PER_S = 1_000_000_000
_HOURS_PER_DAY = 24


class BreakevenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a machine of ours beside a provider's price for the same tokens.

    Measured over the span: the tokens of the model's calls, input and output, and their share of
    the machine's time. `own_per_million_nano` is what a million of these tokens costs on the
    machine while it is fully used; of these, a million of input that no cache held costs
    `input_per_million_nano` and of output `output_per_million_nano`. `provider_per_million_nano`
    is what the provider asks for the same mix of input, cached input and output.
    `breakeven_tokens_per_day` is the volume from which on the machine, which costs
    `machine_per_day_nano` whether or not anybody uses it, is cheaper, of the `tokens_per_day_max`
    that it can make; `breakeven_bp` is that as a share in hundredths of a percent. Both are None
    where the provider is cheaper than a fully used machine.
    """

    machine: str
    model_id: str
    provider: str
    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    machine_ns: int
    tokens_per_s: int
    tokens_per_day_max: int
    machine_per_day_nano: int
    own_per_million_nano: int
    input_per_million_nano: int | None
    output_per_million_nano: int | None
    provider_per_million_nano: int
    breakeven_tokens_per_day: int | None
    breakeven_bp: int | None
    receipts: str


class Breakeven(msgspec.Struct, frozen=True, kw_only=True):
    """Every model that ran on a machine of ours, beside every provider whose price is known."""

    from_ns: int
    to_ns: int
    rows: tuple[BreakevenRow, ...]


def breakeven(connection: Connection, scope: Scope, span: Span, now_ns: int) -> Breakeven:
    """Machines of the scope's organisation beside providers, at today's terms and prices.

    Raises:
        Forbidden: `scope` may see its own calls only.
    """
    check_sees_figures(connection, scope)
    terms = _terms(connection, scope, now_ns)
    providers = _providers(connection, scope, now_ns)
    measured = sums(connection, scope, span, ["machine", "model_id"])
    rows: list[BreakevenRow] = []
    for (machine, model_id), one in sorted(measured.items()):
        if machine not in terms or not one.machine_ns or not one.input_tokens + one.output_tokens:
            continue
        receipts = span.receipts(machine=machine, model_id=model_id)
        for provider, rates in providers.items():
            row = _row((machine, model_id, provider), terms[machine], rates, one, receipts)
            rows.append(row)
    return Breakeven(from_ns=span.from_ns, to_ns=span.to_ns, rows=tuple(rows))


def _row(
    names: tuple[str, str, str], terms: Rated, rates: Rates, one: Figures, receipts: str
) -> BreakevenRow:
    machine, model_id, provider = names
    tokens = one.input_tokens + one.output_tokens
    mix = Usage(one.input_tokens, one.cached_tokens, one.output_tokens, one.reasoning_tokens)
    # Rates for long inputs are for single calls; what all calls together had is no input.
    asked = Fraction(amount(msgspec.structs.replace(rates, above={}), mix), tokens)
    fixed = Fraction(terms.fixed_nano(DAY_NS) + _idle_energy_nano(terms))
    loaded = terms.load_nano_per_hour * _HOURS_PER_DAY
    most = Fraction(tokens * DAY_NS, one.machine_ns)
    volume = breakeven_tokens(fixed, loaded, most, asked)
    each = token_costs(
        terms.load_nano_per_hour,
        Work(
            machine_ns=one.machine_ns,
            prefill_machine_ns=one.prefill_machine_ns,
            input_tokens=one.input_tokens,
            cached_tokens=one.cached_tokens,
            output_tokens=one.output_tokens,
        ),
    )
    return BreakevenRow(
        machine=machine,
        model_id=model_id,
        provider=provider,
        calls=one.calls,
        input_tokens=one.input_tokens,
        cached_tokens=one.cached_tokens,
        output_tokens=one.output_tokens,
        machine_ns=one.machine_ns,
        tokens_per_s=ratio(tokens, _NS_PER_S, one.machine_ns) or 0,
        tokens_per_day_max=int(most),
        machine_per_day_nano=int(fixed),
        own_per_million_nano=_rounded(loaded / most * _MILLION),
        input_per_million_nano=_per_million(each.uncached_input),
        output_per_million_nano=_per_million(each.output),
        provider_per_million_nano=_rounded(asked * _MILLION),
        breakeven_tokens_per_day=None if volume is None else -int(-volume // 1),
        breakeven_bp=None if volume is None else _rounded(volume / most * _BASIS_POINTS),
        receipts=receipts,
    )


def _idle_energy_nano(terms: Rated) -> int:
    """What a day of standing idle draws."""
    return terms.energy_nano(terms.estimated_mj(_HOURS_PER_DAY * NS_PER_HOUR, 0))


def _per_million(each: Fraction | None) -> int | None:
    return None if each is None else _rounded(each * _MILLION)


def _rounded(value: Fraction) -> int:
    return half_even(value.numerator, value.denominator)


def _terms(connection: Connection, scope: Scope, now_ns: int) -> Mapping[str, Rated]:
    """The machines' present terms."""
    return {
        one.name: rated(one.id, one.effective_ns, decode_terms(one))
        for one in machine_rows.every(connection, scope)
        if one.effective_ns <= now_ns
    }


def _providers(connection: Connection, scope: Scope, now_ns: int) -> Mapping[str, Rates]:
    """What each upstream asks for each of its models now: what is set, else the list price."""
    found: dict[str, tuple[str, str]] = {}
    for one in prices.every(connection, scope):
        if one.side != "cost" or one.effective_ns > now_ns:
            continue
        if one.origin == "set" or found.get(one.target, ("list",))[0] == "list":
            found[one.target] = (one.origin, one.rates)
    return {
        target: msgspec.json.decode(rates, type=Rates)
        for target, (_, rates) in sorted(found.items())
    }
