"""Whether a folder's own settings count: its person is asked, and sees what they would do."""

from collections.abc import Callable
from pathlib import Path

from headrace.agent.progress import Human
from headrace.code.flags import Flags
from headrace.code.screen.text import exact_line
from headrace.core.errors import ConfigError
from headrace.safety.trust import Bundle, Trust, bundle_of

_YES, _NO = "yes, trust it", "no, work without its settings"


async def is_trusted(
    flags: Flags,
    workspace: Path,
    trust: Trust,
    *,
    human: Human | None,
    tell: Callable[[str], None],
) -> bool:
    """Whether the folder is trusted as it is now; a person is asked where there is one.

    Raises:
        ConfigError: `--trust` names another state of it.
    """
    bundle = bundle_of(workspace)
    verdict = trust.check(bundle, digest=flags.trust)
    if verdict.trusted:
        return True
    if flags.trust is not None:
        raise ConfigError(
            "--trust names another state of this folder",
            hint=f"it is now {bundle.digest}; `headrace code trust` shows what is in it",
        )
    if human is None or flags.headless or not bundle.items:
        for change in verdict.changes:
            tell(f"not trusted: {exact_line(change)}")
        return False
    answer = await human.choose(_question(bundle, known=verdict.known), (_YES, _NO))
    if answer == _YES:
        trust.grant(bundle)
    return answer == _YES


def _question(bundle: Bundle, *, known: bool) -> str:
    lines = [
        f"  {exact_line(item.name)}: {exact_line(line)}"
        for item in bundle.items
        for line in item.shows
    ]
    head = "What this folder brings has changed" if known else "This folder brings"
    return "\n".join([f"{head}:", *lines, "Trust it?"])
