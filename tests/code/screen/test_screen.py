"""The screen in a real terminal, driven key by key. The session behind it is scripted."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from support.tmux import Tmux, terminal

# ruff: noqa: RUF001 - the sign of a prompt, as it is shown

ROOT = Path(__file__).parents[3]
LISTENS = "❯ 1. Yes"
READY = "ask, or / for commands"
STATUS = "scripted · 87% context left · $0.0123"

Open = Callable[..., AbstractContextManager[Tmux]]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def open_one(
        *arguments: str, columns: int = 80, rows: int = 24, **environment: str
    ) -> AbstractContextManager[Tmux]:
        program = [sys.executable, "-m", "support.screen_script", str(tmp_path), *arguments]
        settings = {"PYTHONPATH": str(ROOT / "tests"), "LANG": "C.UTF-8"} | environment
        return terminal(program, tmp_path, columns=columns, rows=rows, environment=settings)

    return open_one


@pytest.fixture
def screen(opened: Open) -> Generator[Tmux]:
    with opened() as tmux:
        tmux.wait(READY)
        yield tmux


def lines_of(shown: str) -> list[str]:
    return [line.rstrip() for line in shown.rstrip().splitlines()]


SNAPSHOT = """\
❯ answer me

● Title

  Some bold words and code in a paragraph that is long enough to wrap on eighty
  columns.

  • one
  • two

    def add(a, b):
        return a + b  # sum

  ┌──────┬───────┐
  │ name │ value │
  ├──────┼───────┤
  │ a    │ 1     │
  └──────┴───────┘

{rule}
❯ ask, or / for commands, @ for files, ! for a shell
{rule}
{status}"""


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (300, 80)])
def test_an_answer(opened: Open, columns: int, rows: int):
    with opened(columns=columns, rows=rows) as tmux:
        tmux.wait(READY)
        tmux.say("answer me")
        tmux.wait("└──────┴───────┘")
        tmux.wait(READY)
        rule, status = "─" * (columns - 1), STATUS.rjust(columns - 1)
        expected = SNAPSHOT.format(rule=rule, status=status)
        if columns > 80:
            expected = expected.replace("eighty\n  columns", "eighty columns")
        shown = lines_of(tmux.whole())
        assert shown[shown.index("❯ answer me") :] == expected.splitlines()
        assert "\x1b[35mdef" in tmux.screen(styles=True)


def test_no_colour(opened: Open):
    with opened(NO_COLOR="1") as tmux:
        tmux.wait(READY)
        tmux.say("tools")
        styled = tmux.wait("All done.") and tmux.screen(styles=True)
        assert "\x1b[3" not in styled.replace("\x1b[39m", "")
        assert "\x1b[1m" in styled


def test_tools_are_lines_with_what_came_of_them(screen: Tmux):
    screen.say("tools")
    screen.wait("All done.")
    shown = lines_of(screen.whole())
    assert shown[shown.index("● Bash(pytest -q)") :][:31] == [
        "● Bash(pytest -q)",
        "  ⎿  line 0",
        "     line 1",
        "     line 2",
        "     … 35 more lines (ctrl+o)",
        "     line 38",
        "     line 39",
        "     exit status 1",
        "",
        "● Edit(src/a.py)",
        "  ⎿  added 1 line, removed 1 line",
        "      7   line 6",
        "      8   line 7",
        "      9   line 8",
        "     10 - line 9",
        "     10 + line nine",
        "     11   line 10",
        "     12   line 11",
        "     13   line 12",
        "",
        "● Read(.env)",
        "  ⎿  refused: rule Read(./.env)",
        "",
        "● All done.",
        "",
        "─" * 79,
        "❯ ask, or / for commands, @ for files, ! for a shell",
        "─" * 79,
        STATUS.rjust(79),
    ]
    screen.keys("C-o")
    screen.wait("line 37")
    assert screen.whole().count("line 20\n") == 1


def test_escape_interrupts_at_once_and_gives_back_what_was_queued(screen: Tmux):
    screen.say("slow")
    screen.wait("Writing…")
    screen.say("and this")
    screen.wait("⏎ and this")
    screen.keys("Escape")
    shown = screen.wait("interrupted; say what to do instead")
    assert "❯ and this" in shown
    assert "⏎" not in shown
    assert "Writing" not in shown


def test_what_is_typed_while_it_works_is_said_after(screen: Tmux):
    screen.say("long")
    screen.wait("⏎", gone=True)
    screen.say("and this")
    screen.wait("You said: and this")
    shown = screen.whole()
    assert shown.index("Paragraph 99") < shown.index("❯ and this") < shown.index("You said")
    assert [f"Paragraph {n} of many." in shown for n in range(100)] == [True] * 100
    assert shown.count("Paragraph 50 of many.") == 1


ASKED = """\
Run a command
  rm -rf build<U+200B> && echo '\\x1b[2J<U+202E> done'

