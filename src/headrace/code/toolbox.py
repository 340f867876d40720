"""The tools that a model is offered, by its profile: the full set, or four for small models."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.agent.progress import Human
from headrace.agent.tools import Tool
from headrace.code.profile import Profile
from headrace.core.decisions import Decision
from headrace.safety.actions import Action

if TYPE_CHECKING:
    from headrace.safety.files import Workspace
    from headrace.safety.sandbox.run import Sandbox


def toolbox(
    profile: Profile,
    workspace: "Workspace",
    sandbox: "Sandbox",
    *,
    human: Human | None,
    decide: Callable[[Action], Decision],
    output_folder: Path,
    context_tokens: int,
    images: bool = False,
) -> tuple[Tool, ...]:
    """The tools of one session, in the order in which the model is told of them.

    Args:
        profile: What the model can handle: how many tools, and which form of edit.
        workspace: The door to files.
        sandbox: Where commands run.
        human: Who can be asked; without one there is no AskUserQuestion.
        decide: The permission policy, asked again for each address that a fetch is sent on to.
        output_folder: Where the whole of long outputs is kept.
        context_tokens: The model's window, of which one result may take a share.
        images: Whether the model sees pictures.
    """
    raise NotImplementedError
