"""Export: a session to read, that commands no terminal and closes no block early."""

import json

import msgspec

from headrace.agent.entries import (
    Answered,
    Begun,
    Body,
    Broke,
    Compacted,
    Entry,
    Moved,
    Said,
    Set,
    Turned,
    Used,
)
from headrace.agent.tools import Diff, Output
from headrace.code.export import to_json, to_markdown
from headrace.core.decisions import Allow, Deny
from headrace.core.messages import Message, Text, Thinking, ToolCall, ToolResult, user


def session() -> list[Entry]:
    bodies: list[Body] = [
        Begun(workspace="/w`x", model="parrot", system="secret words of ours"),
        Set("name", "Mend\nthe test"),
        Said(user("Mend it.")),
        Answered(
            message=Message(
                "assistant",
                (
                    Thinking("hm\nhm"),
                    Text("I look."),
                    ToolCall("1", "Read", '{"file_path":"a.py"}'),
                    ToolCall("2", "Bash", '{"command": cut'),
                ),
            ),
            stop="tool_calls",
            cost_nano=5,
        ),
        Used(tool="Read", result=result("```\nx\n```\n\x1b[2J"), decision=Allow("rule")),
        Used(
            tool="Edit",
            result=result("done"),
            decision=Allow(),
            detail=Diff("a.py", "one\ntwo\n", "one\nthree\n"),
        ),
        Used(
            tool="Bash",
            result=result("short", is_error=True),
            decision=Deny("no such rule"),
            detail=Output("x" * 10_000),
        ),
        Broke(kind="overloaded", text="too many"),
        Compacted(summary="what was\nsaid"),
        Moved("abc"),
        Turned("interrupted"),
    ]
    return [
        Entry(id=str(n), parent_id=str(n - 1) if n else None, time_ns=0, body=body)
        for n, body in enumerate(bodies)
    ]


def result(text: str, *, is_error: bool = False) -> ToolResult:
    return ToolResult("1", (Text(text),), is_error)


def test_markdown_has_all_that_was_said_and_done():
    text = to_markdown(session())
    assert text.startswith("# Mend the test\n\n- Folder: ``/w`x``\n- Model: `parrot`\n")
    for part in (
        "- Begun: `1970-01-01 00:00:00 UTC`",
        "## User\n\nMend it.",
        "## Assistant\n\n> hm\n> hm\n\nI look.",
        '**Read**\n\n```json\n{\n  "file_path": "a.py"\n}\n```',
        '**Bash**\n\n```json\n{"command": cut\n```',
        "Result of **Read**:\n\n````text\n```\nx\n```\n␛[2J\n````",
        "--- a.py\n+++ a.py\n@@ -1,2 +1,2 @@\n one\n-two\n+three",
        "Result of **Bash** (failed):\n\n*Denied: no such rule*",
        "[… 6000 characters …]",
        "*The model call failed (overloaded): too many*",
        "## Compacted\n\n> what was\n> said",
        "*Went back to an earlier point, files included.*",
        "*The turn ended: interrupted*",
        "Cost       $0.000000005",
    ):
        assert part in text
    assert "\x1b" not in text
    assert "secret words of ours" not in text


def test_json_reads_back_as_the_entries():
    entries = session()
    read = json.loads(to_json(entries))
    assert read["version"] == 1
    assert msgspec.convert(read["entries"], list[Entry]) == entries
