"""The one block before the user's first words: folder, platform, date, git, files."""

from pathlib import Path

from headrace.core.clock import Clock


async def context_block(
    workspace: Path, clock: Clock, *, trusted: bool, instructions: str = "", chars_max: int = 1_500
) -> str:
    """Say where the session works. Git is asked only in a trusted workspace.

    Args:
        workspace: The folder.
        clock: For the date.
        trusted: Whether the workspace may be asked by programs such as git.
        instructions: What `instructions.load` found; stands last.
        chars_max: Of all but the instructions.
    """
    raise NotImplementedError
