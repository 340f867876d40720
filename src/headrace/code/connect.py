"""Which server answers: the one a flag or the environment names, else our own.

In this order: `--endpoint`, `HEADRACE_CODE_ENDPOINT`, `ANTHROPIC_BASE_URL`, `OPENAI_BASE_URL`, the
Headrace of this user, which is started if none runs. No file of a repository has a say: whoever
chose the address would get all that is sent.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from headrace.agent.client import Client
from headrace.agent.endpoint import Dialect, Endpoint
from headrace.code.flags import Flags
from headrace.core.errors import ConfigError, InvalidRequest, ModelNotFound, NotFound
from headrace.core.models import Model

if TYPE_CHECKING:
    from headrace.agent.start import Watcher

CONTEXT_TOKENS_ASSUMED = 8192
"""Where neither the server nor a profile tells the window; small, since overflow is cut silently
by many servers."""

_ANTHROPIC_HOST = "api.anthropic.com"
_OPENAI_HOST = "api.openai.com"
_WINDOWS = {"claude": 200_000, "gpt-5": 272_000, "gpt-4.1": 1_047_576, "gpt-4o": 128_000}
"""Published windows of models whose servers do not tell them, by the name's beginning."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A server and the model chosen there.

    Attributes:
        client: Speaks with it.
        model: Its window is 0 where nobody knows it.
        origin: Who chose the server, for people: a flag, a variable, or our own Headrace.
    """

    client: Client
    model: Model
    origin: str


def data_folder(flags: Flags) -> Path:
    """Where everything is kept: flag, `HEADRACE_DATA`, or the default.

    `headrace.toml` is not read: in the working folder it may be anybody's.
    """
    named = flags.data or os.environ.get("HEADRACE_DATA")
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_data_path  # noqa: PLC0415 - only when no folder is named

    return user_data_path("headrace", appauthor=False)


def chosen(flags: Flags, environ: Mapping[str, str]) -> tuple[Endpoint, str] | None:
    """The endpoint that a flag or the environment names, and which of them; None: our own.

    Raises:
        ConfigError: A variable holds no URL or no dialect.
    """
    if flags.endpoint:
        return _endpoint(flags.endpoint, flags.dialect, environ), "--endpoint"
    if url := environ.get("HEADRACE_CODE_ENDPOINT"):
        dialect = flags.dialect or environ.get("HEADRACE_CODE_DIALECT")
        return _endpoint(url, dialect, environ), "HEADRACE_CODE_ENDPOINT"
    if url := environ.get("ANTHROPIC_BASE_URL"):
        return _endpoint(url, flags.dialect or "anthropic", environ), "ANTHROPIC_BASE_URL"
    if url := environ.get("OPENAI_BASE_URL"):
        return _endpoint(url, flags.dialect or "openai_chat", environ), "OPENAI_BASE_URL"
    return None


def _endpoint(url: str, dialect: str | None, environ: Mapping[str, str]) -> Endpoint:
    if not url.startswith(("http://", "https://")) or not urlsplit(url).hostname:
        raise ConfigError(f"{url!r} is no address of a server", hint="http://… or https://…")
    speaks = _dialect(url, dialect)
    return Endpoint(base_url=url, dialect=speaks, key=_key(url, speaks, environ))


def _dialect(url: str, named: str | None) -> Dialect:
    match named:
        case "anthropic" | "openai_chat" | "openai_responses":
            return named
        case None | "":
            return "anthropic" if urlsplit(url).hostname == _ANTHROPIC_HOST else "openai_chat"
        case _:
            raise ConfigError(
                f"there is no dialect {named!r}", hint="anthropic, openai_chat, openai_responses"
            )


def _key(url: str, dialect: Dialect, environ: Mapping[str, str]) -> str:
    """The key for a server: ours for any, a provider's only for the host that it belongs to."""
    if key := environ.get("HEADRACE_CODE_KEY"):
        return key
    host = urlsplit(url).hostname
    if dialect == "anthropic":
        if host in {_ANTHROPIC_HOST, urlsplit(environ.get("ANTHROPIC_BASE_URL", "")).hostname}:
            return environ.get("ANTHROPIC_AUTH_TOKEN") or environ.get("ANTHROPIC_API_KEY") or ""
    elif host in {_OPENAI_HOST, urlsplit(environ.get("OPENAI_BASE_URL", "")).hostname}:
        return environ.get("OPENAI_API_KEY") or ""
    return ""


async def connect(
    flags: Flags, environ: Mapping[str, str], data: Path, watcher: "Watcher | None" = None
) -> Connection:
    """Find the server and the model; our own Headrace is started if none runs.

    `watcher` hears how that goes on, as in `agent.start.find_or_start`.

    Raises:
        ModelNotFound: No such model is served there, or none at all.
        HeadraceError: The server refuses, or is not there.
    """
    named = chosen(flags, environ)
    fresh = False
    if named is None:
        endpoint, fresh = await _own(flags, environ, data, watcher)
        origin = "Headrace"
    else:
        endpoint, origin = named
    client = Client(endpoint)
    model = flags.model or _model_named(origin, environ)
    # A Headrace that was just started was told what to serve, and has it as its default.
    return Connection(
        client=client, model=await choose(client, None if fresh else model), origin=origin
    )


async def _own(
    flags: Flags, environ: Mapping[str, str], data: Path, watcher: "Watcher | None"
) -> tuple[Endpoint, bool]:
    from headrace.agent.start import find_or_start, wait_ready  # noqa: PLC0415 - only for our own

    # Not in this folder: its `headrace.toml` may name programs to start.
    os.makedirs(data, mode=0o700, exist_ok=True)  # noqa: PTH103 - one call, before any waiting
    run, fresh = await find_or_start(data, flags.model, cwd=data, watcher=watcher)
    key = environ.get("HEADRACE_API_KEY") or run.credential
    endpoint = Endpoint(base_url=run.url, key=key, ours=True)
    if fresh:
        await wait_ready(Client(endpoint))
    return endpoint, fresh


def _model_named(origin: str, environ: Mapping[str, str]) -> str | None:
    """The model that the environment names for this server."""
    provider = {"ANTHROPIC_BASE_URL": "ANTHROPIC_MODEL", "OPENAI_BASE_URL": "OPENAI_MODEL"}
    of_provider = environ.get(provider[origin]) if origin in provider else None
    return environ.get("HEADRACE_CODE_MODEL") or of_provider or None


async def choose(client: Client, name: str | None) -> Model:
    """The model of that name, or the default one.

    Raises:
        ModelNotFound: Our own Headrace does not serve it, or there is none at all.
        HeadraceError: The server refuses, or is not there.
    """
    try:
        served = await client.models()
    except (InvalidRequest, NotFound):
        # A server without a list of models: the name must do.
        served = ()
    chats = [model for model in served if model.abilities.chat]
    if name is None:
        if not chats:
            raise ModelNotFound("no model is served", hint="name one with --model")
        return _with_window(chats[0])
    for model in served:
        if model.id == name:
            return _with_window(model)
    if client.endpoint.ours and chats:
        known = ", ".join(model.id for model in chats)
        raise ModelNotFound(f"no model {name!r} is served", hint=f"served: {known}")
    return _with_window(Model(name, name, 0))


def _with_window(model: Model) -> Model:
    if model.context_tokens:
        return model
    for beginning, tokens in _WINDOWS.items():
        if model.id.rpartition("/")[2].startswith(beginning):
            return msgspec.structs.replace(model, context_tokens=tokens)
    return model
