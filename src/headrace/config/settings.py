"""Settings: read once, flag before environment before `headrace.toml` before default.

`SETTINGS` is the one list of them: flags, environment variables, the reference page and the
checks all come from it. Tables of upstreams and models are read by `routing.py`.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from headrace.config.routing import TABLES, Routing, read_routing
from headrace.core.errors import ConfigError

CONFIG_FILE = "headrace.toml"
_PORT_MAX = 65_535
_DAYS_MAX = 36_500


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, checked and of its right type. See `SETTINGS` for what each one means.

    `routing` comes from the file alone.
    """

    data: Path
    host: str
    port: int
    workers: int
    model: str | None
    open_browser: bool
    database_url: str | None
    allowed_hosts: tuple[str, ...]
    log_level: str
    log_format: str
    access_log: bool
    metrics_keys_max: int
    otlp_endpoint: str | None
    engine_threads: int | None
    engine_slots: int
    engine_context_tokens: int | None
    engine_batch_tokens: int | None
    engine_prefix_bytes_max: int
    engine_lora: tuple[Path, ...]
    body_bytes_max: int
    json_depth_max: int
    running_requests_max: int
    queue_waiting_max: int
    queue_waiting_per_key_max: int
    queue_wait_s_max: float
    file_bytes_max: int
    files_bytes_max: int
    batch_lines_max: int
    batch_bytes_max: int
    batch_running_max: int
    idempotency_kept_s: float
    idempotency_bytes_max: int
    first_event_wait_s: float
    heartbeat_s: float
    head_wait_s: float
    drain_s: float
    charge_before_last_byte: bool
    budget_wait_s: float
    responses_days: int
    moderation_model: str | None
    oidc_issuer: str | None
    oidc_client_id: str | None
    oidc_client_secret_file: Path | None
    oidc_client_secret_env: str | None
    oidc_name: str
    oidc_domains: tuple[str, ...]
    oidc_newcomers: bool
    oidc_newcomer_role: str
    routing: Routing = Routing()


class Setting(msgspec.Struct, frozen=True):
    """One setting: its name, how text becomes its value, its default and what it does."""

    name: str
    parse: Callable[[str], object]
    default: Callable[[], object]
    text: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"HEADRACE_{self.name.upper()}"


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("must be at least 1")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("must be 0 or more")
    return value


def _days(text: str) -> int:
    value = int(text)
    if not 1 <= value <= _DAYS_MAX:
        raise ValueError(f"must be between 1 and {_DAYS_MAX} days")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= _PORT_MAX:
        raise ValueError("must be between 0 and 65535; 0 takes any free port")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError("must be a number of seconds, 0 or more")
    return value


def _some_seconds(text: str) -> float:
    value = _seconds(text)
    if not value:
        raise ValueError("must be more than 0")
    return value


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError("must be true or false")
    return words[text.lower()]


def _level(text: str) -> str:
    if text.lower() not in {"debug", "info", "warning", "error"}:
        raise ValueError("must be debug, info, warning or error")
    return text.lower()


def _log_format(text: str) -> str:
    if text.lower() not in {"text", "json"}:
        raise ValueError("must be text or json")
    return text.lower()


def _newcomer_role(text: str) -> str:
    if text.lower() not in {"member", "viewer"}:
        raise ValueError("must be member or viewer")
    return text.lower()


def _http_url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return text.rstrip("/")


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _files(text: str) -> tuple[Path, ...]:
    return tuple(_path(path.strip()) for path in text.split(",") if path.strip())


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def _default_data() -> Path:
    from platformdirs import user_data_path  # noqa: PLC0415 - only when no folder is named

    return user_data_path("headrace", appauthor=False)


def _constant(value: object) -> Callable[[], object]:
    return lambda: value


