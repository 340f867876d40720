"""The desk of the screen: a session, and all that commands such as /cost do about it."""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from headrace.agent import log as logs
from headrace.agent.entries import Answered, Entry, Moved, Said, Set
from headrace.agent.log import Log
from headrace.agent.session import Session
from headrace.code.bill import bill_of, cost_text
from headrace.code.build import Ground, open_session, use_model
from headrace.code.instructions import INIT_PROMPT
from headrace.code.screen.actions import Desk, Kept, Ran, Status
from headrace.code.snapshots import Restored
from headrace.code.trace import keep_traces
from headrace.core.errors import Conflict, NotFound, StoreError
from headrace.core.messages import user
from headrace.safety.rules import Rule
from headrace.safety.sandbox.output import shorten

_FILES_MAX = 20_000
_MODES = {
    "default": "reads freely, asks before changes and commands that no rule allows",
    "acceptEdits": "changes files of this folder without asking",
    "plan": "reads only; nothing is changed",
    "dontAsk": "what would be asked is refused",
    "bypassPermissions": "asks nothing",
}
_SHELL_S_MAX = 3_600.0
_SKIPPED = frozenset({".git", "node_modules", "__pycache__", ".venv", "target", ".tox"})


async def desk_of(ground: Ground, log: Log | None = None) -> Desk:
    """The desk of the session that the flags name, or of one that is open already."""
    keep_traces(ground.flags)
    session = await open_session(ground, log=log)

    async def resume(session_id: str) -> Desk:
        path = ground.sessions / f"{session_id}.jsonl"
        return await desk_of(ground, Log.open(path, ground.clock))

    async def clear() -> Desk:
        path = logs.new_path(ground.sessions, ground.clock)
        return await desk_of(ground, Log.open(path, ground.clock))

    async def models() -> tuple[str, ...]:
        served = await ground.connection.client.models()
        return tuple(model.id for model in served if model.abilities.chat)

    async def close() -> None:
        session.log.close()

    return Desk(  # noqa: S604 - the field is called so; it runs in the sandbox
        session=session,
        status=lambda: _status(ground, session),
        workspace=str(ground.workspace),
        bill=lambda: cost_text(
            bill_of(session.log.all()),
            budget_nano=ground.flags.max_budget_nano,
            prefill_tokens_per_s=ground.profile.prefill_tokens_per_s,
            source=ground.priced.source,
        ),
        permissions=lambda: _permissions(ground),
        why=lambda count: "\n".join(ground.policy.why(count)) or "Nothing was decided yet.",
        models=models,
        use_model=lambda name: use_model(ground, session, name),
        kept=lambda: _kept(ground.sessions),
        resume=resume,
        clear=clear,
        export=lambda path: _export(ground, session, path),
        shell=lambda command, hear: _shell(ground, session, command, hear),
        init_words=INIT_PROMPT,
        files=lambda: tuple(islice(_files(ground), _FILES_MAX)),
        history=ground.state / "history",
        close=close,
        may_bypass=ground.flags.dangerously_skip_permissions,
        undo_rewind=lambda: _undo_rewind(ground, session),
        rewind_git=lambda: _rewind_git(ground, session),
    )


def _status(ground: Ground, session: Session) -> Status:
    return Status(
        model=ground.connection.model.id,
        mode=ground.policy.mode,
        cost_nano=session.cost().nano or None,
        context_left=_context_left(ground, session),
    )


async def _undo_rewind(ground: Ground, session: Session) -> str:
    """Undo the newest rewind: what of files and conversation it put back. Twice does it again."""
    if session.running:
        raise Conflict("the session is at work; interrupt it first")
    rewound, body = _newest_rewind(session.log.branch())
    told: list[str] = []
    snapshot = None
    if body.value if isinstance(body, Set) else body.snapshot:
        done = await ground.snapshots.undo()
        snapshot = done.after
        told.append(_put_back(done))
    if isinstance(body, Moved):
        written = session.log.all()
        # The branch that was left ended with what was written just before.
        session.log.move(written[written.index(rewound) - 1].id, snapshot)
        told.append("the conversation goes on where it was")
    return "; ".join(told)


async def _rewind_git(ground: Ground, session: Session) -> str:
    """Put git directories to where the newest rewind put the files."""
    if session.running:
        raise Conflict("the session is at work; interrupt it first")
    return f"branches, index and stashes: {_put_back(await ground.snapshots.restore_git())}"


def _put_back(done: Restored) -> str:
    left = f"; left as they are: {', '.join(done.left[:5])}" if done.left else ""
    return f"files put back: {len(done.written)}, removed: {len(done.deleted)}{left}"


def _newest_rewind(branch: tuple[Entry, ...]) -> tuple[Entry, Moved | Set]:
    for entry in reversed(branch):
        body = entry.body
        if isinstance(body, Moved) or (isinstance(body, Set) and body.name == "restored"):
            return entry, body
    raise NotFound("nothing to undo: this session was not rewound")


def _context_left(ground: Ground, session: Session) -> float | None:
    for entry in reversed(session.log.branch()):
        if isinstance(entry.body, Answered):
            used = entry.body.usage.input + entry.body.usage.output
            return max(0.0, 1 - used / ground.context_tokens)
    return None


def _permissions(ground: Ground) -> str:
    rules = ground.policy.rules
    mode = ground.policy.mode
    lines = [f"mode   {mode}: {_MODES.get(mode, 'as its name says')}", ""]
    for name, some in (("deny", rules.deny), ("ask", rules.ask), ("allow", rules.allow)):
        lines += [f"{name:<6} {_rule(rule)}" for rule in some]
    if not (rules.deny or rules.ask or rules.allow):
        lines.append('No rules. An answer "Yes, and always" keeps one.')
    held = "in the sandbox" if ground.sandbox.sandboxed else "without a sandbox: there is none here"
    lines += ["", f"Commands run {held}. /why tells what was decided, and by what."]
    return "\n".join(lines)


def _rule(rule: Rule) -> str:
    return f"{rule.text}  ({rule.scope}{f', {rule.file}' if rule.file else ''})"


def _kept(folder: Path) -> tuple[Kept, ...]:
    return tuple(Kept(one.id, one.words, one.changed_ns) for one in logs.sessions(folder))


def _export(ground: Ground, session: Session, name: str | None) -> str:
    from headrace.code.export import to_json, to_markdown  # noqa: PLC0415 - asked for seldom

    path = ground.workspace / (name or f"headrace-{session.log.id}.md")
    write = to_json if path.suffix == ".json" else to_markdown
    try:
        path.write_text(write(session.log.branch()), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    return str(path)


async def _shell(
    ground: Ground, session: Session, command: str, hear: Callable[[str], None]
) -> Ran:
    if ground.human is not None:
        ground.human.grant(command)  # its user typed it
    ran = await ground.sandbox.run(
        command,
        timeout_s=_SHELL_S_MAX,
        on_output=lambda data: hear(data.decode(errors="replace")),
    )
    text = shorten(ran)
    told = f"I ran `{command}`, exit status {ran.status}:\n{text}"
    if session.running:
        session.queue(told)
    else:
        session.log.append(Said(user(told), "notice"))
    return Ran(text, ran.status, str(ran.path_of_rest) if ran.path_of_rest else None)


def _files(ground: Ground) -> Iterable[str]:
    return (found.path for found in ground.files.walk(skip=_SKIPPED) if not found.is_folder)
