"""What a model's tokens cost, and who says so: our own price book, your settings, a list of prices.

Whoever does not know says nothing: no call counts as free because nobody told its price.
"""

import contextlib
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from headrace.code.connect import Connection
from headrace.core.clock import Clock
from headrace.core.errors import ConfigError, HeadraceError
from headrace.ledger.prices import Rates

_DAY_NS = 86_400_000_000_000
_FILE = "list_prices.json"
_KEPT_MAX = 200


class Priced(msgspec.Struct, frozen=True):
    """Rates, None where nobody tells them; `source` is who told them, for people."""

    rates: Rates | None = None
    source: str | None = None


class _Known(msgspec.Struct):
    """What a list said of a server's model, on one day with one version of the list."""

    version: str
    day_ns: int
    rates: dict[str, Rates | None]


async def find_rates(
    connection: Connection,
    stated: Mapping[str, Rates],
    *,
    budget_nano: int | None,
    state: Path,
    clock: Clock,
) -> Priced:
    """The rates of a connection's model.

    `stated` are those of the user's and the administrator's settings, by the model's name; they
    hold for servers that are not ours. A list price is asked for once a day and server.

    Raises:
        ConfigError: There is a budget, and nobody tells what the model costs.
    """
    priced = await _find(connection, stated, state, clock)
    if budget_nano is not None and priced.rates is None:
        model = connection.model.id
        example = msgspec.json.encode({"prices": {model: {"input": "0.25", "output": "2"}}})
        raise ConfigError(
            f"a budget needs the price of the model, and nobody tells that of {model}",
            hint=f"dollars per million tokens in ~/.headrace/settings.json: {example.decode()}",
        )
    return priced


async def _find(
    connection: Connection, stated: Mapping[str, Rates], state: Path, clock: Clock
) -> Priced:
    endpoint, model = connection.client.endpoint, connection.model.id
    if endpoint.ours:
        rates = await connection.client.rates(model)
        return Priced(rates, None if rates is None else "Headrace's ledger")
    if model in stated:
        return Priced(stated[model], "your settings")
    if _is_near(endpoint.base_url):
        return Priced()
    return await _listed(endpoint.base_url, model, state / _FILE, clock)


def _is_near(url: str) -> bool:
    """Whether a server stands on this machine or in its network: no list knows its prices."""
    host = urlsplit(url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


async def _listed(url: str, model: str, path: Path, clock: Clock) -> Priced:
    from importlib.metadata import version  # noqa: PLC0415 - for servers of others only

    name, day_ns = f"{url} {model}", clock.now_ns() // _DAY_NS * _DAY_NS
    release = version("genai-prices")
    known = _read(path)
    if known is None or (known.version, known.day_ns) != (release, day_ns):
        known = _Known(release, day_ns, {})
    if name not in known.rates:
        from headrace.ledger.list_prices_asking import ask  # noqa: PLC0415 - once a day
        from headrace.ledger.list_prices_child import Question, Wanted  # noqa: PLC0415 - as above

        try:
            answer = await ask(Question([Wanted(url, model)], clock.now_ns()))
        except HeadraceError:
            return Priced()
        known.rates[name] = answer.rates[0]
        _write(path, known)
    rates = known.rates[name]
    return Priced(rates, None if rates is None else f"list prices of genai-prices {release}")


def _read(path: Path) -> _Known | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Known)
    except (OSError, msgspec.MsgspecError):
        return None  # it is only a copy


def _write(path: Path, known: _Known) -> None:
    if len(known.rates) > _KEPT_MAX:
        known.rates = dict(list(known.rates.items())[-_KEPT_MAX:])
    from headrace.safety.whole_files import write_whole  # noqa: PLC0415 - once a day

    with contextlib.suppress(OSError):  # it is only a copy
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.encode(known))