SETTINGS: tuple[Setting, ...] = (
    Setting("data", _path, _default_data, "Folder that holds everything that must survive."),
    Setting("host", str, _constant("127.0.0.1"), "Address to listen on; loopback unless changed."),
    Setting("port", _port, _constant(4747), "Port to listen on; 0 takes any free one."),
    Setting(
        "workers",
        _positive,
        _constant(1),
        "API processes; more than one helps where upstreams answer more than a core can pass on.",
    ),
    Setting(
        "model",
        str,
        _constant(None),
        "Model to serve: an installed id, a source, scripted:PATH, or none.",
    ),
    Setting(
        "open_browser", _boolean, _constant(value=True), "Open the chat in a browser at start."
    ),
    Setting("database_url", str, _constant(None), "PostgreSQL URL instead of the SQLite file."),
    Setting(
        "allowed_hosts", _names, _constant(()), "Further Host names to answer to, comma-separated."
    ),
    Setting(
        "log_level", _level, _constant("info"), "How much is logged: debug, info, warning, error."
    ),
    Setting("log_format", _log_format, _constant("text"), "Lines of the log: text or json."),
    Setting(
        "access_log", _boolean, _constant(value=False), "One line of the log for each model call."
    ),
    Setting(
        "metrics_keys_max",
        _positive,
        _constant(100),
        "API keys that figures tell apart; the calls of further ones count as 'other'.",
    ),
    Setting(
        "otlp_endpoint",
        _http_url,
        _constant(None),
        "URL of an OpenTelemetry collector that gets a trace of each call.",
    ),
    Setting(
        "engine_threads",
        _positive,
        _constant(None),
        "Engine threads; default leaves one core free.",
    ),
    Setting(
        "engine_slots", _positive, _constant(4), "Answers that the engine decodes at the same time."
    ),
    Setting(
        "engine_context_tokens",
        _positive,
        _constant(None),
        "Context of one answer; default 8192, or what the model has.",
    ),
    Setting(
        "engine_batch_tokens",
        _positive,
        _constant(None),
        "Prompt tokens per step; default from measured speed.",
    ),
    Setting(
        "engine_prefix_bytes_max",
        _not_negative,
        _constant(2 * 1024 * 1024 * 1024),
        "Disk for computed beginnings of prompts, for each model; 0 keeps none.",
    ),
    Setting(
        "engine_lora",
        _files,
        _constant(()),
        "LoRA adapters of the default model: GGUF files, comma-separated.",
    ),
    Setting(
        "body_bytes_max", _positive, _constant(32 * 1024 * 1024), "Largest request body in bytes."
    ),
    Setting("json_depth_max", _positive, _constant(64), "Deepest nesting of a JSON body."),
    Setting(
        "running_requests_max",
        _positive,
        _constant(16_384),
        "Model calls that run or wait at the same time; more get 'overloaded'.",
    ),
    Setting(
        "queue_waiting_max",
        _positive,
        _constant(256),
        "Model calls that may wait for one engine; more get 'overloaded'.",
    ),
    Setting(
        "queue_waiting_per_key_max",
        _positive,
        _constant(128),
        "Those of one key that may wait for one engine; more get 'rate limited'.",
    ),
    Setting(
        "queue_wait_s_max",
        _seconds,
        _constant(300.0),
        "How long a model call may wait for an engine before it gets 'overloaded'.",
    ),
    Setting(
        "file_bytes_max",
        _positive,
        _constant(512 * 1024 * 1024),
        "Largest file that may be uploaded, in bytes.",
    ),
    Setting(
        "files_bytes_max",
        _positive,
        _constant(20 * 1024 * 1024 * 1024),
        "Bytes that all files of one organisation may hold.",
    ),
    Setting("batch_lines_max", _positive, _constant(50_000), "Calls in one batch."),
    Setting(
        "batch_bytes_max",
        _positive,
        _constant(200 * 1024 * 1024),
        "Largest input of a batch in bytes.",
    ),
    Setting(
        "batch_running_max",
        _positive,
        _constant(4),
        "Calls of batches at the same time; they go behind all others.",
    ),
    Setting(
        "idempotency_kept_s",
        _seconds,
        _constant(86_400.0),
        "How long a reply is kept for calls with the same Idempotency-Key.",
    ),
    Setting(
        "idempotency_bytes_max",
        _positive,
        _constant(4 * 1024 * 1024),
        "Longest reply that is kept under an Idempotency-Key, in bytes.",
    ),
    Setting(
        "first_event_wait_s",
        _seconds,
        _constant(10.0),
        "How long a streamed reply waits for its true status.",
    ),
    Setting(
        "heartbeat_s", _seconds, _constant(10.0), "Silence after which a stream sends a keep-alive."
    ),
    Setting(
        "head_wait_s",
        _some_seconds,
        _constant(30.0),
        "How long the headers of a request may take, from a silent connection too.",
    ),
    Setting("drain_s", _seconds, _constant(20.0), "How long a stop waits for running answers."),
    Setting(
        "charge_before_last_byte",
        _boolean,
        _constant(value=True),
        "Whether an answer's last byte waits until its charge is on the disk.",
    ),
    Setting(
        "budget_wait_s",
        _seconds,
        _constant(2.0),
        "How long a call waits for others to give back what they hold of a budget.",
    ),
    Setting("responses_days", _days, _constant(30), "How long stored responses are kept, in days."),
    Setting(
        "moderation_model",
        str,
        _constant(None),
        "Model that judges texts for /v1/moderations; without one the route is off.",
    ),
    Setting(
        "oidc_issuer",
        str,
        _constant(None),
        "Issuer URL of the OpenID Connect provider that people sign in with.",
    ),
    Setting("oidc_client_id", str, _constant(None), "The client id that Headrace has there."),
    Setting(
        "oidc_client_secret_file",
        _path,
        _constant(None),
        "File that holds the client's secret; a public client has none.",
    ),
    Setting(
        "oidc_client_secret_env",
        str,
        _constant(None),
        "Name of an environment variable that holds the client's secret instead.",
    ),
    Setting(
        "oidc_name",
        str,
        _constant("single sign-on"),
        "What the sign-in page calls the provider.",
    ),
    Setting(
        "oidc_domains",
        _names,
        _constant(()),
        "Domains of the addresses that may come in so, comma-separated; empty lets all.",
    ),
    Setting(
        "oidc_newcomers",
        _boolean,
        _constant(value=False),
        "Whether people whom nobody invited get an account when they first sign in so.",
    ),
    Setting(
        "oidc_newcomer_role",
        _newcomer_role,
        _constant("member"),
        "Their role: member or viewer.",
    ),
)


