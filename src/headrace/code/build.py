"""Puts a session together from flags, settings, trust, sandbox, tools and a server.

Every face comes here: screen, headless, SDK. What is heavy is imported when it is needed, after
the first paint. Nothing of the repository runs before it is trusted.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headrace.agent import log as logs
from headrace.agent import prompt_texts
from headrace.agent.entries import Begun, Entry
from headrace.agent.guide import Guide
from headrace.agent.log import Log
from headrace.agent.parts import Limits
from headrace.agent.progress import Human, Reply
from headrace.agent.prompt import begun_of
from headrace.agent.session import Session
from headrace.agent.tools import Tool
from headrace.code import settings_files
from headrace.code.connect import (
    CONTEXT_TOKENS_ASSUMED,
    Connection,
    choose,
    connect,
    data_folder,
)
from headrace.code.flags import Flags
from headrace.code.instructions import Instructions
from headrace.code.instructions import load as load_instructions
from headrace.code.profile import Profile, Profiles
from headrace.code.rates import Priced, find_rates
from headrace.code.resuming import choose_log
from headrace.code.settings_files import CodeSettings
from headrace.code.snapshots import Snapshots
from headrace.code.trusting import is_trusted
from headrace.core.clock import Clock
from headrace.core.decisions import Ask
from headrace.core.errors import InvalidRequest, NotFound
from headrace.core.messages import ToolCall
from headrace.safety.actions import Action
from headrace.safety.files import Workspace
from headrace.safety.permissions import Policy, mode_of
from headrace.safety.programs import shun
from headrace.safety.sandbox.policy import SandboxPolicy
from headrace.safety.sandbox.probe import probe
from headrace.safety.sandbox.sandbox import Sandbox
from headrace.safety.sandbox.unsandboxed import Unsandboxed
from headrace.safety.trust import Trust

if TYPE_CHECKING:
    from headrace.agent.start import Watcher
    from headrace.code.worktrees import Worktree

Tell = Callable[[str], None]
"""Takes a line for people: a notice, or what is being waited for."""


class Ground(msgspec.Struct, kw_only=True):
    """What sessions of one run stand on: folder, rules, sandbox and server stay the same.

    Attributes:
        flags: The command line.
        workspace: The folder, links resolved.
        state: Where the assistant keeps what it keeps.
        trusted: Whether the folder's own settings count.
        settings: What all settings files and flags say.
        policy: Decides about each action.
        files: The door to files.
        sandbox: Where commands run.
        snapshots: What the files were.
        connection: The server and the model.
        profile: What is known of the model.
        priced: What the model's tokens cost.
        human: Who is asked; None: nobody.
        clock: Time.
        tell: Takes notices for people.
        worktree: The checkout that was made for this run.
    """

    flags: Flags
    workspace: Path
    state: Path
    trusted: bool
    settings: CodeSettings
    policy: Policy
    files: Workspace
    sandbox: Sandbox | Unsandboxed
    snapshots: Snapshots
    connection: Connection
    profile: Profile
    priced: Priced
    human: "Approving | None"
    clock: Clock
    tell: Tell
    worktree: "Worktree | None" = None

    @property
    def context_tokens(self) -> int:
        """The window that requests must fit."""
        return (
            self.connection.model.context_tokens
            or self.profile.context_tokens
            or CONTEXT_TOKENS_ASSUMED
        )

    @property
    def person(self) -> Human | None:
        """Who sits before it; a program that is asked for permissions is none."""
        return None if self.flags.headless else self.human

    @property
    def sessions(self) -> Path:
        """The folder of the sessions of this workspace."""
        return logs.folder_of(self.state, self.workspace)

    async def close(self) -> None:
        """Stop what runs in the background and let go of the folders."""
        await self.sandbox.close()
        if self.worktree is not None:
            from headrace.code.worktrees import finish  # noqa: PLC0415 - with -w only

            self.tell(await finish(self.worktree))
        self.snapshots.close()
        self.files.close()


class Approving:
    """A human whose word about a command that no sandbox holds is remembered, once."""

    def __init__(self, human: Human) -> None:
        self._human = human
        self._approved: list[str] = []

    async def may(self, call: ToolCall, action: Action, ask: Ask) -> Reply:
        """Whether a call may run."""
        reply = await self._human.may(call, action, ask)
        if reply.allowed and ask.red and action.command is not None:
            self._approved.append(action.command)
        return reply

    def choose(self, question: str, options: tuple[str, ...]) -> Awaitable[str]:
        """The model's question to its user."""
        return self._human.choose(question, options)

    def grant(self, command: str) -> None:
        """Let this command run once, as its user typed it."""
        self._approved.append(command)

    def take(self, command: str) -> bool:
        """Whether this very command was allowed; each word holds once."""
        if command not in self._approved:
            return False
        self._approved.remove(command)
        return True


