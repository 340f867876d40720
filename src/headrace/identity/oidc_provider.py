"""A provider of OpenID Connect, over HTTP: what it says of itself, its keys, its answers.

OpenID Connect Discovery 1.0, RFC 7517 (JWKS), RFC 6749 and 7636 (codes with PKCE).
"""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import ConfigError, EngineFailed, HeadraceError, Unauthenticated
from headrace.net.http_client import HttpClient, Timeouts, header_lines

T = TypeVar("T")

_TIMEOUTS = Timeouts(connect_s=5.0, first_byte_s=10.0, silence_s=10.0, whole_s=20.0)
_BYTES_MAX = 1024 * 1024
_OK = 200
_NS_PER_S = 1_000_000_000
# A key that the provider withdraws is good here for that long at most.
_KEPT_NS = 600 * _NS_PER_S
# A key that nobody knows makes us look again, so often at most.
_AGAIN_NS = 10 * _NS_PER_S
# What failed is not tried again for so long.
_FAILED_NS = 3 * _NS_PER_S
_NAME = "the sign-in provider"


class ProviderConfig(msgspec.Struct, frozen=True):
    """What is set about the provider. The secret is None for clients that have none."""

    issuer: str
    client_id: str
    client_secret: str | None

    def __repr__(self) -> str:
        return f"ProviderConfig(issuer={self.issuer!r}, client_secret=hidden)"


