"""What is known of common programs: which only look, and which options make them do more."""

import re

from headrace.safety.shell_quotes import HOLE, PART, Word
from headrace.safety.shell_words import Command


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# They only read and print, whatever their arguments are.
_ONLY_LOOK = _words(
    "cat head tail wc ls pwd echo true false : basename dirname stat du df which type uname"
    " whoami id nproc arch cut tr nl tac rev fold comm cmp diff paste join seq expr sleep md5sum"
    " sha1sum sha256sum sha512sum cksum b2sum od strings column expand unexpand fmt readlink"
    " realpath printenv grep egrep fgrep jq ps free uptime lscpu tty groups cd"
)
# They only look where `options_that_do_more` finds nothing.
_MOSTLY_LOOK = frozenset({"sort", "file", "rg", "find", "sed", "tree", "date", "uniq"})
_GIT_LOOK = _words(
    "status log diff show blame rev-parse ls-files ls-tree describe shortlog grep rev-list"
    " merge-base name-rev cat-file diff-tree diff-index whatchanged cherry count-objects"
)
_GIT_PRINTS = _words(
    "blame annotate grep cat-file whatchanged stash archive format-patch difftool bundle"
    " fast-export checkout-index worktree range-diff"
)
_GIT_NAMES_COMMITS = _words("log reflog status commit rev-list")
_GIT_PATCH = re.compile(r"-[a-z]*[puvUL]|-[cm]$|--(patch|unified|cc|verbose|remerge|dd|diff-m|bin)")
_GIT_BRIEF = _words("--stat --shortstat --numstat --name-only --name-status --quiet --no-patch -s")
_GIT_VALUED = _words("-C -c --git-dir --work-tree --namespace --config-env")
# Long options (their abbreviations count, too) and letters that write files or start programs.
_MORE: dict[str, tuple[tuple[str, ...], str]] = {
    "sort": (("output", "compress-program", "temporary-directory"), "oT"),
    "file": (("compile",), "C"),
    "rg": (("pre", "hostname-bin", "search-zip"), "z"),
    "tree": (("output",), "oR"),
    "date": (("set",), "s"),
    "uniq": ((), ""),
    "sed": (("in-place", "file", "separate"), "ifs"),
    "awk": (("file", "include", "load", "exec"), "filE"),
    "fd": (("exec", "exec-batch"), "xX"),
    "tar": (
        (
            "checkpoint-action",
            "to-command",
            "use-compress-program",
            "rsh-command",
            "rmt-command",
            "info-script",
            "new-volume-script",
        ),
        "IF",
    ),
    "rsync": (("rsh", "rsync-path"), "e"),
    "zip": (("unzip-command",), "TT"),
    "curl": (("output", "output-dir", "remote-name", "config"), "oOK"),
    "git": (
        (
            "output",
            "ext-diff",
            "textconv",
            "upload-pack",
            "receive-pack",
            "exec",
            "exec-path",
            "open-files-in-pager",
            "filters",
            "config",
            "config-env",
            "git-dir",
            "work-tree",
            "paginate",
            "template",
        ),
        "",
    ),
}
_MORE["gawk"] = _MORE["mawk"] = _MORE["awk"]
# Options of these sub-commands of git whose next word is a value and never an option.
_VALUED = frozenset({"-m", "-am", "--message"})
_MESSAGES = frozenset({"commit", "tag", "merge", "stash"})
# What -exec runs is judged by itself.
_FIND_MORE = re.compile(r"-(delete|fls|fprint|fprint0|fprintf|files0-from)")
# Exact options that are also the beginning of one above.
_WHOLE = frozenset({"text", "filter", "no-ext-diff", "no-textconv"})
_ADDRESS = r"(?:[0-9]+|\$|/[^/\\]*/)"
_SED_STEP = rf"(?:{_ADDRESS}(?:,[+~]?{_ADDRESS})?)?!?[pdq=]"
_SED_PART = r"(?:(?!\1)[^\n\\])*\1"  # ends where sed ends it: what follows are flags
_SED_CHANGE = rf"(?:{_ADDRESS}(?:,{_ADDRESS})?)?s([/|,#]){_SED_PART}{_SED_PART}[gpiI0-9]*"
_SED = re.compile(rf"{_SED_STEP}(?:;{_SED_STEP})*|{_SED_CHANGE}")
# All other options of sed may carry a script, or take the word that looks like one.
_SED_PLAIN = re.compile(
    r"-[nErzu]*|-e|--(expression|quiet|silent|regexp-extended|null-data|posix)?"
)
_AWK_MORE = re.compile(r"system|getline|[|>@]")
_TEST_UNARY = re.compile(r"-[defhLnrswxz]")
_TEST_BINARY = re.compile(r"=|==|!=|-(eq|ne|lt|gt|le|ge|nt|ot|ef)")
# Sub-commands whose later words are arguments to just that: what "always" may widen.
_FAMILIES: dict[str, frozenset[str]] = {
    "git": _GIT_LOOK | {"add", "commit", "fetch", "stash", "branch", "switch", "restore", "tag"},
    "npm": frozenset({"test", "ci", "install", "ls"}),
    "cargo": frozenset({"build", "check", "test", "clippy", "fmt"}),
    "go": frozenset({"build", "test", "vet", "fmt"}),
}
_NEVER = _words(
    "sh bash dash zsh ksh ash busybox env xargs find sudo doas su eval exec source . command"
    " builtin nohup setsid watch flock chroot unshare strace ssh alias trap parallel set export"
)


