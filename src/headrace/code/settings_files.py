"""Settings files of Claude Code and our own: which there are, what they say, writing a rule."""

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from headrace.agent.terminal import one_line
from headrace.core.errors import ConfigError, InvalidRequest
from headrace.ledger.prices import Rates
from headrace.safety.permissions import mode_of
from headrace.safety.rules import Kind, Rule, Rules, Scope, parse_rule
from headrace.safety.trust import Trust, bundle_of
from headrace.safety.whole_files import read_plain, write_whole

MANAGED = (
    Path("/etc/headrace/settings.json"),
    Path("/Library/Application Support/ClaudeCode/managed-settings.json")
    if sys.platform == "darwin"
    else Path("/etc/claude-code/managed-settings.json"),
)
_FOLDERS = (".headrace", ".claude")
_NOTICE_CHARS_MAX, _ERROR_CHARS_MAX, _NOTICES_MAX = 300, 500, 20
_KINDS: tuple[Kind, ...] = ("allow", "ask", "deny")
_KNOWN = {"permissions", "sandbox", "prices", "$schema"}
_KNOWN_PERMISSIONS = {
    *_KINDS,
    "defaultMode",
    "additionalDirectories",
    "disableBypassPermissionsMode",
}


class SandboxNetwork(msgspec.Struct, frozen=True, rename="camel"):
    """`sandbox.network`: hosts that commands may reach, and whether sockets in files are on."""

    allowed_domains: tuple[str, ...] = ()
    allow_all_unix_sockets: bool = False


class SandboxSettings(msgspec.Struct, frozen=True, rename="camel"):
    """`sandbox` of the highest scope that has it; a repository's counts for nothing."""

    network: SandboxNetwork = SandboxNetwork()
    secrets_shown: bool = False


class CodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What all files and flags together say.

    Attributes:
        rules: Highest scope first. Allow rules of an untrusted workspace are not among them.
        mode: What `permissions.defaultMode` says, by the highest scope that may; None: nothing.
        directories: `permissions.additionalDirectories`, absolute.
        bypass_barred_by: The file that forbids bypassPermissions; None where none does.
        prices: `prices`, by the model's name; a repository's count for nothing.
        notices: Keys that mean nothing here, and what an untrusted workspace wanted; one line each.
    """

    rules: Rules
    mode: str | None
    directories: tuple[str, ...]
    bypass_barred_by: str | None
    notices: tuple[str, ...]
    sandbox: SandboxSettings = SandboxSettings()
    prices: dict[str, Rates] = {}


class _Source(NamedTuple):
    scope: Scope
    path: Path
    shown: str
    root: Path

    @property
    def of_repository(self) -> bool:
        return self.scope in {"local", "project"}


def load(
    workspace: Path,
    *,
    home: Path,
    trusted: bool,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
    managed: Sequence[Path] = MANAGED,
) -> CodeSettings:
    """Read them all. `allow` and `deny` are rules from flags, each one rule.

    Raises:
        ConfigError: A file is malformed (names file, line and column) or a rule is wrong.
    """
    root = str(workspace)
    flags = Rules(
        tuple(parse_rule(r, kind="allow", scope="flags", root=root, home=str(home)) for r in allow),
        deny=tuple(
            parse_rule(r, kind="deny", scope="flags", root=root, home=str(home)) for r in deny
        ),
    )
    gathered = _Gathered(workspace, home, trusted=trusted)
    sources = list(_sources(workspace, home, managed))
    try:
        for source in sources:
            if source.scope == "managed":
                gathered.add(source)
        gathered.rules += flags
        for source in sources:
            if source.scope != "managed":
                gathered.add(source)
    except ConfigError as error:
        raise ConfigError(one_line(error.message, _ERROR_CHARS_MAX), hint=error.hint) from None
    return CodeSettings(
        rules=gathered.rules,
        mode=gathered.mode,
        directories=tuple(gathered.directories),
        bypass_barred_by=gathered.barred_by,
        notices=_shown(gathered.notices),
        sandbox=gathered.sandbox or SandboxSettings(),
        prices=gathered.prices,
    )


def _shown(notices: list[str]) -> tuple[str, ...]:
    """Notices quote what a repository wrote: each is a line, and they are not endless."""
    lines = tuple(one_line(each, _NOTICE_CHARS_MAX) for each in notices[:_NOTICES_MAX])
    more = len(notices) - len(lines)
    return (*lines, f"and {more} more like these") if more else lines


def _sources(workspace: Path, home: Path, managed: Sequence[Path]) -> Iterator[_Source]:
    for path in managed:
        yield _Source("managed", path, str(path), workspace)
    # In the home folder itself the workspace's settings are the user's.
    if os.path.realpath(workspace) != os.path.realpath(home):
        for scope, name in (("local", "settings.local.json"), ("project", "settings.json")):
            for folder in _FOLDERS:
                path = workspace / folder / name
                yield _Source(cast("Scope", scope), path, f"{folder}/{name}", workspace)
    for folder in _FOLDERS:
        path = home / folder / "settings.json"
        yield _Source("user", path, f"~/{folder}/settings.json", home)


class _Gathered:
    """The sum of files, in order of precedence."""

    def __init__(self, workspace: Path, home: Path, *, trusted: bool) -> None:
        self.rules = Rules()
        self.mode: str | None = None
        self.directories: list[str] = []
        self.barred_by: str | None = None
        self.sandbox: SandboxSettings | None = None
        self.prices: dict[str, Rates] = {}
        self.notices: list[str] = []
        self._workspace = workspace
        self._home = home
        self._trusted = trusted

    def add(self, source: _Source) -> None:
        content = _content(source)
        if content is None:
            if source.path.is_symlink() or source.path.parent.is_symlink():
                self.notices.append(f"{source.shown} is behind a link, which is not followed")
            elif source.path.exists():
                raise ConfigError(f"{source.shown} is no plain file of at most 1 MB")
            return
        settings = _decoded(content, source.shown)
        permissions: dict[str, Any] = _of_type(settings, "permissions", dict, source.shown) or {}
        for key in sorted({*settings} - _KNOWN):
            self.notices.append(f"{source.shown}: `{key}` means nothing here")
        for key in sorted({*permissions} - _KNOWN_PERMISSIONS):
            self.notices.append(f"{source.shown}: `permissions.{key}` means nothing here")
        loosens = self._trusted or not source.of_repository
        self._add_rules(source, permissions, loosens=loosens)
        self._add_rest(source, permissions, loosens=loosens)
        self._add_sandbox(source, settings)
        self._add_prices(source, settings)

    def _add_sandbox(self, source: _Source, settings: dict[str, Any]) -> None:
        if "sandbox" not in settings:
            return
        if source.of_repository:
            self.notices.append(f"{source.shown}: no repository may open the sandbox")
            return
        try:
            found = msgspec.convert(settings["sandbox"], SandboxSettings)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{source.shown}: `sandbox`: {error}") from None
        self.sandbox = self.sandbox or found

    def _add_prices(self, source: _Source, settings: dict[str, Any]) -> None:
        prices: dict[str, Any] = _of_type(settings, "prices", dict, source.shown) or {}
        if not prices:
            return
        if source.of_repository:
            self.notices.append(f"{source.shown}: no repository may say what a model costs")
            return
        from headrace.ledger.rate_texts import StatedRates, read  # noqa: PLC0415 - if there are any

        for model, stated in prices.items():
            try:
                rates = read(msgspec.convert(stated, StatedRates, strict=True))
            except msgspec.ValidationError as error:
                raise ConfigError(f"{source.shown}: `prices` of {model!r}: {error}") from None
            except InvalidRequest as error:
                hint = error.hint or 'dollars per million tokens, as a text: "0.25"'
                raise ConfigError(
                    f"{source.shown}: `prices` of {model!r}: {error.message}", hint=hint
                ) from None
            self.prices.setdefault(model, rates)

    def _add_rules(self, source: _Source, permissions: dict[str, Any], *, loosens: bool) -> None:
        found: dict[Kind, tuple[Rule, ...]] = {}
        for kind in _KINDS:
            values: list[Any] = _of_type(permissions, kind, list, source.shown) or []
            found[kind] = tuple(self._rule(value, kind, source) for value in values)
        if found["allow"] and not loosens:
            count = len(found["allow"])
            self.notices.append(f"{source.shown}: {count} allow rules wait for the folder's trust")
            found["allow"] = ()
        self.rules += Rules(found["allow"], found["ask"], found["deny"])

    def _rule(self, value: Any, kind: Kind, source: _Source) -> Rule:  # noqa: ANN401 - JSON
        return parse_rule(
            value,
            kind=kind,
            scope=source.scope,
            root=str(source.root),
            file=source.shown,
            home=str(self._home),
        )

    def _add_rest(self, source: _Source, permissions: dict[str, Any], *, loosens: bool) -> None:
        if permissions.get("disableBypassPermissionsMode") == "disable":
            self.barred_by = self.barred_by or source.shown
        directories: list[Any] = (
            _of_type(permissions, "additionalDirectories", list, source.shown) or []
        )
        mode = _of_type(permissions, "defaultMode", str, source.shown)
        if (directories or mode) and not loosens:
            self.notices.append(f"{source.shown}: mode and folders wait for the folder's trust")
            return
        for each in directories:
            if not isinstance(each, str) or not each:
                raise ConfigError(f"{source.shown}: additionalDirectories has {each!r}")
            text = str(self._home) + each[1:] if each == "~" or each.startswith("~/") else each
            path = os.path.normpath(self._workspace / text)
            self.directories += [path] if path not in self.directories else []
        if mode and self.mode is None:
            self._add_mode(source, mode)

    def _add_mode(self, source: _Source, mode: str) -> None:
        try:
            mode = mode_of(mode)
        except InvalidRequest:
            self.notices.append(f"{source.shown}: there is no mode {mode!r} here")
            return
        if mode == "bypassPermissions" and source.of_repository:
            self.notices.append(f"{source.shown}: no repository may set bypassPermissions")
            return
        self.mode = mode


def _content(source: _Source) -> bytes | None:
    """A file's bytes. What a repository brings is read without following links, as it is hashed."""
    try:
        if source.of_repository:
            return None if source.path.parent.is_symlink() else read_plain(source.path)
        return read_plain(Path(os.path.realpath(source.path)))
    except OSError as error:
        raise ConfigError(f"{source.shown} cannot be read: {error.strerror}") from None


