"""Action: what a tool is about to do, in the words that permission rules speak of."""

import msgspec


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One use of a tool, before it happens.

    Attributes:
        tool: Its name as rules spell it: Bash, Read, Edit, Write, NotebookEdit, Glob, Grep,
            WebFetch, TodoWrite, AskUserQuestion.
        command: The shell command, exactly as it would run.
        path: The file or folder, absolute, normalised, links not followed.
        url: What would be fetched.
        writes: Whether it can change anything outside the conversation.
    """

    tool: str
    command: str | None = None
    path: str | None = None
    url: str | None = None
    writes: bool = False
