"""Acting for a person: how a service of the house says for whom it calls.

The header `Headrace-On-Behalf-Of` names an account, when the statement ends, and a signature
that binds both to the service's key. Only a process that holds the pepper can make one.
"""

import hmac

from headrace.core.errors import Forbidden
from headrace.identity.secrets import digest

HEADER = "Headrace-On-Behalf-Of"
_VERSION = "v1"
_FIELDS = 4


def sign(pepper: bytes, key_id: str, account_id: str, expires_s: int) -> str:
    """The header's value, good until `expires_s` in seconds since 1970."""
    stated = f"{_VERSION}.{account_id}.{expires_s}"
    return f"{stated}.{digest(pepper, 'behalf', f'{key_id}:{stated}')}"


def verify(pepper: bytes, value: str, *, key_id: str, now_s: float) -> str:
    """The account that a header names.

    Raises:
        Forbidden: It was not signed here for this key, or it has expired.
    """
    fields = value.split(".")
    if len(fields) != _FIELDS or not value.isascii():
        raise Forbidden("the on-behalf-of header is not one of this server's")
    stated, _, signature = value.rpartition(".")
    expected = digest(pepper, "behalf", f"{key_id}:{stated}")
    # The value signed is the sender's choice here, so the comparison must take constant time.
    if not hmac.compare_digest(expected, signature):
        raise Forbidden("the on-behalf-of header is not signed by this server for this key")
    version, account_id, expires_s, _ = fields
    if version != _VERSION or int(expires_s) <= now_s:
        raise Forbidden("the on-behalf-of header has expired")
    return account_id
