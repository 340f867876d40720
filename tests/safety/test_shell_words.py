"""The parser of command lines, held against bash itself."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.safety.shell_quotes import HOLE, PART
from headrace.safety.shell_words import parse

BASH = shutil.which("bash") or "bash"
PRINTER = "import sys; sys.stdout.write('\\x00'.join(sys.argv[1:]))"


def texts(script: str) -> list[list[str]]:
    return [[word.text for word in command.words] for command in parse(script).commands]


@pytest.mark.parametrize(
    ("script", "commands"),
    [
        ("ls -la", [["ls", "-la"]]),
        ("a && b || c; d & e", [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ("a\nb # c\n# d\ne", [["a"], ["b"], ["e"]]),
        ("a | b |& c", [["a"], ["b"], ["c"]]),
        ("! a", [["a"]]),
        ("time a", [["a"]]),
        ("(cd a; ls) | wc", [["cd", "a"], ["ls"], ["wc"]]),
        ("{ a; } > f", [["a"], []]),
        ("if a; then b; elif c; then d; else e; fi", [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ("while read l; do echo $l; done < f", [["read", "l"], ["echo", HOLE], []]),
        ("until a\ndo b\ndone", [["a"], ["b"]]),
        ("case $x in a|b) c;; (*) d;; esac", [["c"], ["d"]]),
        ("f() { a; }; f", [["a"], ["f"]]),
        ("function f { a; }", [["a"]]),
        ("[[ -f a && $b == c* ]] && d", [["d"]]),
        ("a $(b `c`) \"$(d 'e f')\"", [["c"], ["b", HOLE], ["d", "e f"], ["a", HOLE, PART]]),
        ("cat <(a) >(b)", [["a"], ["b"], ["cat", PART, PART]]),
        ("cat <<EOF\n$(a)\nEOF\nb", [["cat"], ["a"], ["b"]]),
        ("cat <<'EOF'\n$(a)\nEOF\nb", [["cat"], ["b"]]),
        ("cat <<-E | b\n\tx\n\tE\nc", [["cat"], ["b"], ["c"]]),
        ("git add \"$(cat <<'E'\nan (odd) text\nE\n)\"", [["cat"], ["git", "add", PART]]),
        ("r\"\"m 'x y' z\\ z", [["rm", "x y", "z z"]]),
        ("echo $'a\\tb\\x41\\101'", [["echo", "a\tbAA"]]),
        ("a {b,c} {} {d}", [["a", HOLE, "{}", "{d}"]]),
        ("echo$IFS-n", [[f"echo{HOLE}-n"]]),
        ('a ${b:-c} ${#d} ${e%.*} $1 $? "$@"', [["a", HOLE, HOLE, HOLE, HOLE, HOLE, HOLE]]),
        ("a \\\n  b", [["a", "b"]]),
        ("a ~ ~/b ~c", [["a", "~", "~/b", HOLE]]),
    ],
)  # fmt: skip
def test_it_finds_every_simple_command(script: str, commands: list[list[str]]):
    assert parse(script).unsure == ""
    assert texts(script) == commands


@pytest.mark.parametrize(
    "script",
    [
        "echo ${x@P}",
        "echo ${!x}",
        "echo ${x:=y}",
        "echo ${x[1]}",
        "echo $((a+1))",
        "((a=1))",
        "echo $[1+1]",
        "for ((;;)); do a; done",
        "a=(b c)",
        "a[1]=b",
        "[[ $a -eq 1 ]]",
        "[[ $a =~ b ]]",
        "coproc a",
        "select x in a; do b; done",
        "a {fd}> b",
        "echo 'open",
        'echo "open',
        "echo `open",
        "a &&",
        "| a",
        "a ;; b",
        "( a",
        "a )",
        "if a; then b",
        "a @(b|c)",
        "l\\\ns",
        "a\u00a0b",
        "a\u200bb",
        "a\rb",
        "a \x01",
        "a \0",
        "echo $'\\u0041'",
        'echo $"a"',
        "cat <<$x\n$x",
        "cat <<E\na\\\nE\nE",
        "f() a",
        "(" * 60 + "a" + ")" * 60,
        "a" * 100_001,
    ],
)
def test_what_it_does_not_understand_it_says(script: str):
    assert parse(script).unsure


def test_redirections_tell_their_files_and_whether_they_write():
    (command,) = parse("a <b >c 2>>d 2>&1 &>e >|f <>g <<<h >&i >&-").commands
    found = [(each.operator, each.target.text, each.writes) for each in command.redirects]
    assert found == [
        ("<", "b", False),
        (">", "c", True),
        (">>", "d", True),
        ("&>", "e", True),
        (">|", "f", True),
        ("<>", "g", True),
        (">&", "i", True),
    ]


def test_assignments_are_told_apart_from_words():
    (command,) = parse("A=1 b='x y' c d=e").commands
    assert [(name, value.text) for name, value in command.assignments] == [("A", "1"), ("b", "x y")]
    assert [word.text for word in command.words] == ["c", "d=e"]


quoting = st.sampled_from(["'{}'", '"{}"', "{}", "\\{}", "$'{}'"])
pieces = st.text(alphabet="ab-_./:=%@,+ \t'\"\\#~!&;|<>(){}[]*?^0", max_size=4)
noise = st.text(alphabet="ab1 \t\n'\"\\$`{}()[]<>|&;#*?=!~-", max_size=24)
FRAGMENTS = (
    "a|b c|'x'|\"y $z\"|$(d)|`e`|;|&&|@|(|)|{ | }|if |then |fi|for i in |do |done|case a in |esac"
    "|;;|<<E\n|\nE\n|> f|2>&1|# g|\\\n|[[ | ]]|f() |\n| |!|<(h)|$'i'|{j,k}|A=l "
)
fragments = st.sampled_from(FRAGMENTS.split("|")).map(lambda text: "|" if text == "@" else text)


def argv_of_bash(command: str, folder: Path) -> list[str] | None:
    """What bash passes on, run in an empty folder; None where it refuses."""
    ran = subprocess.run(
        [BASH, "--norc", "-c", "--", command],
        capture_output=True, cwd=folder, env={"PATH": "/nowhere", "HOME": "/home/x"}, check=False,
        timeout=20,
    )  # fmt: skip
    return None if ran.returncode else ran.stdout.decode().split("\0")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(quoting, pieces), min_size=1, max_size=5))
def test_words_are_what_bash_passes_on(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, str]]
):
    line = "".join(
        shape.replace("{}", text, 1) + (" " if len(text) % 2 else "") for shape, text in parts
    )
    folder = tmp_path_factory.getbasetemp()
    head = f"{shlex.quote(sys.executable)} -ISc {shlex.quote(PRINTER)} "
    script = parse(head + line)
    plain = len(script.commands) == 1 and not script.commands[0].redirects
    known = plain and all(word.known and not word.tilde for word in script.commands[0].words)
    if script.unsure or not known or "\n" in line:
        return
    expected = [word.text for word in script.commands[0].words[3:]]
    assert argv_of_bash(head + line, folder) == (expected or [""])


@settings(max_examples=150, deadline=None)
@given(st.one_of(noise, st.lists(fragments, max_size=9).map("".join)))
def test_what_it_understands_is_a_script_to_bash(script: str):
    found = parse(script)
    if found.unsure:
        return
    ran = subprocess.run(
        [BASH, "-n", "-c", "--", script], capture_output=True, check=False, timeout=20
    )
    assert ran.returncode == 0, ran.stderr


@given(st.text(max_size=60))
def test_it_never_raises(script: str):
    parse(script)
