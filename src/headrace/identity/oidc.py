"""Signing in with OpenID Connect: the code flow with PKCE, state and nonce.

What goes with the browser stands in a signed cookie, so nothing is kept here for sign-ins that
nobody ends. OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3.7.
"""

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import urlencode

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import Overloaded, Unauthenticated
from headrace.identity.oidc_provider import Provider, SigningKey
from headrace.identity.secrets import digest, new_secret
from headrace.identity.throttle import Throttle, network_of

FLOW_S = 600
"""How long somebody may take at the provider."""
# Signatures of public keys only: with a shared secret, or none, anybody could sign.
_ALGORITHMS = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
)
# Each try costs the provider a request, which may lose patience with all of us.
_TRIES_BURST, _TRIES_EVERY_S = 20, 6.0
_AT_ONCE_MAX = 32
_RETRY_AFTER_S = 2.0
_LEEWAY_S = 60
_SUBJECT_LENGTH_MAX = 255
_NS_PER_S = 1_000_000_000


class Known(msgspec.Struct, frozen=True):
    """Whom the provider vouches for; the address only if it says that it has checked it."""

    issuer: str
    subject: str
    email: str | None
    name: str | None


class Departure(msgspec.Struct, frozen=True):
    """Where to send the browser, and the cookie it must bring back."""

    url: str
    cookie: str


class _Flow(msgspec.Struct, frozen=True):
    """What one sign-in is bound by."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    until_s: int


class Oidc:
    """Sign-ins with one provider.

    Args:
        provider: Which.
        pepper: The installation's HMAC key.
        clock: The house's clock.
        name: What people call the provider.
    """

    def __init__(self, provider: Provider, pepper: bytes, clock: Clock, *, name: str) -> None:
        self.name = name
        self._provider = provider
        self._pepper = pepper
        self._clock = clock
        self._clients = Throttle(clock, burst=_TRIES_BURST, every_s=_TRIES_EVERY_S)
        self._running = 0

    async def begin(self, redirect_uri: str) -> Departure:
        """Begin a sign-in.

        Args:
            redirect_uri: Where the provider shall send the browser back to; it knows it already.

        Raises:
            EngineUnavailable: The provider cannot be reached.
            EngineFailed: It does not say what it must of itself.
        """
        until_s = self._clock.now_ns() // _NS_PER_S + FLOW_S
        flow = _Flow(new_secret(), new_secret(), new_secret(), redirect_uri, until_s)
        challenge = hashlib.sha256(flow.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._provider.config.client_id,
            "redirect_uri": redirect_uri,
            "scope": "openid email profile",
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        endpoint = (await self._provider.described()).authorization_endpoint
        joint = "&" if "?" in endpoint else "?"
        return Departure(f"{endpoint}{joint}{urlencode(query)}", self._seal(flow))

    async def finish(self, cookie: str, state: str, code: str, client: str) -> Known:
        """Whom the provider vouches for.

        Args:
            cookie: What `begin` gave to this browser.
            state: What the provider sent back.
            code: What it sent with it.
            client: The network address that this comes from.

        Raises:
            Unauthenticated: This is not the end of what began here, or the provider's word is
                not good: wrong signature, key, issuer, audience, nonce or time.
            RateLimited: Too many tries from this client.
            Overloaded: Too many sign in at the same time.
            EngineUnavailable: The provider cannot be reached.
        """
        flow = self._unseal(cookie)
        if not hmac.compare_digest(flow.state.encode(), state.encode()):
            raise Unauthenticated("this sign-in began elsewhere")
        if self._running >= _AT_ONCE_MAX:
            raise Overloaded("too many people sign in at once", retry_after_s=_RETRY_AFTER_S)
        network = network_of(client)
        self._clients.take(network)
        self._running += 1
        try:
            known = await self._redeem(flow, code)
        finally:
            self._running -= 1
        self._clients.give_back(network)
        return known

    async def _redeem(self, flow: _Flow, code: str) -> Known:
        tokens = await self._provider.redeem(
            code, redirect_uri=flow.redirect_uri, verifier=flow.verifier
        )
        claims = await self._claims(tokens.id_token, flow.nonce)
        if "email" not in claims and tokens.access_token is not None:
            more = await self._provider.user_info(tokens.access_token)
            # It may speak of somebody else, if the token was exchanged.
            if more.get("sub") == claims["sub"]:
                claims = more | claims
        email = claims.get("email") if claims.get("email_verified") is True else None
        name = claims.get("name")
        return Known(
            self._provider.config.issuer,
            claims["sub"],
            email if isinstance(email, str) else None,
            name if isinstance(name, str) else None,
        )

    async def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        """What an ID token says, once everything about it is right."""
        import jwt  # noqa: PLC0415 - most installations never need it

        config = self._provider.config
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
                raise Unauthenticated("the provider's word is signed in a way that proves nothing")
            key = await self._provider.key(header.get("kid"))
            if not _fits(algorithm, key):
                raise Unauthenticated("the provider's word is signed with a key of another kind")
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=config.client_id,
                issuer=config.issuer,
                options={
                    "require": ["iss", "sub", "aud", "exp", "iat"],
                    # By the house's clock, below.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the provider's word is not good: {error}") from None
        self._check_times(claims)
        if not _is_for(claims, config.client_id):
            raise Unauthenticated("the provider's word was given to another application")
        said = claims.get("nonce")
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
            raise Unauthenticated("the provider's word belongs to another sign-in")
        if not 0 < len(claims["sub"]) <= _SUBJECT_LENGTH_MAX:
            raise Unauthenticated("the provider's word names nobody")
        return claims

    def _check_times(self, claims: dict[str, Any]) -> None:
        now_s = self._clock.now_ns() / _NS_PER_S
        expires, issued, begins = (claims.get(name) for name in ("exp", "iat", "nbf"))
        if not isinstance(expires, int | float) or expires <= now_s - _LEEWAY_S:
            raise Unauthenticated("the provider's word has expired")
        if not isinstance(issued, int | float) or issued > now_s + _LEEWAY_S:
            raise Unauthenticated("the provider's word is of the future; compare the clocks")
        if begins is not None and not (
            isinstance(begins, int | float) and begins <= now_s + _LEEWAY_S
        ):
            raise Unauthenticated("the provider's word is not good yet; compare the clocks")

    def _seal(self, flow: _Flow) -> str:
        stated = base64.urlsafe_b64encode(msgspec.json.encode(flow)).rstrip(b"=").decode()
        return f"{stated}.{digest(self._pepper, 'oidc', stated)}"

    def _unseal(self, cookie: str) -> _Flow:
        stated, _, signature = cookie.partition(".")
        expected = digest(self._pepper, "oidc", stated)
        # The value signed is the sender's choice here, so the comparison must take constant time.
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise Unauthenticated("this sign-in did not begin in this browser")
        padded = stated + "=" * (-len(stated) % 4)
        flow = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Flow)
        if flow.until_s <= self._clock.now_ns() / _NS_PER_S:
            raise Unauthenticated("this sign-in took too long")
        return flow


def _fits(algorithm: str, key: SigningKey) -> bool:
    """Whether a key may sign so: its own kind decides, not the token's word."""
    return key.algorithm in {None, algorithm} and key.kind == _KINDS[algorithm[:2]]


def _is_for(claims: dict[str, Any], client_id: str) -> bool:
    """Whether it was made for us, and not for another one as well."""
    party = claims.get("azp")
    audience = claims["aud"]
    return party == client_id if party is not None else audience in (client_id, [client_id])


_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
