"""Decision: whether something may be done, and why."""

import msgspec


class Allow(msgspec.Struct, frozen=True, tag="allow"):
    """It may be done; `why` names the rule or mode in one line."""

    why: str = ""


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A human must say; where none can be asked it is refused.

    Attributes:
        why: The rule, mode or lack of a rule, in one line.
        rule: What "always" would allow, as a rule that covers just what is shown; None where
            no rule may.
        red: Shown under a red line: nothing would hold it back, such as a missing sandbox.
    """

    why: str
    rule: str | None = None
    red: bool = False


class Deny(msgspec.Struct, frozen=True, tag="deny"):
    """It may not be done; `why` says which rule stands in the way and how to allow it."""

    why: str


Decision = Allow | Ask | Deny