no rule allows it
✗ Nothing would hold it back. May it do this?
❯ 1. Yes
  2. Yes, and always: Bash(rm -rf build:*)
  3. No
  4. No, and say what to do instead"""


@pytest.mark.parametrize(
    ("keys", "reply"),
    [
        (["Enter"], "allowed=True always=False words="),
        (["2"], "allowed=True always=True words="),
        (["Down", "Down", "Enter"], "allowed=False always=False words="),
        (["4", "u", "s", "e", "Enter"], "allowed=False always=False words=use"),
    ],
)
def test_a_question_shows_the_exact_command_and_takes_an_answer(
    screen: Tmux, keys: list[str], reply: str
):
    screen.say("ask")
    shown = screen.wait(LISTENS)
    assert ASKED in shown
    screen.keys(*keys)
    screen.wait(f"● {reply}")
    screen.wait(READY)


def test_keys_typed_before_a_question_could_be_read_do_not_answer_it(screen: Tmux):
    screen.say("later")
    # One who goes on typing while it appears, without looking up, and presses Enter.
    for key in "12 and run the tests":
        screen.type(key)
        time.sleep(0.05)
    shown = screen.wait("May it do this?")
    assert LISTENS not in shown
    screen.keys("Enter")
    shown = screen.wait(LISTENS)
    assert "⏎ 12 and run the tests" in shown
    screen.keys("3")
    screen.wait("● allowed=False always=False words=")
    screen.wait("You said: 12 and run the tests")


def test_words_begun_before_a_question_are_seen_and_kept(screen: Tmux):
    screen.say("later")
    screen.type("draft")
    assert "❯ draft\nRun a command" in screen.wait(LISTENS)
    screen.keys("Enter")
    screen.wait("● allowed=True")
    screen.wait("❯ draft\n──")


def test_leaving_a_question_ends_the_turn(screen: Tmux):
    screen.say("ask")
    screen.wait(LISTENS)
    screen.keys("Escape")
    screen.wait("interrupted; say what to do instead")


def test_a_question_larger_than_the_screen_is_shown_whole_above(screen: Tmux):
    screen.say("big")
    screen.wait(LISTENS)
    shown = screen.whole()
    assert [f"  echo step {n}\n" in shown for n in range(60)] == [True] * 60
    screen.keys("1")
    screen.wait("allowed=True")


def test_the_models_question(screen: Tmux):
    screen.say("choose")
    screen.wait("? Which colour?")
    screen.wait("❯ 1. red")
    screen.keys("2")
    screen.wait("chose green")


def test_escape_twice_goes_back(screen: Tmux):
    screen.say("answer one")
    screen.wait("└──────┴───────┘")
    screen.wait(READY)
    screen.keys("Escape")
    screen.wait("esc again goes back")
    screen.keys("Escape")
    screen.wait("Go back to before")
    screen.keys("Enter")
    shown = screen.wait("Files and conversation")
    assert "Conversation only" in shown
    screen.keys("Down", "Enter")
    screen.wait("rewound files=False conversation=True")
    screen.wait("❯ answer one\n──")


def test_modes_cycle(opened: Open):
    with opened("bypass") as tmux:
        tmux.wait(READY)
        for told in ("accept edits on", "plan mode on", "bypass permissions on"):
            tmux.keys("BTab")
            tmux.wait(told)
        tmux.keys("BTab")
        tmux.wait("bypass", gone=True)


def test_bypass_is_reached_only_when_it_was_started_with(screen: Tmux):
    for told in ("accept edits on", "plan mode on"):
        screen.keys("BTab")
        screen.wait(told)
    screen.keys("BTab")
    assert "bypass" not in screen.wait("plan mode", gone=True)


def test_resizing_leaves_one_input_box(screen: Tmux):
    screen.say("answer me")
    screen.wait("└──────┴───────┘")
    screen.type("draft")
    for columns, rows in ((50, 20), (20, 5), (120, 40), (80, 24)):
        screen.resize(columns, rows)
        screen.wait(f"\n{'─' * (columns - 1)}\n" if rows > 5 else "❯ draft\n scripted")
    shown = screen.wait(STATUS)
    assert shown.count("❯ draft") == 1
    assert shown.count("─" * 79) == 2
    assert screen.whole().count("└──────┴───────┘") == 1


def test_the_smallest_screen_works(opened: Open):
    with opened(columns=20, rows=5) as tmux:
        tmux.wait("❯ ask")
        tmux.say("ask")
        tmux.wait(LISTENS)
        assert "rm -rf build" in tmux.whole()
        tmux.keys("1")
        tmux.wait("words=")


def test_completion_of_commands_and_files(screen: Tmux):
    screen.type("/co")
    assert "/compact" in screen.wait("/cost")
    screen.keys("Down", "Enter")
    screen.wait("812 tokens in, 40 out")
    screen.type("see @ma")
    screen.wait("  @src/app/main.py")
    screen.keys("Tab")
    screen.wait("❯ see @src/app/main.py")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("/help", "ctrl+c twice"),
        ("/permissions", "allow Bash(git diff:*)  project"),
        ("/why 3", "the last 3: allowed by rule"),
        ("/export out.md", "written to out.md"),
        ("/clear", "a new session"),
        ("/compact tests", "compacted; /compact show"),
        ("/model other", "going on with other"),
        ("/nonsense", "there is no command /nonsense"),
        ("!echo $((40 + 2))", "     42"),
    ],
)
def test_commands(screen: Tmux, command: str, told: str):
    screen.say(command)
    screen.wait(told)
    screen.wait(READY)


def test_a_command_of_the_persons_own_is_interrupted(screen: Tmux):
    screen.say("!sleep 60")
    screen.wait("Working…")
    screen.keys("Escape")
    screen.wait("· interrupted")
    screen.wait(READY)


def test_typing_pasting_and_history(screen: Tmux):
    screen.paste("\n".join(f"pasted {n}" for n in range(120)))
    screen.wait("[pasted 120 lines]")
    screen.keys("C-u")
    screen.wait(READY)
    screen.type("one")
    screen.keys("C-j")
    screen.type("two\\")
    screen.keys("Enter")
    screen.type("three")
    assert "❯ one\n  two\n  three\n" in screen.wait("three")
    screen.keys("Enter")
    screen.wait("● Title")
    screen.wait(READY)
    screen.keys("Up")
    screen.wait("❯ one\n  two\n  three\n─")
    screen.keys("C-c")
    screen.wait("ctrl+c again leaves")
    time.sleep(0.1)
    screen.keys("C-r")
    screen.wait("search:")
    screen.type("tw")
    screen.wait("one two three")
    screen.keys("Enter")
    screen.wait("❯ one\n  two\n  three\n─")


@pytest.mark.parametrize("keys", [["C-d"], ["C-c", "C-c"]])
def test_leaving_puts_the_terminal_back(opened: Open, keys: list[str]):
    with opened() as tmux:
        tmux.wait(READY)
        tmux.keys(*keys)
        shown = tmux.wait("left with")
        assert "───" not in shown
        tmux.wait_end()


@pytest.mark.parametrize("how", ["fail", signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_put_back_whatever_happens(tmp_path: Path, how: str | signal.Signals):
    if shutil.which("tmux") is None and not os.environ.get("CI"):
        pytest.skip("tmux is missing")
    program = f"{sys.executable} -m support.screen_script {tmp_path}"
    script = f"{program} 2>{tmp_path}/errors; echo ended $?; stty -a | tr ' ' '\\n' | grep echo$"
    settings = {"PYTHONPATH": str(ROOT / "tests")}
    with terminal(["sh", "-c", script], tmp_path, environment=settings) as tmux:
        tmux.wait(READY)
        if isinstance(how, str):
            tmux.say(how)
        else:
            found = subprocess.run(
                ["pgrep", "-P", str(tmux.pid())], capture_output=True, text=True, check=True
            )
            os.kill(int(found.stdout.split()[0]), how)
        shown = tmux.wait("ended")
        assert f"ended {1 if isinstance(how, str) else 128 + how}" in shown
        assert "\necho\n" in tmux.wait("\necho\n")
        errors = (tmp_path / "errors").read_text()
        assert ("a fault of ours" in errors) == isinstance(how, str)


def test_stopping_and_coming_back(tmp_path: Path):
    settings = {"PYTHONPATH": str(ROOT / "tests"), "PS1": "shell> "}
    with terminal(["bash", "--norc", "-i"], tmp_path, environment=settings) as tmux:
        tmux.wait("shell>")
        tmux.say(f"{sys.executable} -m support.screen_script {tmp_path}")
        tmux.wait(READY)
        tmux.type("draft")
        tmux.keys("C-z")
        tmux.wait("Stopped")
        tmux.say("echo $((1 + 1)) in between")
        tmux.wait("2 in between")
        tmux.say("fg")
        tmux.wait("❯ draft")
        tmux.type(" goes on")
        tmux.wait("❯ draft goes on")


def test_without_a_terminal_it_says_what_to_do(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "support.screen_script", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the screen needs a terminal" in done.stderr
    assert "\x1b" not in done.stdout


def test_nothing_is_drawn_while_idle(screen: Tmux, tmp_path: Path):
    screen.say("answer me")
    screen.wait("└──────┴───────┘")
    screen.wait(READY)
    drawn = tmp_path / "drawn"
    screen.run("pipe-pane", f"cat > {drawn}")
    stat = Path(f"/proc/{screen.pid()}/stat")
    before = stat.read_text().split()[13:15] if stat.exists() else []
    time.sleep(1)
    after = stat.read_text().split()[13:15] if stat.exists() else []
    assert drawn.read_bytes() == b""
    assert after == before


class Dumb:
    """The screen where no cursor can be placed, through pipes."""

    def __init__(self, folder: Path) -> None:
        self.running = subprocess.Popen(
            [sys.executable, "-m", "support.screen_script", str(folder)],
            env=os.environ | {"PYTHONPATH": str(ROOT / "tests"), "TERM": "dumb"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.shown = ""

    def say(self, words: str, *, then: str = "> ") -> str:
        """Type a line and wait for what ends in those words; returns what was shown."""
        assert self.running.stdin
        self.running.stdin.write(words.encode() + b"\n")
        self.running.stdin.flush()
        return self.until(then)

    def until(self, words: str) -> str:
        assert self.running.stdout
        shown = b""
        while not shown.endswith(words.encode()):
            byte = self.running.stdout.read(1)
            assert byte, f"it ended: {shown!r}"
            shown += byte
        self.shown += shown.decode()
        return shown.decode()

    def end(self) -> str:
        """No more input; returns all that was shown."""
        rest, errors = self.running.communicate(timeout=10)
        assert self.running.returncode == 0, errors
        return self.shown + rest.decode()


@pytest.fixture
def dumb(tmp_path: Path) -> Generator[Dumb]:
    started = Dumb(tmp_path)
    yield started
    started.running.kill()
    started.running.communicate()


def test_a_dumb_terminal_gets_plain_lines(dumb: Dumb):
    dumb.until("> ")
    dumb.say("answer me")
    dumb.say("ask", then="number: ")
    dumb.say("3")
    dumb.say("!echo $((40 + 2))")
    dumb.say("/cost")
    shown = dumb.end()
    assert "\x1b" not in shown
    for told in ("● Title", "build<U+200B>", "allowed=False", "     42", "812 tokens in"):
        assert told in shown


@pytest.mark.parametrize("words", ["", "   ", "y", "yes", "0", "1 and more", "+1", "-1", "9"])
def test_on_a_dumb_terminal_only_the_number_of_a_yes_allows(dumb: Dumb, words: str):
    dumb.until("> ")
    dumb.say("ask", then="number: ")
    assert "allowed=False" in dumb.say(words)
    dumb.say("ask", then="number: ")
    assert "allowed=True" in dumb.say("1")


def test_on_a_dumb_terminal_words_typed_before_a_question_are_no_answer_to_it(dumb: Dumb):
    dumb.until("> ")
    dumb.say("ask\n1\n1", then="number: ")
    assert "kept for later: 1" in dumb.shown
    assert "allowed=False" in dumb.say("")


def test_on_a_dumb_terminal_the_end_of_the_input_is_a_no_and_the_end(dumb: Dumb):
    dumb.until("> ")
    dumb.say("ask", then="number: ")
    assert "allowed=False" in dumb.end()
