"""Upstreams and the models they answer for: the tables `upstreams` and `models` of the file.

`read_routing` checks everything once; what it returns can be used as it stands.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from headrace.core.errors import ConfigError
from headrace.core.models import Abilities, Model

Dialect = Literal["openai_chat", "openai_responses", "anthropic"]

TABLES = ("upstreams", "models")
PORT = "{port}"
LOCAL_MACHINE = "local"
"""The machine that Headrace itself runs on."""
_MACHINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "cookie"})
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = frozenset({"host", "content-length", "content-type", "connection", "transfer-encoding"})


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file: a field that it does not know is an error."""


class KeySource(_Table, frozen=True, kw_only=True):
    """Where a key comes from, one of the three. The key itself never stands in the file."""

    env: str | None = None
    file: str | None = None
    command: tuple[str, ...] | None = None


class Limits(_Table, frozen=True, kw_only=True):
    """Time-outs in seconds and places; None leaves it to the upstream's, then to `LIMITS`.

    `first_token_s` is the wait for an answer's first bytes, `silence_s` that between any two
    later ones, `timeout_s` the whole answer. `running_max` calls run at the same time, and
    `queue_max` more wait.
    """

    connect_s: float | None = None
    first_token_s: float | None = None
    silence_s: float | None = None
    timeout_s: float | None = None
    running_max: int | None = None
    queue_max: int | None = None

    def over(self, defaults: "Limits") -> "Limits":
        """What is set here, and `defaults` for the rest."""
        names = Limits.__struct_fields__
        ours = {name: getattr(self, name) for name in names}
        return Limits(
            **{
                name: getattr(defaults, name) if value is None else value
                for name, value in ours.items()
            }
        )


LIMITS = Limits(
    connect_s=10.0,
    first_token_s=300.0,
    silence_s=300.0,
    timeout_s=3600.0,
    running_max=1024,
    queue_max=1024,
)


class Upstream(Limits, frozen=True, kw_only=True):
    """A server that answers: at a `url`, or a child process started by a `command`.

    `headers` are added to each request. `auth_header` is where the key goes; None: as the
    dialect does it. `read_tool_calls` has the gateway find the calls that the model writes as
    text; `extensions` sends the fields that local servers add to Chat Completions (`top_k`,
    `min_p`, reasoning). Both None: only on this machine and in private networks.

    `machine` names the hardware of our own that it runs on, whose time its calls cost; None: a
    process runs on `LOCAL_MACHINE`, and a `url` is somebody else's.

    The rest is for processes: `health` is the path that answers 200 when it is ready, `start_s`
    how long that may take, and `pass_environment` names variables that it gets beside the usual
    ones.
    """

    dialect: Dialect
    url: str | None = None
    command: tuple[str, ...] | None = None
    key: KeySource | None = None
    auth_header: Literal["authorization", "x-api-key", "api-key"] | None = None
    headers: dict[str, str] = {}
    read_tool_calls: bool | None = None
    extensions: bool | None = None
    machine: str | None = None
    health: str = "/health"
    start_s: float = 1800.0
    pass_environment: tuple[str, ...] = ()

    def is_near(self) -> bool:
        """Whether it runs on this machine or in a private network, as its name tells."""
        return self.url is None or _is_near(urlsplit(self.url).hostname or "")

    def runs_on(self) -> str | None:
        """The machine of our own that it runs on."""
        return LOCAL_MACHINE if self.machine is None and self.url is None else self.machine


class TargetConfig(Limits, frozen=True, kw_only=True):
    """One way to answer: a model of an upstream, or an installed one where none is named."""

    model: str
    upstream: str | None = None
    weight: float = 1.0


class StatedAbilities(Abilities, frozen=True, forbid_unknown_fields=True):
    """What a model can do, as the file states it."""


class ModelRoute(_Table, frozen=True, kw_only=True):
    """A model by its public name: who answers for it.

    `context_tokens` may be left out where a target is an installed model, which knows it.
    `output_tokens` is the most that one answer can have: what is held of a budget for a call.
    """

    targets: tuple[TargetConfig, ...]
    fallbacks: tuple[TargetConfig, ...] = ()
    context_tokens: int | None = None
    output_tokens: int | None = None
    abilities: StatedAbilities | None = None
    display_name: str | None = None


class Routing(msgspec.Struct, frozen=True):
    """Both tables, by name."""

    upstreams: Mapping[str, Upstream] = {}
    models: Mapping[str, ModelRoute] = {}


class TargetSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A target with every limit decided; `engine_id` names the engine that answers.

    That of an installed model is the model's id, any other `UPSTREAM/MODEL`. `machine` is the
    hardware of our own that it runs on.
    """

    engine_id: str
    upstream: str | None
    machine: str | None
    model: str
    weight: float
    limits: Limits


class RouteConfig(msgspec.Struct, frozen=True):
    """A public model, its targets and, in their order, what stands behind them."""

    model: Model
    targets: tuple[TargetSpec, ...]
    fallbacks: tuple[TargetSpec, ...] = ()


def read_routing(tables: Mapping[str, Any], path: Path) -> Routing:
    """Check both tables of a file.

    Args:
        tables: The whole file; other names are passed over.
        path: The file's name, for messages.

    Raises:
        ConfigError: Something is wrong; the text names file and table, the hint what to do.
    """
    upstreams = {
        name: _convert(table, Upstream, f"{path}: [upstreams.{name}]")
        for name, table in _named(tables, "upstreams", path)
    }
    models = {
        name: _convert(table, ModelRoute, f"{path}: [models.{_quoted(name)}]")
        for name, table in _named(tables, "models", path)
    }
    for name, upstream in upstreams.items():
        _check_upstream(upstream, f"{path}: [upstreams.{name}]")
    for name, route in models.items():
        _check_route(route, upstreams, f"{path}: [models.{_quoted(name)}]")
    return Routing(upstreams, models)


def resolve(routing: Routing, installed: Mapping[str, Model]) -> tuple[RouteConfig, ...]:
    """The routes of the file, each with its limits decided, in the file's order.

    Args:
        routing: What the file says.
        installed: The installed models that are served, by id.

    Raises:
        ConfigError: A target names a model that is not installed, or has limits that differ
            from those of the same target elsewhere.
    """
    routes: list[RouteConfig] = []
    for name, route in routing.models.items():
        targets = tuple(_spec(target, routing, installed, name) for target in route.targets)
        behind = tuple(_spec(target, routing, installed, name) for target in route.fallbacks)
        routes.append(RouteConfig(_public_model(name, route, installed), targets, behind))
    _check_shared(routes)
    return tuple(routes)


def _check_shared(routes: Iterable[RouteConfig]) -> None:
    """Targets of one engine share its places and time-outs, so that these must be the same."""
    first: dict[str, TargetSpec] = {}
    for route in routes:
        for target in (*route.targets, *route.fallbacks):
            known = first.setdefault(target.engine_id, target)
            same = (known.upstream, known.limits) == (target.upstream, target.limits)
            if target.upstream is not None and not same:
                raise ConfigError(
                    f"[models.{_quoted(route.model.id)}]: {target.engine_id} has other limits"
                    " than where it is named first",
                    hint="write the same ones, or describe the upstream again by another name",
                )


def _spec(
    target: TargetConfig, routing: Routing, installed: Mapping[str, Model], name: str
) -> TargetSpec:
    if target.upstream is None:
        if target.model not in installed:
            raise ConfigError(
                f"[models.{_quoted(name)}]: the model {target.model!r} is not installed",
                hint=f"run headrace models pull {target.model}, or name an upstream beside it",
            )
        engine_id, limits, machine = target.model, LIMITS, LOCAL_MACHINE
    else:
        upstream = routing.upstreams[target.upstream]
        engine_id = f"{target.upstream}/{target.model}"
        limits, machine = upstream.over(LIMITS), upstream.runs_on()
    return TargetSpec(
        engine_id=engine_id,
        upstream=target.upstream,
        machine=machine,
        model=target.model,
        weight=target.weight,
        limits=target.over(limits),
    )


def _public_model(name: str, route: ModelRoute, installed: Mapping[str, Model]) -> Model:
    """What clients are told of it: what the file says, else what an installed target knows."""
    known = next((installed[t.model] for t in route.targets if t.upstream is None), None)
    tokens = route.context_tokens or (known.context_tokens if known else 0)
    abilities = route.abilities or (known.abilities if known else Abilities())
    return Model(
        id=name,
        display_name=route.display_name or name,
        context_tokens=tokens,
        abilities=abilities,
        output_tokens=route.output_tokens or 0,
    )


def _named(tables: Mapping[str, Any], kind: str, path: Path) -> Iterable[tuple[str, Any]]:
    table = tables.get(kind, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {kind} is not a table", hint=f"write [{kind}.NAME] and fields")
    return table.items()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - TOML tables have text for names


def _convert(table: object, kind: type[Any], where: str) -> Any:  # noqa: ANN401 - one of two types
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        what, _, at = str(error).partition(" - at ")
        field = at.strip("`").removeprefix("$").removeprefix(".")
        raise ConfigError(
            f"{where}: {f'{field}: ' if field else ''}{what}", hint=_fields(kind, field)
        ) from None


def _fields(kind: type[Any], field: str) -> str:
    """What could stand there: the dialects, or the fields that are known."""
    if field == "dialect":
        return f"one of {', '.join(get_args(Dialect))}"
    nested = {"targets": TargetConfig, "fallbacks": TargetConfig, "key": KeySource}
    nested |= {"abilities": StatedAbilities}
    inner = nested.get(field.partition("[")[0].partition(".")[0], kind)
    return f"known fields: {', '.join(inner.__struct_fields__)}"


def _check_upstream(upstream: Upstream, where: str) -> None:
    if (upstream.url is None) == (upstream.command is None):
        raise ConfigError(
            f"{where} needs either url or command",
            hint='url = "https://…/v1" for a server that runs, command = ["…"] to start one',
        )
    if upstream.url is not None:
        _check_url(upstream.url, where)
    elif PORT not in " ".join(upstream.command or ()):
        raise ConfigError(
            f"{where}: command holds no {PORT}",
            hint=f'let it listen where it is told: "--port", "{PORT}"',
        )
    if upstream.machine is not None and not _MACHINE.fullmatch(upstream.machine):
        raise ConfigError(
            f"{where}: machine must be a short name of letters, digits and . _ -",
            hint='machine = "gpu-1"',
        )
    if upstream.key is not None:
        _check_key(upstream, upstream.key, where)
    _check_headers(upstream.headers, where)
    _check_limits(upstream, where)
    _check_process(upstream, where)


def _check_headers(headers: Mapping[str, str], where: str) -> None:
    for name, value in headers.items():
        if name.lower() in _CREDENTIALS:
            raise ConfigError(
                f"{where}: headers may not hold {name}, a credential",
                hint=f'name where the key is kept with key, and auth_header = "{name.lower()}"',
            )
        if (
            name.lower() in _OURS
            or not _HEADER_NAME.fullmatch(name)
            or not (value.isascii() and value.isprintable())
        ):
            raise ConfigError(f"{where}: the header {name!r} cannot be set")


def _check_process(upstream: Upstream, where: str) -> None:
    if not 0 < upstream.start_s < float("inf"):
        raise ConfigError(f"{where}: start_s must be a number of seconds, more than 0")
    for name in upstream.pass_environment:
        if name.startswith("HEADRACE_"):
            raise ConfigError(f"{where}: {name} is a setting of Headrace and not passed on")
    if not upstream.health.startswith("/"):
        raise ConfigError(f"{where}: health must be a path", hint='health = "/health"')


def _check_url(url: str, where: str) -> None:
    try:
        place = urlsplit(url)
        sound = place.scheme in {"http", "https"} and bool(place.hostname)
        sound = sound and (place.port is None or place.port > 0)
    except ValueError:
        raise ConfigError(f"{where}: url is not an address") from None
    if place.username or place.password:
        raise ConfigError(f"{where}: url holds a user name", hint="name the key with key")
    if not sound or place.query or place.fragment or not url.isascii():
        raise ConfigError(
            f"{where}: url is not an address of an API",
            hint='write it up to the version: "https://api.openai.com/v1"',
        )


def _check_key(upstream: Upstream, key: KeySource, where: str) -> None:
    if upstream.command is not None:
        raise ConfigError(
            f"{where}: a process takes no key", hint="leave it out; it gets one of its own"
        )
    if sum(source is not None for source in (key.env, key.file, key.command)) != 1:
        raise ConfigError(
            f"{where}: key needs one of env, file and command",
            hint='key = { env = "NAME" }, or file = "PATH", or command = ["pass", "show", "x"]',
        )
    if key.command is not None and not key.command:
        raise ConfigError(f"{where}: the key's command is empty")


def _check_route(route: ModelRoute, upstreams: Mapping[str, Upstream], where: str) -> None:
    if not route.targets:
        raise ConfigError(f"{where}: targets is empty", hint="name at least one")
    for target in (*route.targets, *route.fallbacks):
        if target.upstream is not None and target.upstream not in upstreams:
            known = ", ".join(upstreams) or "none"
            raise ConfigError(
                f"{where}: no upstream is named {target.upstream!r}",
                hint=f"known: {known}; describe it in [upstreams.{target.upstream}]",
            )
        if not 0 < target.weight < float("inf"):
            raise ConfigError(f"{where}: weight must be more than 0")
        _check_limits(target, where)
    if route.context_tokens is None and all(target.upstream for target in route.targets):
        raise ConfigError(
            f"{where}: context_tokens is missing",
            hint="say how many tokens the model's context holds: context_tokens = 131072",
        )
    for name in ("context_tokens", "output_tokens"):
        tokens: int | None = getattr(route, name)
        if tokens is not None and tokens < 1:
            raise ConfigError(f"{where}: {name} must be at least 1")


def _check_limits(limits: Limits, where: str) -> None:
    for name in Limits.__struct_fields__:
        value = getattr(limits, name)
        least = 0 if name == "queue_max" else 1 if name == "running_max" else None
        if value is None:
            continue
        if least is None and not 0 < value < float("inf"):
            raise ConfigError(f"{where}: {name} must be a number of seconds, more than 0")
        if least is not None and value < least:
            raise ConfigError(f"{where}: {name} must be at least {least}")


def _is_near(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan"))
    return address.is_private or address.is_loopback


def _quoted(name: str) -> str:
    """A name as the head of its table shows it."""
    return name if name.replace("-", "").replace("_", "").isalnum() else f'"{name}"'


def machines_of(routing: Routing) -> tuple[str, ...]:
    """Every machine of our own: this one first, then those that upstreams name, by name."""
    named = {upstream.machine for upstream in routing.upstreams.values() if upstream.machine}
    return (LOCAL_MACHINE, *sorted(named - {LOCAL_MACHINE}))
