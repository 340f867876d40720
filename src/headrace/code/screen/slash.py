"""What each `/` command does."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from headrace.code.screen import picks
from headrace.code.screen.actions import Desk
from headrace.code.screen.menu import Answer, Menu
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError

HINTS = {
    "/help": "keys and commands",
    "/clear": "begin anew; the old session is kept",
    "/compact": "put a summary in place of what is older; show, edit, undo",
    "/model": "go on with another model",
    "/resume": "go on with an earlier session",
    "/rewind": "go back: files, conversation or both (esc esc)",
    "/cost": "tokens, cache and money",
    "/permissions": "the rules, and where they stand",
    "/why": "why the last calls were allowed, asked about or refused",
    "/init": "have the model write AGENTS.md",
    "/export": "write the conversation to a file",
    "/quit": "leave (ctrl+d)",
}
_WHY_COUNT = 10
# They read only, so they need not wait for the turn.
_ANY_TIME = frozenset({"/help", "/cost", "/permissions", "/why", "/export", "/quit", "/exit"})
_HELP = """\
enter            say it; while it works: queue it
ctrl+j           new line (also shift+enter, alt+enter, \\ enter)
esc              interrupt at once; twice: go back (rewind)
shift+tab        next mode: default, accept edits, plan
@                a file's path; tab takes what is offered
!                a shell command of your own, in the sandbox
ctrl+o           all of what was folded last
up, down         what you typed before; ctrl+r searches it
ctrl+k u w y     cut to the end, to the beginning, a word; put back
ctrl+_           undo while typing
ctrl+l           draw the screen anew
ctrl+z           to the shell; fg comes back
ctrl+c twice     leave; also ctrl+d
"""


class Host(Protocol):
    """What commands need of the screen."""

    @property
    def desk(self) -> Desk: ...  # noqa: D102 - the session and what is around it
    @property
    def working(self) -> bool: ...  # noqa: D102 - whether a turn runs

    @property
    def clock(self) -> Clock: ...  # noqa: D102 - the injected one

    def tell(self, text: str, level: str = "info") -> None:
        """One line that people should know."""
        ...

    def echo(self, words: str) -> None:
        """Show which command it is that answers now."""
        ...

    def show(self, text: str) -> None:
        """Plain text of several lines."""
        ...

    async def pick(self, menu: Menu) -> Answer:
        """Have the person choose."""
        ...

    def speak(self, words: str) -> None:
        """Say something to the model."""
        ...

    def fill(self, words: str) -> None:
        """Put words into the input box."""
        ...

    async def swap(self, desk: Desk, *, replay: bool) -> None:
        """Go on at another desk, showing what was said there."""
        ...

    async def edited(self, text: str) -> str | None:
        """The text as the person's editor leaves it; None: unchanged."""
        ...

    def refresh(self) -> None:
        """Ask for the status line anew."""
        ...

    def leave(self, status: int = 0) -> None:
        """End."""
        ...


async def run(host: Host, words: str) -> None:
    """Do what a command says; what goes wrong is told in a line."""
    name, _, rest = words.strip().partition(" ")
    act = _COMMANDS.get(name)
    if act is None:
        near = [each for each in HINTS if each.startswith(name[:3])]
        host.tell(f"there is no command {name}; {', '.join(near) or '/help tells all'}", "warning")
        return
    if host.working and name not in _ANY_TIME:
        host.tell(f"{name} has to wait until the turn ends; esc interrupts it", "warning")
        return
    host.echo(words.strip())
    try:
        await act(host, rest.strip())
    except HeadraceError as error:
        host.tell(f"{error.message}{f'; {error.hint}' if error.hint else ''}", "error")


async def rewind(host: Host, rest: str = "") -> None:
    """Go back to before something that was said."""
    if rest == "undo" and host.desk.undo_rewind is not None:
        host.tell(await host.desk.undo_rewind())
        host.refresh()
        return
    if rest == "git" and host.desk.rewind_git is not None:
        host.tell(await host.desk.rewind_git())
        return
    found = picks.points(host.desk.session.log.branch())
    if not found:
        host.tell("there is nothing to go back to yet")
        return
    where = (await host.pick(picks.points_menu(found))).choice
    if where is None:
        return
    what = (await host.pick(picks.backs_menu())).choice
    if what is None:
        return
    back, label = picks.BACKS[what]
    said = await host.desk.session.rewind(
        found[where].entry_id, files=back.files, conversation=back.conversation
    )
    host.tell(f"went back: {label.lower()}")
    if said is not None and back.conversation:
        host.fill(said.text())


async def _help(host: Host, rest: str) -> None:
    del rest
    commands = "\n".join(f"{name:<17}{hint}" for name, hint in HINTS.items())
    host.show(f"{_HELP}\n{commands}")


async def _clear(host: Host, rest: str) -> None:
    del rest
    await host.swap(await host.desk.clear(), replay=False)
    host.tell("a new session; /resume goes back to the old one")


async def _compact(host: Host, rest: str) -> None:
    session = host.desk.session
    current = session.compacted()
    if rest == "undo":
        undone = session.undo_compaction()
        host.tell("the whole conversation counts again" if undone else "nothing is compacted")
    elif rest == "show":
        host.show(current.summary if current else "nothing is compacted")
    elif rest == "edit":
        if current is None:
            host.tell("nothing is compacted; /compact does it first")
            return
        text = await host.edited(current.summary)
        if text is not None:
            session.edit_compaction(text)
    else:
        host.tell("compacting …")
        await session.compact(rest)
    host.refresh()


async def _model(host: Host, rest: str) -> None:
    name = rest
    if not name:
        names = await host.desk.models()
        if not names:
            host.tell("the endpoint names no models; /model NAME goes on with one", "warning")
            return
        chosen = (await host.pick(picks.models_menu(names, host.desk.status().model))).choice
        if chosen is None:
            return
        name = names[chosen]
    await host.desk.use_model(name)
    host.refresh()
    host.tell(f"going on with {name}")


async def _resume(host: Host, rest: str) -> None:
    session_id = rest
    if not session_id:
        kept = host.desk.kept()
        if not kept:
            host.tell("there is no earlier session in this folder")
            return
        chosen = (await host.pick(picks.kept_menu(kept, host.clock.now_ns()))).choice
        if chosen is None:
            return
        session_id = kept[chosen].id
    await host.swap(await host.desk.resume(session_id), replay=True)


async def _cost(host: Host, rest: str) -> None:
    del rest
    host.show(host.desk.bill())


async def _permissions(host: Host, rest: str) -> None:
    del rest
    host.show(host.desk.permissions())


async def _why(host: Host, rest: str) -> None:
    host.show(host.desk.why(int(rest) if rest.isdecimal() else _WHY_COUNT))


async def _init(host: Host, rest: str) -> None:
    host.speak(f"{host.desk.init_words} {rest}".strip())


async def _export(host: Host, rest: str) -> None:
    host.tell(f"written to {host.desk.export(rest or None)}")


async def _quit(host: Host, rest: str) -> None:
    del rest
    host.leave()


_COMMANDS: dict[str, Callable[[Host, str], Awaitable[None]]] = {
    "/help": _help,
    "/clear": _clear,
    "/compact": _compact,
    "/model": _model,
    "/resume": _resume,
    "/rewind": rewind,
    "/cost": _cost,
    "/permissions": _permissions,
    "/why": _why,
    "/init": _init,
    "/export": _export,
    "/quit": _quit,
    "/exit": _quit,
}