def workspace_of(cwd: Path) -> Path:
    """The folder worked in, links resolved.

    Raises:
        NotFound: It is no folder.
    """
    real = Path(os.path.realpath(cwd))
    if not real.is_dir():
        raise NotFound(f"{cwd} is no folder")
    return real


async def lay(
    flags: Flags,
    cwd: Path,
    *,
    human: Human | None,
    clock: Clock,
    tell: Tell,
    watcher: "Watcher | None" = None,
) -> Ground:
    """Everything a session needs, with the server found or started.

    `watcher` hears how that goes on, as in `agent.start.find_or_start`.

    Raises:
        HeadraceError: A setting or flag is wrong, or the server is not there.
    """
    data = data_folder(flags)
    state = data / "code"
    shun([cwd, *(cwd / folder for folder in flags.add_dir)])
    worktree = await _worktree(flags, workspace_of(cwd), state, tell)
    workspace = workspace_of(cwd) if worktree is None else worktree.path
    trust = Trust(state / "trust", clock)
    trusted = await is_trusted(flags, workspace, trust, human=human, tell=tell)
    settings = settings_files.load(
        workspace,
        home=Path.home(),
        trusted=trusted,
        allow=flags.allowed_tools,
        deny=flags.disallowed_tools,
    )
    for notice in settings.notices:
        tell(notice)
    roots = _roots(flags, settings, workspace)
    shun((workspace, *roots))
    approving = None if human is None else Approving(human)
    slug = logs.folder_of(state, workspace).name
    run = state / "run" / f"{slug}-{os.getpid()}"
    sandboxed = probe().ok
    policy = _policy(flags, settings, workspace, roots, sandboxed=sandboxed, trust=trust)
    denied = policy.denied_paths()
    held = SandboxPolicy(
        workspace=workspace,
        state_folder=run,
        write_roots=roots,
        network_hosts=settings.sandbox.network.allowed_domains,
        hidden_paths=denied.read,
        kept_paths=denied.edit,
        denies=policy.denies,
        unix_sockets=settings.sandbox.network.allow_all_unix_sockets,
        secrets_shown=settings.sandbox.secrets_shown,
    )
    sandbox = Sandbox(held) if sandboxed else Unsandboxed(held, _approval(flags, approving))
    connection = await connect(flags, os.environ, data, watcher)
    ground = Ground(
        flags=flags,
        workspace=workspace,
        state=state,
        trusted=trusted,
        settings=settings,
        policy=policy,
        files=Workspace(workspace, write_roots=roots),
        sandbox=sandbox,
        snapshots=Snapshots(workspace, state / "snapshots" / slug, clock),
        connection=connection,
        profile=_profile(state, connection),
        priced=await find_rates(
            connection,
            settings.prices,
            budget_nano=flags.max_budget_nano,
            state=state,
            clock=clock,
        ),
        human=approving,
        clock=clock,
        tell=tell,
        worktree=worktree,
    )
    _warn(ground)
    return ground


