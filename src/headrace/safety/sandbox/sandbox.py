"""Sandbox: runs commands where they can do no harm outside the workspace."""

import os
import sys
from pathlib import Path

import msgspec

from headrace.core.errors import ConfigError, Conflict, Forbidden, InvalidRequest
from headrace.safety.sandbox.arguments import Mounts, bubblewrap, limited
from headrace.safety.sandbox.commands import Commands, Finish, check_command
from headrace.safety.sandbox.denied import Denied
from headrace.safety.sandbox.git import identity, linked_git
from headrace.safety.sandbox.ground import check_root, ground
from headrace.safety.sandbox.inventory import Inventory
from headrace.safety.sandbox.output import Keeper, Ran
from headrace.safety.sandbox.policy import SandboxPolicy
from headrace.safety.sandbox.probe import probe
from headrace.safety.sandbox.process import Child, Launch, OnOutput, begin
from headrace.safety.sandbox.proxy import Proxy
from headrace.safety.sandbox.quarantine import ACTS, plain, remove
from headrace.safety.sandbox.refusals import explain
from headrace.safety.sandbox.seatbelt import profile
from headrace.safety.sandbox.seccomp import program
from headrace.safety.sandbox.seen import Identity, Seen, new_in
from headrace.safety.sandbox.state import State, may_enter

_SETUP_FAILED = b"bwrap: "
_SETUP_WAIT_S = 10
_PYTHON = "/usr/bin/python3"  # where commands run as somebody who cannot read ours
_PROXY_PORT = 3128  # in the sandbox's own network, where no other has it
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_FORWARD_INSIDE, _SOCKET_INSIDE = "/run/headrace/forward.py", "/run/headrace/proxy"