class Described(msgspec.Struct, frozen=True):
    """What the provider says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Tokens(msgspec.Struct, frozen=True):
    """What a code was worth."""

    id_token: str
    access_token: str | None = None

    def __repr__(self) -> str:
        return "Tokens(hidden)"


class SigningKey(msgspec.Struct, frozen=True):
    """A public key of the provider; `algorithm` is the only one it is for, if it says so."""

    kind: str
    algorithm: str | None
    key: Any


class Provider:
    """One provider, whose description and keys are kept for ten minutes.

    Args:
        config: Which.
        clock: The house's clock.

    Raises:
        ConfigError: The issuer is not reached by TLS, and not on this machine either.
    """

    def __init__(self, config: ProviderConfig, clock: Clock) -> None:
        self.config = config
        self._clock = clock
        self._described: Described | None = None
        self._describing = asyncio.Lock()
        self._failure: HeadraceError | None = None
        self._failed_ns = 0
        self._described_ns = 0
        self._keys: dict[str | None, SigningKey] = {}
        self._keys_ns: int | None = None
        if not _is_safe(config.issuer):
            raise ConfigError(
                "oidc_issuer must begin with https://",
                hint="plain http:// is for a provider on this very machine only",
            )

    async def described(self) -> Described:
        """What it says of itself.

        Raises:
            EngineUnavailable: It cannot be reached.
            EngineFailed: Its description is none, or is another one's.
        """
        async with self._describing:
            return await self._describe()

    async def _describe(self) -> Described:
        now_ns = self._clock.monotonic_ns()
        if self._failure is not None and now_ns - self._failed_ns < _FAILED_NS:
            raise self._failure
        if self._described is None or now_ns - self._described_ns > _KEPT_NS:
            try:
                self._described = await self._ask_description()
            except HeadraceError as error:
                # Anybody may ask: without this, each would make us ask a provider that is down.
                self._failure, self._failed_ns = error, self._clock.monotonic_ns()
                raise
            self._described_ns, self._failure = now_ns, None
        return self._described

    async def _ask_description(self) -> Described:
        url = f"{self.config.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = _read(await _ask("GET", url), Described)
        endpoints = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri)
        if found.issuer != self.config.issuer:
            raise EngineFailed(f"{_NAME} says that it is {found.issuer[:200]!r}: not oidc_issuer")
        if not all(map(_is_safe, endpoints)):
            raise EngineFailed(f"{_NAME} names endpoints that are not reached by TLS")
        return found

    async def key(self, identifier: str | None) -> SigningKey:
        """Its key of that id, or its only one; asked for anew when nobody knows it.

        Raises:
            Unauthenticated: It has no such key.
            EngineUnavailable: It cannot be reached.
        """
        now_ns = self._clock.monotonic_ns()
        age_ns = None if self._keys_ns is None else now_ns - self._keys_ns
        known = self._find(identifier)
        if age_ns is None or age_ns > _KEPT_NS or (known is None and age_ns > _AGAIN_NS):
            await self._load_keys()
            known = self._find(identifier)
        if known is None:
            raise Unauthenticated(f"{_NAME} has no key by which its answer could be checked")
        return known

    async def redeem(self, code: str, *, redirect_uri: str, verifier: str) -> Tokens:
        """What a code is worth.

        Raises:
            Unauthenticated: Nothing.
            EngineUnavailable: The provider cannot be reached.
        """
        described, config = await self.described(), self.config
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
            "client_id": config.client_id,
        }
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if config.client_secret is not None:
            if "client_secret_basic" in described.token_endpoint_auth_methods_supported:
                # Both are form-encoded before they are joined: RFC 6749, section 2.3.1.
                pair = f"{quote(config.client_id, safe='')}:{quote(config.client_secret, safe='')}"
                headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            else:
                form["client_secret"] = config.client_secret
        try:
            reply = await _ask("POST", described.token_endpoint, headers, urlencode(form).encode())
            return _read(reply, Tokens)
        except EngineFailed as error:
            raise Unauthenticated(f"{_NAME} does not take back what it gave: {error}") from None

    async def user_info(self, access_token: str) -> dict[str, Any]:
        """What it says about the person besides, nothing where it has no page for that."""
        endpoint = (await self.described()).userinfo_endpoint
        if endpoint is None or not _is_safe(endpoint):
            return {}
        reply = await _ask("GET", endpoint, {"authorization": f"Bearer {access_token}"})
        return _read(reply, dict[str, Any])

    def _find(self, identifier: str | None) -> SigningKey | None:
        if identifier is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(identifier)

    async def _load_keys(self) -> None:
        from jwt import PyJWK, PyJWTError  # noqa: PLC0415 - most installations never need it

        listed = _read(await _ask("GET", (await self.described()).jwks_uri), _KeySet)
        found: dict[str | None, SigningKey] = {}
        for each in listed.keys:
            identifier = each.get("kid")
            if each.get("use", "sig") != "sig" or each.get("kty") == "oct":
                continue
            if not isinstance(identifier, str | None):
                continue
            try:
                key = PyJWK.from_dict(each)
            except (PyJWTError, TypeError, ValueError):  # of a kind that this library does not know
                continue
            found[identifier] = SigningKey(key.key_type or "", each.get("alg"), key.key)
        self._keys, self._keys_ns = found, self._clock.monotonic_ns()


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


def _is_safe(url: str) -> bool:
    """Whether nobody on the way can read or change what goes there."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        place = urlsplit(url)
        host, _ = place.hostname or "", place.port
    except ValueError:
        return False
    on_this_machine = host in {"localhost", "127.0.0.1", "::1"}
    return bool(host) and (place.scheme == "https" or (place.scheme == "http" and on_this_machine))


def _read(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise EngineFailed(f"{_NAME} answers with something else than it should") from None


async def _ask(
    method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    """The body of a good answer; redirects are none."""
    place = urlsplit(url)
    client = HttpClient(_NAME, f"{place.scheme}://{place.netloc}")
    target = place.path or "/"
    if place.query:
        target += f"?{place.query}"
    lines = header_lines({"accept": "application/json", **(headers or {})})
    reply = await client.send(method, target, lines, body, _TIMEOUTS)
    try:
        content = await reply.read_all(_BYTES_MAX)
    finally:
        reply.release()
        client.close()
    if reply.status != _OK:
        raise EngineFailed(f"{_NAME} answered with status {reply.status}")
    return content