def _warn(ground: Ground) -> None:
    if not ground.sandbox.sandboxed:
        ground.tell(f"no sandbox: {probe().why}")
    if not (ground.connection.model.context_tokens or ground.profile.context_tokens):
        ground.tell(
            f"the server does not tell the window of {ground.connection.model.id}:"
            f" {ground.context_tokens} tokens are assumed; --profile-model finds out"
        )


def _policy(
    flags: Flags,
    settings: CodeSettings,
    workspace: Path,
    roots: tuple[Path, ...],
    *,
    sandboxed: bool,
    trust: Trust,
) -> Policy:
    home = Path.home()
    return Policy(
        settings.rules,
        workspace=str(workspace),
        home=str(home),
        roots=[str(root) for root in roots],
        mode=_mode(flags, settings),
        sandboxed=sandboxed,
        dangerous=flags.dangerously_skip_permissions,
        bypass_barred_by=settings.bypass_barred_by,
        save=settings_files.saver(workspace, home=home, trust=trust),
    )


async def open_session(ground: Ground, *, log: Log | None = None) -> Session:
    """The session that the flags name, ready for its first turn.

    Raises:
        HeadraceError: There is no such session, or it is open elsewhere.
    """
    log = log or choose_log(ground.flags, ground.sessions, ground.clock)
    try:
        return await _open(ground, log)
    except BaseException:
        log.close()
        raise


async def _open(ground: Ground, log: Log) -> Session:
    for notice in log.notices:
        ground.tell(notice)
    tools = _tools(ground)
    session = Session(
        log,
        ground.connection.client,
        tools=tools,
        policy=ground.policy,
        human=ground.human,
        clock=ground.clock,
        snapshots=ground.snapshots,
        limits=Limits(turns_max=ground.flags.max_turns, budget_nano=ground.flags.max_budget_nano),
        rates=ground.priced.rates,
        prefill_tokens_s=ground.profile.prefill_tokens_per_s,
        guide=_guide(),
    )
    begun = await _begun(ground, log.branch(), tools)
    if begun is not None:
        session.begin(begun)
    if session.setting("mode") != ground.policy.mode:
        session.set_mode(ground.policy.mode)
    ground.snapshots.begin()
    return session


def _guide() -> Guide:
    from headrace.code.guided.guide import ProjectGuide  # noqa: PLC0415 - after the first paint

    return ProjectGuide()


def is_guided(flags: Flags, profile: Profile) -> bool:
    """Whether the assistant does the looking; who chooses tools or prompts wants no guide."""
    if flags.guided is not None:
        return flags.guided == "on"
    shaped = (flags.tools, flags.system_prompt, flags.json_schema)
    return profile.guided and all(one is None for one in shaped)


def _tools(ground: Ground) -> tuple[Tool, ...]:
    from headrace.code.toolbox import toolbox  # noqa: PLC0415 - after the first paint

    tools = toolbox(
        ground.profile,
        ground.files,
        ground.sandbox,
        human=ground.person,
        decide=ground.policy.decide,
        may_read=ground.policy.may_read,
        context_tokens=ground.context_tokens,
        images=ground.connection.model.abilities.vision,
        guided=is_guided(ground.flags, ground.profile),
    )
    wanted = ground.flags.tools
    if wanted is None or wanted == ("default",):
        return tools
    known = {tool.spec.name for tool in tools}
    if unknown := [name for name in wanted if name not in known]:
        raise InvalidRequest(
            f"--tools: there is no tool {unknown[0]!r}", hint=", ".join(sorted(known))
        )
    return tuple(tool for tool in tools if tool.spec.name in wanted)


