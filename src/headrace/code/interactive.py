"""The assistant on a screen: first the paint, then everything else."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.code.flags import Flags
from headrace.code.screen.front import Front
from headrace.code.screen.terminal import is_dumb

if TYPE_CHECKING:
    from headrace.agent.progress import Human
    from headrace.code import build
    from headrace.code.screen.actions import Desk
    from headrace.code.screen.plain import Plain
    from headrace.code.screen.screen import Screen

_CHOICES_MAX = 20


def main(flags: Flags) -> int:
    """Talk until the person leaves; returns the exit code."""
    if is_dumb():
        from headrace.code.screen.plain import Plain  # noqa: PLC0415 - for few terminals

        return asyncio.run(_talk(flags, Plain()))
    front = Front()
    front.open(str(Path.cwd()))
    try:
        # Late: the person sees the screen and types while this loads.
        from headrace.code.screen.screen import Screen  # noqa: PLC0415

        front.pump()
        return asyncio.run(_talk(flags, Screen(front), front))
    finally:
        front.close()


async def _talk(flags: Flags, screen: "Screen | Plain", front: Front | None = None) -> int:
    from headrace.code import build  # noqa: PLC0415 - as above

    if front is not None:
        front.pump()
    from headrace.code.desk import desk_of  # noqa: PLC0415 - as above
    from headrace.core.clock import SystemClock  # noqa: PLC0415 - as above

    grounds: list[build.Ground] = []

    async def put_together(human: "Human", tell: build.Tell) -> "Desk":
        clock = SystemClock()
        ground = await build.lay(
            flags, Path.cwd(), human=human, clock=clock, tell=tell, watcher=screen
        )
        grounds.append(ground)
        if flags.resume == "":
            flags.resume = await _chosen(ground, human)
        return await desk_of(ground)

    try:
        return await screen.run(put_together, flags.prompt)
    finally:
        for ground in grounds:
            await ground.close()


async def _chosen(ground: "build.Ground", human: "Human") -> str | None:
    from headrace.agent.log import sessions  # noqa: PLC0415 - with -r alone

    kept = sessions(ground.sessions)
    options = tuple(f"{number}. {one.words}" for number, one in enumerate(kept[:_CHOICES_MAX], 1))
    answer = await human.choose("Which session shall go on?", options) if options else ""
    number = options.index(answer) if answer in options else None
    return None if number is None else kept[number].id
