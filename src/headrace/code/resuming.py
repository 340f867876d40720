"""Which session the flags name: a new one, the newest, one by its id or its words, or a copy."""

from collections.abc import Callable
from pathlib import Path

from headrace.agent import log as logs
from headrace.agent.log import Log
from headrace.code.flags import Flags
from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest, NotFound


def choose_log(flags: Flags, folder: Path, clock: Clock) -> Log:
    """The log that the flags name: a new one, the newest, one by its id, or a copy.

    Raises:
        NotFound: There is no such session.
    """
    new = folder / f"{flags.session_id}.jsonl" if flags.session_id else logs.new_path(folder, clock)
    if not flags.continue_ and flags.resume is None:
        if new.exists():
            raise InvalidRequest(f"the session {new.stem} is there already", hint="--resume it")
        return Log.open(new, clock)
    path = kept_path(flags.resume, folder)
    if not flags.fork_session:
        return Log.open(path, clock)
    source = Log.open(path, clock)
    try:
        source.fork(new)
    finally:
        source.close()
    return Log.open(new, clock)


def kept_path(word: str | None, folder: Path) -> Path:
    """The file of the newest session, or of the one whose id or first words begin so.

    Raises:
        NotFound: There is none.
    """
    found = logs.sessions(folder)
    if not word:
        if not found:
            raise NotFound("there is no session in this folder to go on with")
        return found[0].path
    for named in _NAMES:
        for one in found:
            if named(one).startswith(word.lower()):
                return one.path
    raise NotFound(f"there is no session {word!r} of this folder", hint="headrace code sessions")


_NAMES: tuple[Callable[[logs.Listed], str], ...] = (
    lambda one: one.id,
    lambda one: one.words.lower(),
)