async def use_model(ground: Ground, session: Session, name: str) -> None:
    """Go on with another model of the same server, with the tools that fit it.

    Raises:
        ModelNotFound: It is not served.
        Conflict: A turn is running.
        ConfigError: There is a budget, and nobody tells what this model costs.
    """
    model = await choose(ground.connection.client, name)
    connection = msgspec.structs.replace(ground.connection, model=model)
    profile = _profile(ground.state, connection)
    priced = await find_rates(
        connection,
        ground.settings.prices,
        budget_nano=ground.flags.max_budget_nano,
        state=ground.state,
        clock=ground.clock,
    )
    changed = msgspec.structs.replace(ground, connection=connection, profile=profile)
    tools = _tools(changed)
    begun = await _begun(changed, session.log.branch(), tools)
    if begun is not None:
        speed = profile.prefill_tokens_per_s
        session.begin(begun, tools=tools, rates=(priced.rates, speed))
    # Nothing has refused it.
    ground.connection, ground.profile, ground.priced = connection, profile, priced


def _profile(state: Path, connection: Connection) -> Profile:
    endpoint, model = connection.client.endpoint, connection.model
    profile = Profiles(state / "profiles").load(endpoint.base_url, model.id, model.display_name)
    if profile.measured_ns is None and endpoint.ours:
        return msgspec.structs.replace(profile, continues_answers=True)
    return profile


async def _begun(
    ground: Ground, branch: tuple[Entry, ...], tools: tuple[Tool, ...]
) -> Begun | None:
    """What requests are made with; None where the session says so already."""
    flags, profile, model = ground.flags, ground.profile, ground.connection.model
    system = flags.system_prompt or (prompt_texts.SMALL if profile.small else prompt_texts.STRONG)
    if flags.append_system_prompt:
        system = f"{system}\n\n{flags.append_system_prompt}"
    before = begun_of(branch) if branch else None
    begun = Begun(
        workspace=str(ground.workspace),
        model=model.id,
        system=system,
        # What was said first stays as it was: another date would change the whole prefix.
        context=before.context if before else await _context(ground),
        tools=tuple(tool.spec for tool in tools),
        context_tokens=ground.context_tokens,
        max_tokens=profile.answer_tokens(ground.context_tokens, model.output_tokens),
        text_calls=profile.calls == "text",
        parallel_calls=profile.parallel_calls,
        guided=is_guided(flags, profile),
        continues_answers=profile.continues_answers,
    )
    return None if begun == before else begun


async def _context(ground: Ground) -> str:
    from headrace.code.context_block import context_block  # noqa: PLC0415 - a new session only

    found = _instructions(ground)
    for notice in found.notices:
        ground.tell(notice)
    return await context_block(
        ground.workspace, ground.clock, trusted=ground.trusted, instructions=found.text
    )


def _instructions(ground: Ground) -> Instructions:
    def denied(path: Path) -> bool:
        return not ground.policy.may_read(str(path))

    return load_instructions(ground.workspace, home=Path.home(), denied=denied)


async def _worktree(flags: Flags, workspace: Path, state: Path, tell: Tell) -> "Worktree | None":
    if flags.worktree is None:
        return None
    from headrace.code.worktrees import create  # noqa: PLC0415 - with -w only

    made = await create(workspace, state / "worktrees", flags.worktree)
    tell(f"works in {made.path} on branch {made.branch}")
    return made


def _mode(flags: Flags, settings: CodeSettings) -> str:
    if flags.dangerously_skip_permissions:
        return "bypassPermissions"
    return mode_of(flags.permission_mode or settings.mode or "default")


def _roots(flags: Flags, settings: CodeSettings, workspace: Path) -> tuple[Path, ...]:
    folders = [workspace / Path(folder).expanduser() for folder in flags.add_dir]
    return tuple(workspace_of(Path(folder)) for folder in (*folders, *settings.directories))


def _approval(flags: Flags, approving: Approving | None) -> Callable[[str], bool]:
    """Whether a command may run without a sandbox."""
    if flags.dangerously_skip_permissions:
        return lambda _: True
    return approving.take if approving is not None else lambda _: False
