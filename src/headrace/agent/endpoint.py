"""Endpoint: where a model answers, and in which dialect it is spoken to."""

from typing import Literal

import msgspec

Dialect = Literal["anthropic", "openai_chat", "openai_responses"]

_PATHS: dict[Dialect, str] = {
    "anthropic": "/messages",
    "openai_chat": "/chat/completions",
    "openai_responses": "/responses",
}
_VERSION = "/v1"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """A server of models.

    Attributes:
        base_url: As SDKs take it: with or without `/v1`, `http://127.0.0.1:4747`.
        key: Its API key, or the credential of the run file; kept in memory only.
        dialect: What it speaks.
        headers: Further headers of each request.
        ours: It is a Headrace: it takes all that its dialect can carry, and has a ledger.
    """

    base_url: str
    key: str = ""
    dialect: Dialect = "anthropic"
    headers: dict[str, str] = {}
    ours: bool = False

    def __repr__(self) -> str:
        return f"Endpoint({self.dialect} at {self.base_url})"

    def url(self, path: str = "") -> str:
        """Where a path of the API is, by default that of a model call.

        A server that keeps its API below another path than `/v1` is taken at its word, except in
        Messages, whose SDKs always append `/v1`.
        """
        base = self.base_url.rstrip("/")
        if self.dialect == "anthropic":
            base = base.removesuffix(_VERSION) + _VERSION
        elif "/" not in base.partition("://")[2]:
            base += _VERSION
        return base + (path or _PATHS[self.dialect])

    def credentials(self) -> dict[str, str]:
        """The headers of every request."""
        headers: dict[str, str] = {}
        if self.dialect == "anthropic":
            from headrace.wire.anthropic import VERSION  # noqa: PLC0415 - one dialect is needed

            headers["anthropic-version"] = VERSION
            if self.key and not self.ours:
                headers["x-api-key"] = self.key
        if self.key and "x-api-key" not in headers:
            headers["authorization"] = f"Bearer {self.key}"
        return headers | {name.lower(): value for name, value in self.headers.items()}