def _decoded(content: bytes, shown: str) -> dict[str, Any]:
    import json  # noqa: PLC0415 - only where there are settings; it tells line and column

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ConfigError(f"{shown}: {twice!r} stands there twice")
        return dict(pairs)

    try:
        value = json.loads(content.decode("utf-8-sig") or "{}", object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{shown}: {where}: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{shown} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{shown}: line 1, column 1: settings are an object, {{…}}")
    return cast("dict[str, Any]", value)


def _of_type(values: dict[str, Any], key: str, kind: type, shown: str) -> Any:  # noqa: ANN401
    value = values.get(key)
    if value is not None and not isinstance(value, kind):
        words = {dict: "an object", list: "a list", str: "a text"}[kind]
        raise ConfigError(f"{shown}: `{key}` is not {words}")
    return value


def keep(rule: str, scope: Scope, *, workspace: Path, home: Path) -> Path:
    """Write an allow rule into the local or user settings, leaving all else in the file as it is.

    Raises:
        ConfigError: The file is malformed or behind a link, and is left as it was; or the scope
            has no file to write to.
    """
    import json  # noqa: PLC0415 - only when something is kept

    if scope == "local":
        path, shown = workspace / ".headrace/settings.local.json", ".headrace/settings.local.json"
        if path.parent.is_symlink() or path.is_symlink():
            raise ConfigError(f"{shown} is behind a link; the rule is not written there")
    elif scope == "user":
        path, shown = Path(os.path.realpath(home / ".headrace/settings.json")), "your settings"
    else:
        raise ConfigError(f"rules are kept in the scopes local and user, not in {scope}")
    content = read_plain(path)
    if content is None and path.exists():
        raise ConfigError(f"{shown} is no plain file of at most 1 MB")
    settings = _decoded(content or b"{}", shown)
    permissions: dict[str, Any] = _of_type(settings, "permissions", dict, shown) or {}
    allow: list[Any] = _of_type(permissions, "allow", list, shown) or []
    if rule not in allow:
        settings["permissions"] = {**permissions, "allow": [*allow, rule]}
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            if scope == "local":
                (path.parent / ".gitignore").write_text("settings.local.json\n")
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        write_whole(path, text.encode(), mode=mode)
    return path


def saver(workspace: Path, *, home: Path, trust: Trust) -> Callable[[str, Scope], str]:
    """What a Policy keeps rules with: writes them, and trust goes on where it held before."""

    def save(rule: str, scope: Scope) -> str:
        before = bundle_of(workspace)
        path = keep(rule, scope, workspace=workspace, home=home)
        if scope == "local":
            trust.renew(before, bundle_of(workspace), ".headrace/settings.local.json")
            return ".headrace/settings.local.json"
        return str(path)

    return save