def options_that_do_more(command: Command) -> str:
    """The word by which a known program would write a file or start a program; empty: none.

    Words known only when it runs count where they could become such an option.
    """
    program, *words = command.words or (Word(""),)
    name = program.text.rpartition("/")[2]
    if name not in _MORE and name != "find":
        return ""
    if name == "git" and words and words[0].text.startswith("-"):
        return words[0].text
    for at, word in enumerate(words):
        valued = name == "git" and words[0].text in _MESSAGES and at > 1
        value = valued and words[at - 1].text in _VALUED and word.text[:1] != HOLE
        if value:
            continue
        if word.text[:1] in {HOLE, PART} or (word.glob and word.text[:1] in "*?["):
            return "a word that could be an option"
        if word.text == "--" and name != "find":
            break
        if _does_more(name, word.text) or (at and _git_more(name, words[0].text, word.text)):
            return word.text
    return _script(name, words)


def _does_more(name: str, text: str) -> bool:
    if name == "find":
        return _FIND_MORE.fullmatch(text) is not None
    longs, letters = _MORE[name]
    if text.startswith("--") and len(text) > len("--"):
        option = text[2:].partition("=")[0]
        return option not in _WHOLE and any(each.startswith(option) for each in longs)
    if name == "git" and text.startswith("ext::"):
        return True
    return text.startswith("-") and any(letter in text[1:] for letter in letters)


def _git_more(name: str, verb: str, text: str) -> bool:
    """Letters that mean something else to other sub-commands."""
    if name != "git":
        return False
    pager = verb == "grep" and text[:1] == "-" and "O" in text
    return pager or (verb == "rebase" and text == "-x")


def _script(name: str, words: list[Word]) -> str:
    """The program text that sed and awk are given, where it is not plain."""
    if name == "uniq":
        texts = [word.text for word in words]
        end = texts.index("--") if "--" in texts else len(texts)
        operands = [each for each in texts[:end] if each == "-" or each[:1] != "-"]
        operands += texts[end + 1 :]
        return operands[1] if len(operands) > 1 else ""
    if name not in {"sed", "awk", "gawk", "mawk"}:
        return ""
    scripts = [
        words[at + 1].text
        for at, word in enumerate(words[:-1])
        if name == "sed" and word.text in {"-e", "--expression"}
    ]
    first = next((word.text for word in words if not word.text.startswith("-")), "")
    joined = [
        text
        for text in (w.text for w in words)
        if text[:1] == "-" and not _SED_PLAIN.fullmatch(text)
    ]
    if name == "sed":
        plain = all(_SED.fullmatch(script) for script in scripts or [first]) and not joined
        return "" if plain else (joined or scripts or [first])[0]
    return first if _AWK_MORE.search(first) or HOLE in first or PART in first else ""


