import subprocess
import sys

import pytest

from headrace.code.flags import parse, split_rules
from headrace.core.errors import InvalidRequest
from headrace.core.version import __version__


def refused(*arguments: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse(list(arguments))
    return f"{caught.value.message} | {caught.value.hint}"


def test_nothing_given():
    flags = parse([])
    assert (flags.prompt, flags.print, flags.headless, flags.output_format) == (
        None,
        False,
        False,
        "text",
    )


def test_flags_stand_before_and_behind_the_prompt():
    flags = parse(["-p", "fix it", "--model", "m", "--max-turns=3", "-c"])
    assert (flags.prompt, flags.print, flags.model) == ("fix it", True, "m")
    assert (flags.max_turns, flags.continue_) == (3, True)


def test_short_flags_may_stand_together():
    flags = parse(["-pc", "more"])
    assert (flags.print, flags.continue_, flags.prompt) == (True, True, "more")
    assert parse(["-prabc", "x"]).resume == "abc"
    assert parse(["-wtry"]).worktree == "try"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--allowedTools", "Bash(git diff:*),Edit Read"],
        ["--allowed-tools", "Bash(git diff:*)", "Edit", "Read"],
        ["--allowedTools", "Bash(git diff:*) Edit", "--allowedTools", "Read"],
        ["--allowedTools=Bash(git diff:*),Edit,Read"],
    ],
)
def test_tool_lists_are_parted_by_commas_blanks_and_arguments(arguments: list[str]):
    assert parse(arguments).allowed_tools == ("Bash(git diff:*)", "Edit", "Read")


def test_a_list_ends_at_the_next_flag_and_at_words_that_are_no_rules():
    flags = parse(["--disallowedTools", "Bash", "Write", "-p", "--add-dir", "a", "b", "--", "go"])
    assert flags.disallowed_tools == ("Bash", "Write")
    assert flags.add_dir == ("a", "b")
    assert flags.prompt == "go"
    flags = parse(["-p", "--allowedTools", "Edit", "fix the test"])
    assert (flags.allowed_tools, flags.prompt) == (("Edit",), "fix the test")


def test_rules_keep_what_stands_in_parentheses():
    assert split_rules("Bash(a, b (c)) , Edit( x )\tRead") == (
        "Bash(a, b (c))",
        "Edit( x )",
        "Read",
    )
    assert split_rules(" ") == ()


def test_no_tools_at_all_and_the_usual_ones_are_two_things():
    assert parse([]).tools is None
    assert parse(["--tools", ""]).tools == ()
    assert parse(["--tools", "Read,Bash"]).tools == ("Read", "Bash")


@pytest.mark.parametrize(
    ("arguments", "resume", "prompt"),
    [
        (["-r"], "", None),
        (["--resume", "abc"], "abc", None),
        (["--resume=abc", "go on"], "abc", "go on"),
        (["--resume", "--verbose"], "", None),
        (["-r", "abc", "go on"], "abc", "go on"),
    ],
)
def test_resume_may_name_a_session(arguments: list[str], resume: str, prompt: str | None):
    flags = parse(arguments)
    assert (flags.resume, flags.prompt) == (resume, prompt)


def test_a_prompt_behind_worktree_is_no_name():
    flags = parse(["-w", "fix the test"])
    assert (flags.worktree, flags.prompt) == ("", "fix the test")
    assert parse(["-w", "fix", "the test"]).worktree == "fix"


def test_money_is_exact():
    assert parse(["--max-budget-usd", "0.1"]).max_budget_nano == 100_000_000


def test_what_a_program_passes_that_drives_us():
    words = "--output-format stream-json --verbose --permission-prompt-tool stdio"
    words += " --input-format stream-json --session-id=019ab000-0000-7000-8000-000000000000"
    flags = parse([*words.split(), "--system-prompt", ""])
    assert flags.headless
    assert flags.system_prompt == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--modle", "x"], "did you mean --model?"),
        (["--zzz"], "--help lists them"),
        (["--mcp-config", "x"], "MCP servers come later"),
        (["-x"], "there is no flag -x"),
        (["--model"], "--model takes a value"),
        (["--print=yes"], "--print takes no value"),
        (["--output-format", "xml"], "takes text, json or stream-json"),
        (["--max-turns", "0"], "takes a whole number from 1 on"),
        (["--max-turns", "many"], "takes a whole number from 1 on"),
        (["--max-budget-usd", "a lot"], "not an amount of dollars"),
        (["--max-budget-usd", "-1"], "above 0"),
        (["--json-schema", "[]"], "takes a JSON Schema"),
        (["--session-id", "7"], "takes a UUID"),
        (["fix", "it"], "put the prompt in quotes"),
        (["-c", "-r", "x"], "exclude each other"),
        (["--fork-session"], "goes with --continue or --resume"),
        (["-p", "-r"], "takes a session's id"),
        (["-p", "--input-format", "stream-json"], "goes with --output-format stream-json"),
        (["-p", "--include-partial-messages"], "goes with --output-format stream-json"),
        (["-p", "--permission-prompt-tool", "mcp__x"], "takes only stdio"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], said: str):
    assert said in refused(*arguments)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace", "code", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, input="")


def test_the_version_is_read_as_claude_codes_is():
    assert run("--version").stdout == f"{__version__} (headrace code)\n"


def test_a_wrong_command_line_has_an_exit_code_of_its_own():
    shown = run("--modle", "x")
    assert shown.returncode == 2
    assert shown.stderr == "headrace code: there is no flag --modle\n  did you mean --model?\n"
