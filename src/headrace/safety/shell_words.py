"""A parser of POSIX shell and bash command lines into their simple commands.

What it does not fully understand it says so about; such a command matches no allow rule. It is
a convenience, so that people are asked less: what holds commands in is the sandbox.
"""

import re

import msgspec

from headrace.safety.shell_quotes import HOLE, Quotes, Unsure, Word

_MARKS = re.compile("[\0\x01\x1e\x1f]")
_CHARS_MAX = 100_000
_DEPTH_MAX = 40
_END = ""
_RESERVED = re.compile(
    r"(if|then|elif|else|fi|do|done|case|esac|while|until|for|select|function|in|coproc|time"
    r"|\[\[|\]\]|[{}!])(?=[ \t\n;&|<>()]|$)"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\+?=")
_FUNCTION = re.compile(r"\([ \t]*\)")
_REDIRECT = re.compile(r"[0-9]*(<<<|<<-|<<|<>|<&|>&|>>|>\||>|<)|&>>|&>")
_TEST_WORDS = re.compile(r"-([defhLnrswxz]|nt|ot|ef)|[^-].*|", re.DOTALL)


class Redirect(msgspec.Struct, frozen=True):
    """A redirection to or from a file; here-documents and copies of descriptors are none."""

    operator: str
    target: Word

    @property
    def writes(self) -> bool:
        """Whether it can change the file."""
        return self.operator != "<"


class Command(msgspec.Struct, frozen=True):
    """A simple command, wherever it stands: in a list, a loop, a function, a substitution."""

    words: tuple[Word, ...]
    assignments: tuple[tuple[str, Word], ...] = ()
    redirects: tuple[Redirect, ...] = ()
    source: str = ""


class Script(msgspec.Struct, frozen=True):
    """All simple commands of a text; `unsure` says what was not understood, empty where all was."""

    commands: tuple[Command, ...]
    unsure: str = ""


def parse(text: str) -> Script:
    """Take a command line apart; never raises."""
    found: list[Command] = []
    try:
        _Parser(text, found, 0).all()
    except Unsure as error:
        return Script(tuple(found), str(error))
    return Script(tuple(found))


class _Parser(Quotes):
    """Recursive descent over `text`; every simple command lands in `found`."""

    def __init__(self, text: str, found: list[Command], depth: int) -> None:
        super().__init__(text)
        self.found = found
        self.depth = depth
        self.documents: list[tuple[str, bool, bool]] = []

    # -- Characters and tokens

    def reserved(self, *words: str) -> str:
        """Take one of these reserved words, where it stands here unquoted."""
        match = _RESERVED.match(self.text, self.at)
        if match is None or match[1] not in words:
            return ""
        self.at = match.end()
        return match[1]

    def blank(self) -> None:
        while self.take(" ") or self.take("\t") or self.take("\\\n"):
            pass
        if self.sees("#"):
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end

    def lines(self) -> None:
        """Skip blanks, comments and line ends, and read the here-documents that begin there."""
        self.blank()
        while self.take("\n"):
            for document in self.documents:
                self.document(*document)
            self.documents = []
            self.blank()

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > _DEPTH_MAX:
            raise Unsure("nesting so deep")

    # -- Lists and compound commands

    def all(self) -> None:
        """The whole text as a list."""
        if len(self.text) > _CHARS_MAX or _MARKS.search(self.text):
            raise Unsure("its length or a control character")
        self.sequence(_END, empty=True)

    def sequence(self, *ends: str, empty: bool = False) -> str:
        """A list of pipelines up to and with one of `ends`; says which one it was."""
        self.deeper()
        count, joined = 0, False
        while True:
            self.lines()
            end = self.end(ends)
            if end is not None:
                break
            self.pipeline()
            count += 1
            self.blank()
            joined = self.take("&&") or self.take("||")
            if not joined and not self.separator() and self.end(ends, take=False) is None:
                raise Unsure(f"{self.text[self.at : self.at + 10]!r} where a command ends")
        if joined or not (count or empty):
            raise Unsure("a command is missing")
        self.depth -= 1
        return end

    def separator(self) -> bool:
        if self.sees(";;") or self.sees(";&"):
            return False
        return self.take(";") or self.take("&") or self.sees("\n")

    def end(self, ends: tuple[str, ...], *, take: bool = True) -> str | None:
        start = self.at
        for end in ends:
            if end == _END:
                found = start == len(self.text)
            elif end in {")", ";;&", ";;", ";&"}:
                found = self.take(end)
            else:
                found = bool(self.reserved(end))
            if found:
                self.at = self.at if take else start
                return end
        return None

    def pipeline(self) -> None:
        while self.reserved("!", "time"):
            self.blank()
        self.command()
        self.blank()
        while not self.sees("||") and (self.take("|&") or self.take("|")):
            self.lines()
            self.command()
            self.blank()

    def command(self) -> None:
        start = self.at
        word = self.reserved("if", "while", "until", "for", "case", "function", "{", "[[")
        if word:
            self.compound(word)
        elif self.sees("(") and not self.sees("(("):
            self.at += 1
            self.sequence(")")
        elif _RESERVED.match(self.text, self.at) or self.sees("("):
            raise Unsure(f"{self.text[self.at : self.at + 10]!r}")
        elif not self.simple():
            return
        self.trailing(start)

    def trailing(self, start: int) -> None:
        """The redirections of a compound command."""
        redirects: list[Redirect] = []
        self.blank()
        while _REDIRECT.match(self.text, self.at):
            self.redirect(redirects)
            self.blank()
        if redirects:
            source = self.text[start : self.at]
            self.found.append(Command((), (), tuple(redirects), source))

    def compound(self, word: str) -> None:
        if word == "{":
            self.sequence("}")
        elif word in {"while", "until"}:
            self.sequence("do")
            self.sequence("done")
        elif word == "if":
            end = "elif"
            while end == "elif":
                self.sequence("then")
                end = self.sequence("elif", "else", "fi")
            if end == "else":
                self.sequence("fi")
        elif word == "for":
            self.loop()
        elif word == "case":
            self.case()
        elif word == "[[":
            self.test()
        else:
            self.blank()
            self.word()
            self.blank()
            match = _FUNCTION.match(self.text, self.at)
            self.body(match.end() if match else self.at)

    def body(self, at: int) -> None:
        """A function's body. Its commands count as if they ran at once."""
        self.at = at
        self.lines()
        if not (self.sees("(") or self.reserved("{")):
            raise Unsure("a function without braces")
        if self.sees("("):
            self.expect("(")
            self.sequence(")")
        else:
            self.sequence("}")

    def loop(self) -> None:
        self.blank()
        match = _NAME.match(self.text, self.at)
        if match is None:
            raise Unsure("a loop over arithmetic")
        self.at = match.end()
        self.found.append(Command((), ((match[0], Word(HOLE)),), (), f"for {match[0]}"))
        self.lines()
        if self.reserved("in"):
            self.blank()
            while self.peek() not in {"", "\n", ";"}:
                self.word()
                self.blank()
        self.blank()
        self.take(";")
        self.lines()
        if not self.reserved("do"):
            raise Unsure("a loop without do")
        self.sequence("done")

    def case(self) -> None:
        self.blank()
        self.word()
        self.lines()
        if not self.reserved("in"):
            raise Unsure("a case without in")
        while True:
            self.lines()
            if self.reserved("esac"):
                return
            self.take("(")
            self.blank()
            self.word()
            self.blank()
            while self.take("|"):
                self.blank()
                self.word()
                self.blank()
            self.expect(")")
            if self.sequence(";;&", ";;", ";&", "esac", empty=True) == "esac":
                return

    def test(self) -> None:
        """`[[ … ]]` without arithmetic, which would evaluate what variables hold."""
        while True:
            self.blank()
            if self.reserved("]]"):
                return
            if self.sees("<(") or self.sees(">("):
                raise Unsure("a process substitution in [[ ]]")
            if any(self.take(operator) for operator in ("&&", "||", "(", ")", "<", ">")):
                continue
            word = self.word().text
            if word == "=~" or not _TEST_WORDS.fullmatch(word):
                raise Unsure(f"{word} in [[ ]]")

    # -- Simple commands

    def simple(self) -> bool:
        """A simple command; True where it was the head of a function and its body."""
        start = self.at
        words: list[Word] = []
        assignments: list[tuple[str, Word]] = []
        redirects: list[Redirect] = []
        while True:
            self.blank()
            here = self.peek()
            assignment = None if words else _ASSIGNMENT.match(self.text, self.at)
            if self.sees("<(") or self.sees(">("):
                words.append(self.word())
            elif _REDIRECT.match(self.text, self.at):
                self.redirect(redirects)
            elif here in {"", "\n", ";", "&", "|", ")"}:
                break
            elif here == "(":
                match = _FUNCTION.match(self.text, self.at)
                if match is None or len(words) != 1 or assignments or redirects:
                    raise Unsure("a parenthesis")
                self.body(match.end())
                return True
            elif assignment:
                self.at = assignment.end()
                if self.sees("("):
                    raise Unsure("an array")
                value = Word("") if self.peek() in " \t\n;&|)" else self.word()
                assignments.append((assignment[1], value))
            else:
                words.append(self.word(first=not words))
        if not (words or assignments or redirects):
            raise Unsure("a command is missing")
        source = self.text[start : self.at].strip()
        self.found.append(Command(tuple(words), tuple(assignments), tuple(redirects), source))
        return False

    def redirect(self, redirects: list[Redirect]) -> None:
        match = _REDIRECT.match(self.text, self.at)
        if match is None:  # pragma: no cover - callers have looked
            raise Unsure("a redirection")
        self.at = match.end()
        operator = match[1] or match[0]
        self.blank()
        start = self.at
        if self.sees("<(") or self.sees(">("):
            self.word()
            return
        word = self.word()
        if operator in {"<<", "<<-"}:
            source = self.text[start : self.at]
            if not word.known or re.search(r"[$`\n]", source):
                raise Unsure("the end of a here-document")
            self.documents.append(
                (word.text, bool(re.search(r"[\\'\"]", source)), operator != "<<")
            )
        elif operator != "<<<" and not (
            operator in {">&", "<&"} and re.fullmatch(r"[0-9]+-?|-", word.text)
        ):
            redirects.append(Redirect(operator, word))

    def document(self, end: str, quoted: bool, tabs: bool) -> None:  # noqa: FBT001 - as stored
        """The body of a here-document, with what is expanded in it."""
        lines: list[str] = []
        while self.at < len(self.text):
            line, self.at = self.line()
            if (line.lstrip("\t") if tabs else line) == end:
                break
            lines.append(line)
        if quoted:
            return
        if any(line.endswith("\\") for line in lines):
            raise Unsure("a continued line in a here-document")
        inner = _Parser("\n".join(lines), self.found, self.depth)
        inner.deeper()
        while inner.at < len(inner.text):
            if inner.peek() == "\\":
                inner.at += 2
            elif inner.peek() == "$":
                inner.dollar(quoted=True)
            elif inner.peek() == "`":
                inner.backtick(quoted=True)
            else:
                inner.at += 1

    def line(self) -> tuple[str, int]:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        return self.text[self.at : end], min(end + 1, len(self.text))

    # -- What words run

    def substitution(self) -> None:
        start, outer, self.documents = self.at, self.documents, []
        self.sequence(")", empty=True)
        if self.documents or (outer and "\n" in self.text[start : self.at]):
            raise Unsure("a here-document across a substitution")
        self.documents = outer

    def inner(self, text: str) -> None:
        _Parser(text, self.found, self.depth + 1).all()

    def check_word(self, source: str) -> None:
        if self.documents and "\n" in source:
            raise Unsure("a line end between a here-document and its body")