class Sandbox(Commands):
    """Runs shell commands under a policy.

    Raises:
        ConfigError: The policy cannot hold, as when the workspace holds the home folder.
    """

    sandboxed = True

    def __init__(self, policy: SandboxPolicy) -> None:
        super().__init__()
        self._policy = policy
        self._ground = ground()
        home = self._ground.home
        if sys.platform == "darwin" and policy.network_hosts:
            raise ConfigError(
                "the sandbox of macOS has no list of allowed hosts yet: leave it empty"
            )
        self._root = check_root(policy.workspace, home, what="the workspace")
        more = [check_root(path, home, what="the folder") for path in policy.write_roots]
        git = linked_git(self._root)
        if git is not None:
            more.append(check_root(git, home, what="the git directory"))
        self._writable = (self._root, *more)
        self._readable = tuple(
            check_root(path, home, what="the folder") for path in policy.read_roots
        )
        self._state = State(policy.state_folder, self._writable)
        user = self._state.user
        tools = tuple(path for path in self._ground.toolchains if may_enter(Path(path), user))
        self._ground = msgspec.structs.replace(self._ground, toolchains=tools)
        roots = [str(path) for path in self._writable]
        self._denied = Denied(policy.kept_paths, policy.hidden_paths, roots, policy.denies)
        self._inventory = Inventory(self._writable, policy.protected_names, self._denied)
        self._known: Seen | None = None
        self._knows_identity = False
        self._running = 0
        self._proxy = Proxy(policy.network_hosts) if policy.network_hosts else None
        self._socket: Path | None = None
        self._filter = program(unix_sockets=policy.unix_sockets) if sys.platform == "linux" else b""

    async def close(self) -> None:
        """Stop what runs in the background and remove what commands left in `/tmp`."""
        await super().close()
        if self._proxy is not None:
            await self._proxy.close()
        self._state.clear()

    async def _begin(
        self, command: str, cwd: Path | None, *, has_input: bool, on_output: OnOutput | None
    ) -> tuple[Child, Finish]:
        found = probe()
        if found.program is None:
            raise Conflict(f"no sandbox, so nothing was run: {found.why}")
        check_command(command)
        folder = self._folder(cwd)
        if not self._knows_identity:
            self._knows_identity = True
            self._state.write_identity(await identity(self._ground.home, self._writable))
        if self._proxy is not None and self._socket is None:
            self._socket = self._state.socket()
            await self._proxy.start(self._socket)
            self._state.give(self._socket)
        seen = self._look()
        launch = self._launch(found.program, command, folder, seen, has_input=has_input)
        self._running += 1
        try:
            keeper = Keeper(self._state.outputs, self._policy.limits)
            child = await begin(launch, keeper, self._policy.limits, on_output)
        except BaseException:
            self._running -= 1
            raise

        async def finish(timeout_s: float | None) -> Ran:
            return await self._finish(child, seen, timeout_s)

        return child, finish

    async def _finish(self, child: Child, seen: Seen, timeout_s: float | None) -> Ran:
        try:
            status = await child.finish(timeout_s)
        finally:
            self._running -= 1
            removed = self._remove_new()
        ran = child.ran(status)
        if status == 1 and not ran.tail and ran.head.startswith(_SETUP_FAILED):
            await self._check_setup(seen)
        blocked = explain(
            ran.head + ran.tail,
            status,
            policy=self._policy,
            home=self._ground.home,
            kept=sorted(set(seen.protected) - set(seen.git), key=len, reverse=True),
            hidden=() if self._policy.secrets_shown else tuple(seen.secrets),
            denied=(*self._policy.hidden_paths, *self._policy.kept_paths),
            killed_by=child.killed_by,
        )
        return msgspec.structs.replace(ran, blocked=(*removed, *blocked, *self._refused_hosts()))

    def _refused_hosts(self) -> list[str]:
        """Hosts that the proxy refused since the last command, in a line."""
        if self._proxy is None or not self._proxy.denied:
            return []
        hosts = ", ".join(sorted(set(self._proxy.denied)))
        self._proxy.denied.clear()
        return [f"{hosts} cannot be reached; name hosts under sandbox.network.allowedDomains"]

    async def _check_setup(self, seen: Seen) -> None:
        """Whether the sandbox itself failed, or a command only printed the like.

        Raises:
            Conflict: It cannot be made.
        """
        limits = self._policy.limits
        launch = self._launch(probe().program or "", ":", str(self._root), seen, has_input=False)
        child = await begin(launch, Keeper(self._state.outputs, limits), limits)
        if await child.finish(_SETUP_WAIT_S):
            why = child.keeper.ends()[0].decode(errors="replace").strip()
            raise Conflict(f"the sandbox could not be made: {why}")

    def _look(self) -> Seen:
        """What may be mounted. While a command runs, what is new is not trusted."""
        now = self._inventory.look()
        if self._known is None or not self._running:
            self._known = now
            return now
        known = self._known
        return msgspec.structs.replace(
            now,
            protected=_both(known.protected, now.protected),
            denied=_both(known.denied, now.denied),
            git=_both(known.git, now.git),
            closed=_both(known.closed, now.closed),
            folders=known.folders,
        )

    def _remove_new(self) -> list[str]:
        """Put into quarantine what a command made under a protected name."""
        if self._known is None:
            return []
        now = self._inventory.look(self._known)
        lines = [
            f"left {plain(self._shown(path))} closed to its owner: opened, to be looked into"
            for path in now.reopened
        ]
        for path in new_in(self._known, now):
            identity = now.git.get(path)
            was_there = identity is not None and self._known.has(path, identity)
            why = "which a deny rule names" if path in now.denied else ACTS
            lines += remove(path, self._writable, self._state.shelf, was_there=was_there, why=why)
        return lines

    def _shown(self, path: str) -> str:
        return os.path.relpath(path, self._root)

    def _launch(
        self, maker: str, command: str, folder: str, seen: Seen, *, has_input: bool
    ) -> Launch:
        limits = self._policy.limits
        inner = limited(command, limits, has_namespace=sys.platform == "linux")
        if sys.platform == "darwin":
            text = profile(
                writable=[str(path) for path in (*self._writable, self._state.temporary)],
                home=self._ground.home,
                kept=[
                    *(path for path in seen.protected if path not in seen.git),
                    *seen.closed,
                    *map(os.path.realpath, (*self._policy.kept_paths, *seen.denied)),
                ],
                pinned=list(seen.git),
                hidden=[
                    *self._secrets(seen),
                    *map(os.path.realpath, (*self._policy.hidden_paths, *self._denied.hidden)),
                ],
                readable=[str(path) for path in (*self._readable, self._state.outputs)],
                protected_names=self._policy.protected_names,
            )
            variables = {**self._ground.variables, "TMPDIR": str(self._state.temporary)}
            return Launch(
                words=[maker, "-p", text, *inner],
                variables=variables,
                cwd=folder,
                has_input=has_input,
            )
        fds = [_readable_fd(self._filter)]
        variables: dict[str, str] = {}
        if self._socket is not None:
            variables = dict.fromkeys(_PROXY_VARIABLES, f"http://127.0.0.1:{_PROXY_PORT}")
            variables |= {"no_proxy": "localhost,127.0.0.1", "NO_PROXY": "localhost,127.0.0.1"}
            python = os.path.realpath(sys.executable)
            if not may_enter(Path(python), self._state.user):
                python = _PYTHON
            inside = [str(fds[0]), str(_PROXY_PORT), _SOCKET_INSIDE]
            inner = [python, "-I", "-S", _FORWARD_INSIDE, *inside, *inner]
            # All of the sandbox but the command needs the proxy's socket, and no more than that.
            fds.append(_readable_fd(program(unix_sockets=True)))
        words = bubblewrap(
            self._ground,
            self._mounts(seen),
            cwd=folder,
            variables=variables,
            filter_fd=fds[-1],
            scratch_bytes_max=limits.scratch_bytes_max,
            is_root=os.geteuid() == 0 and self._state.user is None,
        )
        return Launch(
            words=[maker, *words, *inner],
            variables={},
            cwd="/",
            fds=tuple(fds),
            has_input=has_input,
            user=self._state.user,
        )

    def _mounts(self, seen: Seen) -> Mounts:
        state = self._state
        both = {**seen.protected, **seen.denied}
        kept = [path for path, each in both.items() if not each[2]]
        kept += seen.closed
        pinned = [path for path in seen.git if Path(path) not in self._writable]
        own = os.path.realpath(sys.prefix)
        if any(own.startswith(f"{root}/") for root in self._writable):
            kept.append(own)  # else a command could change the program that holds it
        extra = [(str(state.identity), f"{self._ground.home}/.gitconfig")]
        if self._socket is not None:
            forward = str(Path(__file__).with_name("forward.py"))
            extra += [(forward, _FORWARD_INSIDE), (str(self._socket), _SOCKET_INSIDE)]
        return Mounts(
            writable=tuple(str(path) for path in self._writable),
            readable=tuple(str(path) for path in self._readable),
            kept=tuple(path for path in kept if path not in seen.git),
            pinned=tuple(pinned),
            hidden=self._hidden(seen),
            temporary=str(state.temporary),
            outputs=None if state.user else str(state.outputs),
            blank=str(state.blank),
            void=str(state.void),
            extra=tuple(extra),
        )

    def _secrets(self, seen: Seen) -> list[str]:
        return [] if self._policy.secrets_shown else list(seen.secrets)

    def _hidden(self, seen: Seen) -> tuple[tuple[str, bool], ...]:
        """What is to be covered and is there, none below another."""
        shown = (
            *map(str, (*self._writable, *self._readable)),
            *self._ground.system,
            *self._ground.toolchains,
            str(self._state.outputs),
        )
        found = dict.fromkeys(self._secrets(seen), False)
        named = (*self._policy.hidden_paths, *self._denied.hidden)
        for path in {os.path.realpath(each) for each in named}:
            if any(f"{path}/".startswith(f"{each}/") for each in shown) and os.path.exists(path):  # noqa: PTH110 - text is at hand
                found[path] = os.path.isdir(path)  # noqa: PTH112 - likewise
        folders = tuple(f"{path}/" for path, is_folder in found.items() if is_folder)
        return tuple(each for each in found.items() if not each[0].startswith(folders))

    def _folder(self, cwd: Path | None) -> str:
        if cwd is None:
            return str(self._root)
        real = os.path.realpath(self._root / cwd)
        for root in (*self._writable, *self._readable):
            if real == str(root) or real.startswith(f"{root}/"):
                if os.path.isdir(real):  # noqa: PTH112 - text is at hand
                    return real
                raise InvalidRequest(f"{cwd} is no folder")
        raise Forbidden(f"{cwd} lies outside the workspace {self._root}")


def _both(known: dict[str, Identity], now: dict[str, Identity]) -> dict[str, Identity]:
    """What is there now and was there as the same."""
    return {path: each for path, each in now.items() if known.get(path) == each}


def _readable_fd(data: bytes) -> int:
    fd = os.memfd_create("filter")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