def load_settings(flags: Mapping[str, object], config: Path | None = None) -> Settings:
    """Read all settings once.

    Args:
        flags: Values given on the command line, by setting name; None means not given.
        config: The configuration file; default `headrace.toml` in the working folder, if there.

    Raises:
        ConfigError: A value is wrong or a name unknown; the text says where and what to do.
    """
    path, from_file = _read_file(config)
    values: dict[str, object] = {}
    for setting in SETTINGS:
        flag, variable = flags.get(setting.name), os.environ.get(setting.variable)
        if flag is not None:
            values[setting.name] = _parse(setting, flag, f"--{setting.name.replace('_', '-')}")
        elif variable:
            values[setting.name] = _parse(setting, variable, setting.variable)
        elif setting.name in from_file:
            values[setting.name] = _parse(setting, from_file[setting.name], CONFIG_FILE)
        else:
            values[setting.name] = setting.default()
    values["routing"] = read_routing(from_file, path)
    return Settings(**values)  # pyright: ignore[reportArgumentType] - parsers give the right types


def _parse(setting: Setting, value: object, origin: str) -> object:
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)  # pyright: ignore[reportUnknownArgumentType] - TOML arrays
    try:
        return setting.parse(text)
    except ValueError as error:
        raise ConfigError(
            f"{origin}: {setting.name} = {text!r} is not valid: {error}", hint=setting.text
        ) from None


def _read_file(config: Path | None) -> tuple[Path, dict[str, Any]]:
    path = config or Path(os.environ.get("HEADRACE_CONFIG", CONFIG_FILE))
    if not path.is_file():
        if config is not None or "HEADRACE_CONFIG" in os.environ:
            raise ConfigError(f"configuration file {path} does not exist")
        return path, {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    known = {setting.name for setting in SETTINGS} | set(TABLES)
    unknown = sorted(set(table) - known)
    if unknown:
        raise ConfigError(
            f"{path}: unknown setting {unknown[0]!r}", hint=f"known: {', '.join(sorted(known))}"
        )
    return path, table
