"""A parser of POSIX shell and bash command lines into their simple commands.

What it does not fully understand it says so about; such a command matches no allow rule.
"""

import msgspec

HOLE = "\0"


class Word(msgspec.Struct, frozen=True):
    """One word after quotes are gone.

    Attributes:
        text: Its value; `HOLE` stands for what is known only when it runs.
        glob: Whether an unquoted pattern in it may become names of files.
        tilde: Whether it starts with an unquoted `~`.
    """

    text: str
    glob: bool = False
    tilde: bool = False


class Redirect(msgspec.Struct, frozen=True):
    """A redirection to or from a file; here-documents and copies of descriptors are none."""

    operator: str
    target: Word


class Command(msgspec.Struct, frozen=True):
    """A simple command, wherever it stands: in a list, a loop, a function, a substitution."""

    words: tuple[Word, ...]
    assignments: tuple[tuple[str, Word], ...]
    redirects: tuple[Redirect, ...]
    source: str


class Script(msgspec.Struct, frozen=True):
    """All simple commands of a text; `unsure` says what was not understood, empty where all was."""

    commands: tuple[Command, ...]
    unsure: str = ""


def parse(text: str) -> Script:
    """Take a command line apart; never raises."""
    raise NotImplementedError
