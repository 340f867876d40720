"""Secrets that we hand out and how we know them again without keeping them.

A secret is 256 random bits, so it needs no slow password hash. We store its HMAC under the
installation's pepper: a stolen database opens nothing without the pepper file. Look-ups go by
that HMAC. What their timing may tell is a property of the HMAC, which nobody can steer
without the pepper, so nothing about any stored secret leaks; comparing secrets themselves in
constant time would add nothing.
"""

import hmac
import secrets
from typing import Literal

KEY_PREFIX = "hr-"
Use = Literal["key", "session", "link", "behalf", "idempotency", "oidc"]
_BYTES = 32
SECRET_LENGTH_MAX = 64


def new_secret() -> str:
    """43 URL-safe characters of 256 random bits."""
    return secrets.token_urlsafe(_BYTES)


def digest(pepper: bytes, use: Use, secret: str) -> str:
    """HMAC-SHA256 in hex; `use` keeps a secret of one door from opening another."""
    # Odd characters are no secret of ours, but must not raise either.
    message = f"{use}:{secret}".encode("utf-8", "surrogatepass")
    return hmac.digest(pepper, message, "sha256").hex()
