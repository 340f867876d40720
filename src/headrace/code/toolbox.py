"""The tools that a model is offered, by its profile: the full set, or four for small models."""

from collections.abc import Callable

from headrace.agent.progress import Human
from headrace.agent.tools import Tool
from headrace.code.profile import Profile
from headrace.code.tools.ask import AskUserQuestion
from headrace.code.tools.change import ApplyPatch, Edit, Write
from headrace.code.tools.fetch import WebFetch
from headrace.code.tools.read import Read
from headrace.code.tools.search import Glob, Grep
from headrace.code.tools.seen import Seen
from headrace.code.tools.shell import Bash, BashOutput, Running
from headrace.code.tools.todo import TodoWrite
from headrace.core.decisions import Decision
from headrace.safety.actions import Action
from headrace.safety.files import Workspace
from headrace.safety.sandbox.sandbox import Sandbox
from headrace.safety.sandbox.unsandboxed import Unsandboxed

_CHARACTERS_PER_TOKEN = 4
_WINDOW_SHARE = 8
_CHARACTERS_MIN, _CHARACTERS_MAX = 2_000, 60_000
_GUIDED_CHARACTERS_MAX = 200_000


def toolbox(
    profile: Profile,
    workspace: Workspace,
    sandbox: Sandbox | Unsandboxed,
    *,
    human: Human | None,
    decide: Callable[[Action], Decision],
    may_read: Callable[[str], bool],
    context_tokens: int,
    images: bool = False,
    guided: bool = False,
) -> tuple[Tool, ...]:
    """The tools of one session, in the order in which the model is told of them.

    Args:
        profile: What the model can handle: how many tools, and which form of edit.
        workspace: The door to files.
        sandbox: Where commands run.
        human: Who can be asked; without one there is no AskUserQuestion.
        decide: The permission policy, asked again for each address that a fetch is sent on to.
        may_read: Whether a file may be read unasked, for what a search may show.
        context_tokens: The model's window, of which one result may take a share.
        images: Whether the model sees pictures.
        guided: Whether a guide uses them, which looks at more than a model has room for.
    """
    seen, running = Seen(), Running()
    share = context_tokens * _CHARACTERS_PER_TOKEN // _WINDOW_SHARE
    characters_max = min(max(share, _CHARACTERS_MIN), _CHARACTERS_MAX)

    if guided:
        read = Read(workspace, seen, characters_max=_GUIDED_CHARACTERS_MAX)
        changing: tuple[Tool, ...] = (Write(workspace, seen), Bash(sandbox, None))
        return (read, *changing, Grep(workspace, may_read), Glob(workspace, may_read))
    small = profile.small
    read = Read(workspace, seen, characters_max=characters_max, images=images, short=small)
    grep = Grep(workspace, may_read, short=small)
    if small:
        whole = profile.edit_format == "whole"
        change = (Write if whole else Edit)(workspace, seen, short=True)
        return (read, change, Bash(sandbox, None), grep)
    patches = profile.edit_format == "patch"
    tools: list[Tool] = [
        read,
        ApplyPatch(workspace, seen) if patches else Edit(workspace, seen),
        Write(workspace, seen),
        Bash(sandbox, running),
        BashOutput(running),
        grep,
        Glob(workspace, may_read),
        TodoWrite(),
        WebFetch(decide, characters_max=characters_max),
    ]
    if human is not None:
        tools.append(AskUserQuestion(human))
    return tuple(tools)
