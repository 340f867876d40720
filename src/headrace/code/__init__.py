from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.code.sdk import Session as Session


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as the language has it
    if name == "Session":
        from headrace.code.sdk import Session  # noqa: PLC0415 - the command line needs none of it

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
