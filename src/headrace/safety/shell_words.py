"""A parser of POSIX shell and bash command lines into their simple commands.

What it does not fully understand it says so about; such a command matches no allow rule. It is
a convenience, so that people are asked less: what holds commands in is the sandbox.
"""

import re

import msgspec

HOLE = "\0"
PART = "\x01"
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
_SUBSCRIPT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\[")
_FUNCTION = re.compile(r"\([ \t]*\)")
_REDIRECT = re.compile(r"[0-9]*(<<<|<<-|<<|<>|<&|>&|>>|>\||>|<)|&>>|&>")
# Only digits: bash evaluates the values of names in arithmetic, and commands in their subscripts.
_ARITHMETIC = re.compile(r"\$\(\([0-9 +*/%()-]*\)\)")
_PARAMETER = re.compile(
    r"\$\{(#?([A-Za-z_][A-Za-z0-9_]*|[0-9]+)|[@*#?$!-])\}"
    r"|\$\{([A-Za-z_][A-Za-z0-9_]*|[0-9]+)(:?[-+]|##?|%%?|//?)[\w./,*?=@%+ -]*\}"
    r"|\$([A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])",
    re.ASCII,
)
_TEST_WORDS = re.compile(r"-([defhLnrswxz]|nt|ot|ef)|[^-].*|", re.DOTALL)
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
    except _Unsure as error:
        return Script(tuple(found), str(error))
    return Script(tuple(found))


class _Unsure(Exception):
    """Something that this parser cannot say for certain what the shell makes of it."""


class _Parser:
    """Recursive descent over `text`; every simple command lands in `found`."""

    def __init__(self, text: str, found: list[Command], depth: int) -> None:
        self.text = text
        self.at = 0
        self.found = found
        self.depth = depth
        self.documents: list[tuple[str, bool, bool]] = []

    # -- Characters and tokens

    def sees(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def take(self, text: str) -> bool:
        if not self.sees(text):
            return False
        self.at += len(text)
        return True

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise _Unsure(f"no {text} where one belongs")

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

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
            raise _Unsure("nesting so deep")

    # -- Lists and compound commands

    def all(self) -> None:
        """The whole text as a list."""
        if len(self.text) > _CHARS_MAX or _MARKS.search(self.text):
            raise _Unsure("its length or a control character")
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
                raise _Unsure(f"{self.text[self.at : self.at + 10]!r} where a command ends")
        if joined or not (count or empty):
            raise _Unsure("a command is missing")
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
            raise _Unsure(f"{self.text[self.at : self.at + 10]!r}")
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
            raise _Unsure("a function without braces")
        if self.sees("("):
            self.expect("(")
            self.sequence(")")
        else:
            self.sequence("}")

    def loop(self) -> None:
        self.blank()
        match = _NAME.match(self.text, self.at)
        if match is None:
            raise _Unsure("a loop over arithmetic")
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
            raise _Unsure("a loop without do")
        self.sequence("done")

    def case(self) -> None:
        self.blank()
        self.word()
        self.lines()
        if not self.reserved("in"):
            raise _Unsure("a case without in")
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
                raise _Unsure("a process substitution in [[ ]]")
            if any(self.take(operator) for operator in ("&&", "||", "(", ")", "<", ">")):
                continue
            word = self.word().text
            if word == "=~" or not _TEST_WORDS.fullmatch(word):
                raise _Unsure(f"{word} in [[ ]]")

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
                    raise _Unsure("a parenthesis")
                self.body(match.end())
                return True
            elif assignment:
                self.at = assignment.end()
                if self.sees("("):
                    raise _Unsure("an array")
                value = Word("") if self.peek() in " \t\n;&|)" else self.word()
                assignments.append((assignment[1], value))
            else:
                words.append(self.word(first=not words))
        if not (words or assignments or redirects):
            raise _Unsure("a command is missing")
        source = self.text[start : self.at].strip()
        self.found.append(Command(tuple(words), tuple(assignments), tuple(redirects), source))
        return False

    def redirect(self, redirects: list[Redirect]) -> None:
        match = _REDIRECT.match(self.text, self.at)
        if match is None:  # pragma: no cover - callers have looked
            raise _Unsure("a redirection")
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
                raise _Unsure("the end of a here-document")
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
            raise _Unsure("a continued line in a here-document")
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

    # -- Words

    def word(self, *, first: bool = False) -> Word:
        start = self.at
        if first and _SUBSCRIPT.match(self.text, start):
            raise _Unsure("an array")
        out: list[str] = []
        glob = brace = False
        tilde = self.sees("~")
        if self.sees("<(") or self.sees(">("):
            self.at += 2
            out.append(self.substitution())
        while (char := self.peek()) and char not in " \t\n;&|()<>":
            if char in "'\"\\$`":
                out.append(self.quoted())
                continue
            if not char.isprintable() or char.isspace():
                raise _Unsure("an invisible character")
            glob = glob or char in "*?["
            brace = brace or (char == "{" and not self.sees("{}"))
            out.append(char)
            self.at += 1
        source = self.text[start : self.at]
        if not source or self.sees("<(") or self.sees(">("):
            raise _Unsure(f"{self.text[self.at : self.at + 10]!r} where a word belongs")
        if brace and self.peek() in {"<", ">"}:
            raise _Unsure("a named descriptor")
        if self.documents and "\n" in source:
            raise _Unsure("a line end between a here-document and its body")
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
                raise _Unsure("a continued line within a word")
            return escaped
        end = self.text.find("'", self.at)
        if end < 0:
            raise _Unsure("an open quote")
        text, self.at = self.text[self.at : end], end + 1
        return text

    def double(self) -> str:
        out: list[str] = []
        while not self.take('"'):
            char = self.peek()
            if not char:
                raise _Unsure("an open quote")
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
        if match := _ARITHMETIC.match(self.text, self.at):
            self.at = match.end()
            return PART
        if self.sees("$(("):
            raise _Unsure("arithmetic")
        if self.take("$("):
            self.substitution()
            return PART if quoted else HOLE
        if match := _PARAMETER.match(self.text, self.at):
            self.at = match.end()
            # "$@" becomes any number of words even in quotes.
            return PART if quoted and "@" not in match[0] else HOLE
        following = self.text[self.at + 1 : self.at + 2]
        if following in {"{", "["} or (following in {"'", '"'} and not quoted and following != "'"):
            raise _Unsure("an expansion")
        if following == "'" and not quoted:
            self.at += 2
            return self.ansi()
        if following > "~":
            raise _Unsure("an expansion")
        self.at += 1
        return "$"

    def ansi(self) -> str:
        out: list[str] = []
        while not self.take("'"):
            match = _ANSI.match(self.text, self.at)
            char = self.peek()
            if not char or (char == "\\" and match is None):
                raise _Unsure("an escape")
            if match is None:
                out.append(char)
                self.at += 1
                continue
            code = int(match[2], 16) if match[2] else int(match[3] or "0", 8)
            text = _ANSI_LETTERS[match[1]] if match[1] else chr(code)
            if not match[1] and not " " <= text <= "~":
                raise _Unsure("an escape")
            out.append(text)
            self.at = match.end()
        return "".join(out)

    def substitution(self) -> str:
        """The inside of `$(…)`, `<(…)` or `>(…)`, up to and with the closing parenthesis."""
        start, outer, self.documents = self.at, self.documents, []
        self.sequence(")", empty=True)
        if self.documents or (outer and "\n" in self.text[start : self.at]):
            raise _Unsure("a here-document across a substitution")
        self.documents = outer
        return PART

    def backtick(self, *, quoted: bool) -> str:
        end = self.text.find("`", self.at + 1)
        body = self.text[self.at + 1 : end]
        if end < 0 or "\\" in body or (quoted and '"' in body):
            raise _Unsure("a backtick")
        _Parser(body, self.found, self.depth + 1).all()
        self.at = end + 1
        return PART if quoted else HOLE
