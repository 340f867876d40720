"""A provider of OpenID Connect on this machine: discovery, sign-in page, tokens, keys.

It checks what a strict provider checks (client, redirect URI, PKCE) and can be told to lie in
one way at a time.
"""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

CLIENT_ID = "headrace"
CLIENT_SECRET = "s3cret/with+odd characters"
ADA = {"sub": "ada-1", "email": "ada@example.org", "email_verified": True, "name": "Ada"}


class Key(msgspec.Struct):
    """A signing key: its id, how it signs, the private part, the public part as JSON."""

    kid: str
    algorithm: str
    private: Any
    public: dict[str, Any]


def rsa_key(kid: str, algorithm: str = "RS256") -> Key:
    """A new RSA key."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(RSAAlgorithm.to_jwk(private.public_key()))
    return Key(kid, algorithm, private, {**public, "kid": kid, "use": "sig", "alg": algorithm})


def ec_key(kid: str) -> Key:
    """A new key on P-256."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(ECAlgorithm.to_jwk(private.public_key()))
    return Key(kid, "ES256", private, {**public, "kid": kid, "use": "sig", "alg": "ES256"})


class Provider:
    """What it knows, and how it lies.

    Attributes:
        person: The claims of whoever signs in next.
        key: What it signs with; it publishes `keys`.
        twist: Changes the claims of the next ID token.
        sign: Signs the claims; None: with `key`.
    """

    def __init__(self, key: Key) -> None:
        self.issuer = ""
        self.person: dict[str, Any] = dict(ADA)
        self.key = key
        self.keys = [key]
        self.twist: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.token: str | None = None
        self.description: dict[str, Any] = {}
        self.user_info: dict[str, Any] | None = None
        self.asked: list[str] = []
        self.slow_s = 0.0
        self._codes: dict[str, dict[str, str]] = {}

    def sign_in(self, url: str) -> str:
        """What the person's browser does at the sign-in page; returns where it is sent."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        assert len(query["state"]) >= 43
        assert len(query["nonce"]) >= 43
        code = f"code-{len(self._codes)}"
        self._codes[code] = query
        answer = urlencode({"code": code, "state": query["state"]})
        return f"{query['redirect_uri']}?{answer}"

    def _answer(self, method: str, target: str, headers: dict[str, str], body: str) -> Any:
        self.asked.append(f"{method} {target}")
        if target == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                **({"userinfo_endpoint": f"{self.issuer}/me"} if self.user_info else {}),
                **self.description,
            }
        if target == "/keys":
            return {"keys": [key.public for key in self.keys]}
        if target == "/me":
            assert headers["authorization"] == "Bearer opaque"
            return self.user_info
        if (method, target) == ("POST", "/token"):
            return self._tokens(headers, {k: v[0] for k, v in parse_qs(body).items()})
        return None

    def _tokens(self, headers: dict[str, str], form: dict[str, str]) -> Any:
        given = self._codes.pop(form.get("code", ""), None)
        if given is None or not self._is_client(headers, form):
            return None
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if challenge != given["code_challenge"] or form["redirect_uri"] != given["redirect_uri"]:
            return None
        now_s = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now_s,
            "exp": now_s + 300,
            "nonce": given["nonce"],
            **self.person,
            **self.twist,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"kid": self.key.kid, **self.header}
        token = self.token or jwt.encode(
            claims, self.key.private, self.key.algorithm, headers=header
        )
        return {"id_token": token, "access_token": "opaque", "token_type": "Bearer"}

    def _is_client(self, headers: dict[str, str], form: dict[str, str]) -> bool:
        if self.description.get("token_endpoint_auth_methods_supported") == ["client_secret_post"]:
            return (form["client_id"], form["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)
        scheme, _, pair = headers.get("authorization", "").partition(" ")
        name, _, secret = base64.b64decode(pair).decode().partition(":")
        return (scheme, unquote(name), unquote(secret)) == ("Basic", CLIENT_ID, CLIENT_SECRET)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request on a connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.splitlines()
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = first.split(" ")
        await asyncio.sleep(self.slow_s)
        answer = self._answer(method, target, headers, body.decode())
        content = json.dumps(answer or {"error": "invalid_grant"}).encode()
        status = "200 OK" if answer is not None else "400 Bad Request"
        writer.write(
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(content)}\r\n\r\n".encode()
        )
        writer.write(content)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def provider(key: Key) -> AsyncGenerator[Provider]:
    """A provider that signs with this key, for the length of the context."""
    made = Provider(key)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made
