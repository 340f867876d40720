"""Words of a shell's command line: quotes, escapes and expansions."""

import re
from abc import ABC, abstractmethod

import msgspec

HOLE = "\0"
PART = "\x01"
_SUBSCRIPT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\[")
# Only digits: bash evaluates the values of names in arithmetic, and commands in their subscripts.
_ARITHMETIC = re.compile(r"\$\(\([0-9 +*/%()-]*\)\)")
_PARAMETER = re.compile(
    r"\$\{(#?([A-Za-z_][A-Za-z0-9_]*|[0-9]+)|[@*#?$!-])\}"
    r"|\$\{([A-Za-z_][A-Za-z0-9_]*|[0-9]+)(:?[-+]|##?|%%?|//?)[\w./,*?=@%+ -]*\}"
    r"|\$([A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])",
    re.ASCII,
)
_ANSI = re.compile(r"\\(?:([abeEfnrtv\\'\"?])|x([0-9A-Fa-f]{1,2})|([0-7]{1,3}))")
_ANSI_LETTERS = dict(zip("abeEfnrtv\\'\"?", "\a\b\x1b\x1b\f\n\r\t\v\\'\"?", strict=True))


class Word(msgspec.Struct, frozen=True):
    """One word after quotes are gone.

    Attributes:
        text: Its value. `HOLE` stands for what is known only when it runs and may become any
            number of words, `PART` for such a thing within quotes.
        glob: Whether an unquoted pattern in it may become names of files.
        tilde: Whether it starts with an unquoted `~`.
    """

    text: str
    glob: bool = False
    tilde: bool = False

    @property
    def known(self) -> bool:
        """Whether it is exactly its text whenever it runs."""
        return not (self.glob or HOLE in self.text or PART in self.text)


class Unsure(Exception):
    """Something that this parser cannot say for certain what the shell makes of it."""


class Quotes(ABC):
    """Reads words off `text` at `at`; what they run is for the grammar around it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    @abstractmethod
    def substitution(self) -> None:
        """Read the inside of `$(…)`, `<(…)` or `>(…)`, up to and with its closing parenthesis."""

    @abstractmethod
    def inner(self, text: str) -> None:
        """Take a text apart that a backtick runs."""

    @abstractmethod
    def check_word(self, source: str) -> None:
        """Refuse a word that cannot stand here."""

    def sees(self, text: str) -> bool:
        """Whether this text comes next."""
        return self.text.startswith(text, self.at)

    def take(self, text: str) -> bool:
        """Go past this text, if it comes next."""
        if not self.sees(text):
            return False
        self.at += len(text)
        return True

    def expect(self, text: str) -> None:
        """Go past this text, which must come next."""
        if not self.take(text):
            raise Unsure(f"no {text} where one belongs")

    def peek(self) -> str:
        """The next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def word(self, *, first: bool = False) -> Word:
        """The word that begins here."""
        start = self.at
        if first and _SUBSCRIPT.match(self.text, start):
            raise Unsure("an array")
        out: list[str] = []
        glob = brace = False
        tilde = self.sees("~")
        if self.sees("<(") or self.sees(">("):
            self.at += 2
            self.substitution()
            out.append(PART)
        while (char := self.peek()) and char not in " \t\n;&|()<>":
            if char in "'\"\\$`":
                out.append(self.quoted())
                continue
            if not char.isprintable() or char.isspace():
                raise Unsure("an invisible character")
            glob = glob or char in "*?["
            brace = brace or (char == "{" and not self.sees("{}"))
            out.append(char)
            self.at += 1
        source = self.text[start : self.at]
        if not source or self.sees("<(") or self.sees(">("):
            raise Unsure(f"{self.text[self.at : self.at + 10]!r} where a word belongs")
        if brace and self.peek() in {"<", ">"}:
            raise Unsure("a named descriptor")
        self.check_word(source)
        if (brace and re.search(r",|\.\.", source)) or (tilde and source[1:2] not in {"", "/"}):
            return Word(HOLE, glob)
        return Word("".join(out), glob and source != "[", tilde)

    def quoted(self) -> str:
        """What a quote, an escape or an expansion stands for."""
        char = self.peek()
        if char == "$":
            return self.dollar(quoted=False)
        if char == "`":
            return self.backtick(quoted=False)
        self.at += 1
        if char == '"':
            return self.double()
        if char == "\\":
            self.at += 1
            escaped = self.text[self.at - 1 : self.at]
            if escaped in {"", "\n"}:
                raise Unsure("a continued line within a word")
            return escaped
        end = self.text.find("'", self.at)
        if end < 0:
            raise Unsure("an open quote")
        text, self.at = self.text[self.at : end], end + 1
        return text

    def double(self) -> str:
        """The inside of double quotes."""
        out: list[str] = []
        while not self.take('"'):
            char = self.peek()
            if not char:
                raise Unsure("an open quote")
            if char == "$":
                out.append(self.dollar(quoted=True))
            elif char == "`":
                out.append(self.backtick(quoted=True))
            elif char == "\\":
                escaped = self.text[self.at + 1 : self.at + 2]
                if escaped != "\n":
                    out.append(escaped if escaped in '$`"\\' else f"\\{escaped}")
                self.at += 2
            else:
                out.append(char)
                self.at += 1
        return "".join(out)

    def dollar(self, *, quoted: bool) -> str:
        """What a dollar sign begins."""
        if match := _ARITHMETIC.match(self.text, self.at):
            self.at = match.end()
            return PART
        if self.sees("$(("):
            raise Unsure("arithmetic")
        if self.take("$("):
            self.substitution()
            return PART if quoted else HOLE
        if match := _PARAMETER.match(self.text, self.at):
            self.at = match.end()
            # "$@" becomes any number of words even in quotes.
            return PART if quoted and "@" not in match[0] else HOLE
        following = self.text[self.at + 1 : self.at + 2]
        if following in {"{", "["} or (following in {"'", '"'} and not quoted and following != "'"):
            raise Unsure("an expansion")
        if following == "'" and not quoted:
            self.at += 2
            return self.ansi()
        if following > "~":
            raise Unsure("an expansion")
        self.at += 1
        return "$"

    def ansi(self) -> str:
        """The inside of `$'…'`."""
        out: list[str] = []
        while not self.take("'"):
            match = _ANSI.match(self.text, self.at)
            char = self.peek()
            if not char or (char == "\\" and match is None):
                raise Unsure("an escape")
            if match is None:
                out.append(char)
                self.at += 1
                continue
            code = int(match[2], 16) if match[2] else int(match[3] or "0", 8)
            text = _ANSI_LETTERS[match[1]] if match[1] else chr(code)
            if not match[1] and not " " <= text <= "~":
                raise Unsure("an escape")
            out.append(text)
            self.at = match.end()
        return "".join(out)

    def backtick(self, *, quoted: bool) -> str:
        """A command in backticks."""
        end = self.text.find("`", self.at + 1)
        body = self.text[self.at + 1 : end]
        if end < 0 or "\\" in body or (quoted and '"' in body):
            raise Unsure("a backtick")
        self.inner(body)
        self.at = end + 1
        return PART if quoted else HOLE
