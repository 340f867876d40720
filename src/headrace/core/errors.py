"""The error tree. Status codes and bodies are chosen at the edges, per dialect.

HeadraceError
├── InvalidRequest          the caller can mend it; `param` names the field
│   ├── ContextTooLong      the prompt does not fit the model
│   ├── Unsupported         well formed, but this model or release cannot do it
│   ├── PreviousNotFound    it follows on a response that is not there
│   ├── TooLarge            over a size, depth or count limit
│   └── TooSlow             its body did not arrive in time
├── Unauthenticated         no key, or one we do not know
├── Forbidden               known, but not allowed
├── NotFound                no such object
│   └── ModelNotFound       no such model
├── Conflict                the object is in a state that forbids this
├── BudgetSpent             the caller's money does not reach for this call
├── RateLimited             too many requests of this caller; `retry_after_s`
├── Overloaded              too many requests of everybody; `retry_after_s`
├── EngineFailed            the engine died or broke in mid-answer
├── EngineUnavailable       no engine can answer now; `retry_after_s`
├── TimedOut                a limit on time was reached
├── CatalogError            a model could not be fetched, verified or read
├── ConfigError             a setting is wrong; the text says which and what to do
└── StoreError              the database or journal refuses: newer schema, broken chain
"""

from typing import ClassVar, NamedTuple

from headrace.core.limits import LimitState


class UpstreamReply(NamedTuple):
    """What an upstream answered instead of an answer, for clients who speak its dialect."""

    dialect: str
    status: int
    body: bytes


class HeadraceError(Exception):
    """Root of everything Headrace raises on purpose.

    Args:
        message: What is wrong, in words for the person who can mend it.
        hint: What to do about it, where that is not in the message.

    Attributes:
        upstream: The refusal in an upstream's own words, where the client may see them.
    """

    kind: ClassVar[str] = "internal"
    upstream: UpstreamReply | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidRequest(HeadraceError):
    """The request itself is wrong. `param` is the offending field, as the dialect spells it."""

    kind = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param


class ContextTooLong(InvalidRequest):
    """The prompt has more tokens than the model's context holds."""

    kind = "context_too_long"


class Unsupported(InvalidRequest):
    """A well-formed field or value that this model or this release cannot honour."""

    kind = "unsupported"


class PreviousNotFound(InvalidRequest):
    """The request follows on a stored response that is not there, or not the caller's."""

    kind = "previous_not_found"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="previous_response_id")


class TooLarge(InvalidRequest):
    """The body is over a limit of size, depth or count."""

    kind = "too_large"


class TooSlow(InvalidRequest):
    """The body did not arrive in time."""

    kind = "too_slow"


class Unauthenticated(HeadraceError):
    """No credential, or one that nobody has."""

    kind = "unauthenticated"


class Forbidden(HeadraceError):
    """The credential is known and does not allow this."""

    kind = "forbidden"


class NotFound(HeadraceError):
    """No such object, or none that this caller may know of."""

    kind = "not_found"


class ModelNotFound(NotFound):
    """No model of that name is served."""

    kind = "model_not_found"


class Conflict(HeadraceError):
    """The object is in a state that forbids this."""

    kind = "conflict"


class BudgetSpent(HeadraceError):
    """A hard budget has too little left for this call; asking again soon changes nothing."""

    kind = "budget_spent"


class Retryable(HeadraceError):
    """Errors after which the same request may succeed later."""

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class RateLimited(Retryable):
    """This caller sends more than it may.

    Attributes:
        limits: How the limits stand that bind the caller; empty where no limit did it.
    """

    kind = "rate_limited"
    limits: tuple[LimitState, ...] = ()


class Overloaded(Retryable):
    """Everybody together sends more than the engines can do."""

    kind = "overloaded"


class EngineFailed(Retryable):
    """The engine died or broke while it answered."""

    kind = "engine_failed"


class EngineUnavailable(Retryable):
    """No engine can answer now: it starts, restarts or is gone."""

    kind = "engine_unavailable"


class TimedOut(Retryable):
    """A limit on time was reached."""

    kind = "timed_out"


class CatalogError(HeadraceError):
    """A model could not be fetched, verified or read."""

    kind = "catalog"


class ConfigError(HeadraceError):
    """A setting is wrong."""

    kind = "config"


class StoreError(HeadraceError):
    """What must survive refuses to open or to be written."""

    kind = "store"


def of_kind(kind: str, message: str, *, retry_after_s: float | None = None) -> HeadraceError:
    """The error a kind names, as when a failure that travelled in a stream is raised again."""
    found = _subclasses(HeadraceError).get(kind, HeadraceError)
    if issubclass(found, Retryable):
        return found(message, retry_after_s=retry_after_s)
    return found(message)


def _subclasses(root: type[HeadraceError]) -> dict[str, type[HeadraceError]]:
    kinds = {root.kind: root}
    for child in root.__subclasses__():
        kinds = _subclasses(child) | kinds
    return kinds