def only_looks(command: Command) -> bool:
    """Whether it reads and prints and does nothing else, so far as its words tell."""
    if not command.words:
        return True
    program, *words = command.words
    name = program.text if program.known else ""
    if name in {"[", "test"}:
        return _is_plain_test(words[:-1] if name == "[" else words)
    if name in {"printf", "command"}:
        first = words[0].text if words else "-"
        plain = not first.startswith(("-", HOLE, PART))
        return plain if name == "printf" else first in {"-v", "-V"}
    if name == "git" and not _git_looks(words):
        return False
    mostly = name in _MOSTLY_LOOK or name == "git"
    return name in _ONLY_LOOK or (mostly and not options_that_do_more(command))


def _git_looks(words: list[Word]) -> bool:
    if not words or not words[0].known:
        return False
    name, rest = words[0].text, [word.text for word in words[1:]]
    if name in _GIT_LOOK:
        return True
    return (name, rest) in [
        ("branch", []),
        ("branch", ["-a"]),
        ("branch", ["-v"]),
        ("branch", ["--show-current"]),
        ("remote", []),
        ("remote", ["-v"]),
        ("stash", ["list"]),
        ("tag", []),
        ("tag", ["-l"]),
    ]


def prints_tracked(command: Command) -> bool:
    """Whether it is a git that prints, or writes elsewhere, what tracked files hold."""
    program, *words = command.words or (Word(""),)
    if program.text.rpartition("/")[2] != "git":
        return False
    texts = [word.text for word in words]
    while texts and texts[0].startswith("-"):
        texts = texts[2 if texts[0] in _GIT_VALUED else 1 :]
    verb, options = (texts[0], texts[1:]) if texts else ("", [])
    if options[:1] == ["list"] or verb in _GIT_NAMES_COMMITS:
        return any(_GIT_PATCH.match(each) for each in options)
    if verb in {"diff", "show", "diff-tree", "diff-index"}:
        brief = any(each in _GIT_BRIEF for each in options)
        return not brief or any(_GIT_PATCH.match(each) for each in options)
    return verb in _GIT_PRINTS


def _is_plain_test(words: list[Word]) -> bool:
    """No other form: `test -v` evaluates commands in subscripts."""
    texts = [word.text for word in words]
    if texts[:1] == ["!"]:
        texts = texts[1:]
    unary, binary = 2, 3
    if len(texts) == unary:
        return _TEST_UNARY.fullmatch(texts[0]) is not None and HOLE not in texts[1]
    return len(texts) == binary and _TEST_BINARY.fullmatch(texts[1]) is not None


def always(command: Command) -> str | None:
    """The rule that allows this and no more than was shown; None where no rule may."""
    program, *words = command.words or (Word(""),)
    name = program.text.rpartition("/")[2]
    if not name or not program.known or command.assignments or name in _NEVER:
        return None
    first = words[0].text if words and words[0].known else ""
    if not options_that_do_more(command):
        if first in _FAMILIES.get(program.text, ()):
            return f"Bash({name} {first}:*)"
        if program.text == "npm" and first == "run" and words[1:] and words[1].known:
            script = words[1].text
            if re.fullmatch(r"[\w:-]+", script):
                return f"Bash(npm run {script}:*)"
    if "*" in command.source or "\n" in command.source or not all(w.known for w in command.words):
        return None
    return None if command.redirects else f"Bash({command.source})"
