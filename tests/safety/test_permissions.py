"""Decisions: tables of them, what always holds, and the known ways around such rules."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.decisions import Allow, Ask, Decision, Deny
from headrace.core.errors import ConfigError, Forbidden, InvalidRequest
from headrace.safety.actions import Action
from headrace.safety.permissions import MODES, Policy, mode_of
from headrace.safety.rules import Kind, Rule, Rules, parse_rule

STRENGTH = {Allow: 0, Ask: 1, Deny: 2}
# The auto-approve list that the attacks on allow lists start from.
LISTED = ["git status", "git diff", "git log", "ls", "cat", "echo", "rg", "find", "sed -n", "sort"]


def rules_of(root: str, texts: list[str], kind: Kind) -> tuple[Rule, ...]:
    return tuple(parse_rule(t, kind=kind, scope="user", root=root, file="f.json") for t in texts)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "ws"
    (folder / "src").mkdir(parents=True)
    return folder.resolve()


def policy_of(
    workspace: Path | str,
    *,
    allow: list[str] | None = None,
    ask: list[str] | None = None,
    deny: list[str] | None = None,
    mode: str = "default",
    sandboxed: bool = True,
    dangerous: bool = False,
) -> Policy:
    root = str(workspace)
    rules = Rules(
        rules_of(root, allow or [], "allow"),
        rules_of(root, ask or [], "ask"),
        rules_of(root, deny or [], "deny"),
    )
    return Policy(
        rules, workspace=root, home="/home/me", mode=mode, sandboxed=sandboxed, dangerous=dangerous
    )


def run(policy: Policy, command: str) -> Decision:
    return policy.decide(Action(tool="Bash", command=command, writes=True))


def touch(policy: Policy, tool: str, path: Path | str) -> Decision:
    return policy.decide(Action(tool=tool, path=str(path), writes=tool == "Edit"))


@pytest.mark.parametrize(
    "command",
    ["ls -la", "cat a | head -3", "git status && git diff HEAD", "rg -n x src", "echo $HOME", "pwd",
     "cd src && ls", "for f in *.py; do wc -l $f; done", "ls 2>/dev/null", "find . -name '*.py'",
     "sed -n '1,9p' a", "timeout 5 git log", "find . -exec grep x {} +", "x=1; echo $x", "[ -f a ]",
     "ls | xargs wc -l", "git log --oneline | head -1", "sort a | uniq -c", "command -v rg",
     "cat <<X | wc -l", "LANG=C sort a", "echo $(git rev-parse HEAD)", "cat src/*.py", ""],
)  # fmt: skip
def test_what_only_looks_needs_no_word(workspace: Path, command: str):
    assert isinstance(run(policy_of(workspace), command), Allow)
    plan = run(policy_of(workspace, mode="plan"), command)
    assert isinstance(plan, Allow)
    bare = run(policy_of(workspace, sandboxed=False), command)
    assert isinstance(bare, Ask)
    assert bare.red


BYPASSES = {
    "second command": 'echo "a"; touch /o/pwn; echo "b"',
    "sed writes and executes": "sed -n \"1w /o/pwn\" README.md; sed -n '1e touch '/o/pwn README.md",
    "git writes": "git diff --output=/o/pwn HEAD; git log --output=/o/pwn -1",
    "exported helper": 'export GIT_EXTERNAL_DIFF="touch /o/pwn"; echo y >> README.md; git diff',
    "prompt expansion": 'x="\\$(touch /o/pwn)"; echo ${x@P}',
    "IFS": "echo$IFS-n$IFS>$OUT/pwn",
    "fifty commands": "true; " * 51 + "touch /o/pwn",
    "here-document": "cat <<EOF\n$(touch /o/pwn)\nEOF",
    "process substitution": "cat <(touch /o/pwn)",
    "command substitution": 'echo "$(touch /o/pwn)"',
    "backticks": "echo `touch /o/pwn`",
    "brace expansion": "echo {a,b}; {touch,/o/pwn}",
    "ansi-c quotes": "$'touch' /o/pwn",
    "continued line": "echo a \\\n; touch /o/pwn",
    "comment": "echo a # b\ntouch /o/pwn",
    "newline": "ls\ntouch /o/pwn",
    "background": "ls & touch /o/pwn",
    "pipe to shell": "echo 'touch /o/pwn' | sh",
    "unicode space": "ls\u00a0;touch /o/pwn",
    "carriage return": "ls\rtouch /o/pwn",
    "git -c": "git -c core.fsmonitor='touch /o/pwn' status",
    "git --exec-path": "git --exec-path=/o status",
    "git -C": "git -C /o status",
    "git grep pager": "git grep -Otouch x",
    "git grep pager behind a letter": "git grep -nO./evil x",
    "git log -m": "git log -m --output=x",
    "sed e flag": "sed 's/.*/touch x/e;s/a/b/' a",
    "sed w flag": "sed 's/a/b/w x/g' a",
    "sed -l": "sed -l 5p '1e touch x' a",
    "sed -ne": "sed -e p -ne '1e touch x' a",
    "sed --exp": "sed p --exp='1e touch x' a",
    "sort -m -o": "sort -m -oOUT a",
    "uniq out": "uniq - out",
    "uniq -- out": "uniq -- -x out",
    "assigned helper": "GIT_SSH_COMMAND='touch /o/pwn' git log",
    "assigned path": "PATH=/o ls",
    "assigned loader": "LD_PRELOAD=/o/x.so ls",
    "rg --pre": "rg --pre ./evil x",
    "sort -o": "sort -o /o/pwn README.md",
    "sort abbreviation": "sort --outpu=/o/pwn README.md",
    "sort program": "sort --compress-program=./evil -S1 a",
    "find -exec": "find . -exec touch /o/pwn ';'",
    "find -delete": "find . -delete",
    "find -fprint": "find . -fprint /o/pwn",
    "tar action": "tar xf a --checkpoint=1 --checkpoint-action=exec=./evil",
    "alias": "alias ls='touch /o/pwn'\nls",
    "function": "ls() { touch /o/pwn; }; ls",
    "eval": "eval 'touch /o/pwn'",
    "source": ". ./evil",
    "env": "env touch /o/pwn",
    "xargs": "echo /o/pwn | xargs touch",
    "trap": "trap 'touch /o/pwn' EXIT; ls",
    "printf -v": "printf -v 'a[$(touch /o/pwn)]' x",
    "test -v": "test -v 'a[$(touch /o/pwn)]'",
    "arithmetic": "a='b[$(touch /o/pwn)]'; echo $((a))",
    "[[ arithmetic": "[[ 'b[$(touch /o/pwn)]' -eq 1 ]]",
    "loop variable": "for PATH in /o; do ls; done",
    "option in a variable": "x=--output=/o/pwn; git diff $x",
    "option in a file name": "sort *",
    "redirect in a group": "{ ls; } > /o/pwn",
    "clobber": "ls >| /o/pwn",
    "network device": "echo x > /dev/tcp/127.0.0.1/80",
    "local program": "./ls",
    "case": "LS",
    "cd out": "cd /o && ls",
    "cd then write": "cd src; cd ..; cd ..; echo x > pwn",
    "uniq output": "uniq a /o/pwn",
    "less": "git -p log",
    "awk": "awk 'BEGIN{system(\"touch /o/pwn\")}'",
    "secret": "cat .env",
    "secret by pattern": "cat .env*",
    "secret by a looser pattern": "cat .e?v",
    "secret at home": "cat ~/.aws/credentials",
    "secrets at home": "cat $HOME/.ssh/*",
    "sed after others": "sed 's/a/b/;w /o/pwn' f",
    "sed as an option": "sed --expression=1w/o/pwn f",
    "file compiles": "file -C -m x",
}


@pytest.mark.parametrize("name", BYPASSES)
def test_known_ways_around_an_allow_list_ask(workspace: Path, name: str):
    listed = [f"Bash({each}:*)" for each in LISTED]
    for policy in (policy_of(workspace, allow=listed), policy_of(workspace)):
        assert not isinstance(run(policy, BYPASSES[name]), Allow)
    strict = policy_of(workspace, allow=listed, mode="dontAsk")
    assert isinstance(run(strict, BYPASSES[name]), Deny)


@pytest.mark.parametrize(
    "command",
    ["rm a", "ls; rm a", "ls && (rm a)", "echo $(rm a)", "cat <(rm a)", "if x; then rm a; fi",
     "sudo rm a", "env A=1 rm a", "xargs rm", "xargs -n1 rm", "timeout -s KILL 5 rm a",
     "nohup rm a",
     "find . -exec rm {} +", "sh -c 'rm a'", "bash -lc 'ls; rm a'", "eval 'rm a'", "/bin/rm a",
     "A=1 rm a", "\\rm a", 'r"m" a', "f() { rm a; }", "cat <<E\n`rm a`\nE", "command rm a",
     "nice -n 5 rm a", "watch rm a", "setsid rm a", "rm a ; echo ${x@P}"],
)  # fmt: skip
@pytest.mark.parametrize("mode", MODES)
def test_deny_finds_a_command_wherever_it_stands(workspace: Path, command: str, mode: str):
    policy = policy_of(workspace, allow=["Bash"], deny=["Bash(rm:*)"], mode=mode, dangerous=True)
    assert isinstance(run(policy, command), Deny)


@pytest.mark.parametrize("command", ["$X a", "r$X a", "eval $X", 'sh -c "$X"', "echo ${x@P}"])
def test_what_may_be_denied_asks_even_in_bypass(workspace: Path, command: str):
    policy = policy_of(workspace, deny=["Bash(rm:*)"], mode="bypassPermissions")
    assert isinstance(run(policy, command), Ask)


def test_each_part_of_a_command_needs_a_rule(workspace: Path):
    policy = policy_of(workspace, allow=["Bash(npm test:*)", "Bash(make)"])
    assert isinstance(run(policy, "npm test && make"), Allow)
    assert isinstance(run(policy, "npm test && make all"), Ask)
    assert isinstance(run(policy, "timeout 60 npm test -- x"), Allow)
    assert isinstance(run(policy, "sh -c 'npm test'"), Ask)
    assert isinstance(run(policy, "npm test > out.txt"), Ask)
    both = policy_of(workspace, allow=["Bash(npm test:*)", "Edit(out.txt)"])
    assert isinstance(run(both, "npm test > out.txt"), Allow)
    whole = policy_of(workspace, allow=["Bash(make a && make b > c)"])
    assert isinstance(run(whole, "make a && make b > c"), Allow)
    assert isinstance(run(whole, "make a"), Ask)


def test_a_bare_rule_allows_commands_but_no_writes_outside(workspace: Path):
    policy = policy_of(workspace, allow=["Bash"])
    assert isinstance(run(policy, "python x.py > out"), Allow)
    assert isinstance(run(policy, "echo ${x@P}"), Allow)
    assert isinstance(run(policy, "echo x > /etc/x"), Ask)
    assert isinstance(run(policy, "echo x > .git/hooks/x"), Ask)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("default", (Allow, Ask, Ask, Ask, Ask)),
        ("manual", (Allow, Ask, Ask, Ask, Ask)),
        ("acceptEdits", (Allow, Allow, Ask, Ask, Ask)),
        ("plan", (Allow, Deny, Deny, Ask, Ask)),
        ("bypassPermissions", (Allow, Allow, Ask, Allow, Allow)),
        ("dontAsk", (Allow, Deny, Deny, Deny, Deny)),
    ],
)
def test_what_each_mode_says(workspace: Path, mode: str, expected: tuple[type, ...]):
    policy = policy_of(workspace, mode=mode)
    fetch = policy.decide(Action(tool="WebFetch", url="https://a.b"))
    decisions = (
        touch(policy, "Read", workspace / "a"),
        touch(policy, "Edit", workspace / "a"),
        touch(policy, "Edit", workspace / ".git/config"),
        run(policy, "make"),
        fetch,
    )
    assert tuple(map(type, decisions)) == expected


@pytest.mark.parametrize("mode", ["default", "acceptEdits", "bypassPermissions"])
@pytest.mark.parametrize(
    "path",
    [".git/hooks/x", ".git/config", ".claude/settings.json", ".headrace/x", ".mcp.json",
     ".vscode/settings.json", ".idea/x", ".envrc", ".GIT/hooks/x", ".Headrace/Settings.JSON"],
)  # fmt: skip
def test_protected_files_always_ask(workspace: Path, mode: str, path: str):
    policy = policy_of(workspace, mode=mode, allow=["Edit", "Bash"], dangerous=True)
    assert isinstance(touch(policy, "Edit", workspace / path), Ask)
    assert isinstance(run(policy, f"echo x > {path}"), Ask)


def test_secrets_and_what_later_sessions_obey_ask_by_default(workspace: Path):
    policy = policy_of(workspace, mode="acceptEdits", allow=["Read", "Bash(cat:*)"])
    for path in (".env", "id_rsa", "a/server.pem"):
        assert isinstance(touch(policy, "Read", workspace / path), Ask)
        assert isinstance(run(policy, f"cat {path}"), Ask)
    assert isinstance(touch(policy, "Read", workspace / ".env.example"), Allow)
    assert isinstance(touch(policy, "Edit", workspace / "AGENTS.md"), Ask)
    named = policy_of(workspace, allow=["Read(.env)"])
    assert isinstance(touch(named, "Read", workspace / ".env"), Allow)


@pytest.mark.parametrize("mode", ["default", "acceptEdits", "plan", "dontAsk"])
def test_what_a_search_comes_by_is_shown_only_where_reading_asks_nothing(
    workspace: Path, mode: str
):
    policy = policy_of(workspace, mode=mode, ask=["Read(asked)"], deny=["Read(denied)"])
    for name in (".env", "a/server.pem", ".aws/credentials", "id_rsa", "asked", "denied"):
        assert not policy.may_read(f"{workspace}/{name}"), name
    for name in ("a", ".env.example", "src/b.py"):
        assert policy.may_read(f"{workspace}/{name}"), name
    assert policy.may_read("/elsewhere/notes.md")  # its place was asked about before
    (workspace / "plain").symlink_to(".env")
    assert not policy.may_read(f"{workspace}/plain")
    named = policy_of(workspace, allow=["Read(.env)"], mode=mode)
    assert named.may_read(f"{workspace}/.env")
    assert policy_of(workspace, mode="bypassPermissions").may_read(f"{workspace}/.env")


def test_files_outside_ask_unless_their_folder_was_added(workspace: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    (workspace / "link").symlink_to(other)
    policy = policy_of(workspace, mode="acceptEdits")
    for path in (other / "a", workspace / "link/a", workspace / "../other/a", f"{workspace}x/a"):
        assert isinstance(touch(policy, "Edit", path), Ask)
        assert isinstance(touch(policy, "Read", path), Ask)
    assert isinstance(run(policy, "echo x > link/a"), Ask)
    policy.add_root(str(other))
    assert isinstance(touch(policy, "Edit", other / "a"), Allow)
    bypass = policy_of(workspace, mode="bypassPermissions")
    assert isinstance(touch(bypass, "Edit", "/etc/x"), Ask)


def test_a_link_must_be_allowed_by_both_names_and_is_denied_by_either(workspace: Path):
    (workspace / "a").mkdir()
    (workspace / "b").symlink_to(workspace / "a")
    allowed = policy_of(workspace, allow=["Edit(b/**)"])
    assert isinstance(touch(allowed, "Edit", f"{workspace}/b/x"), Ask)
    denied = policy_of(workspace, deny=["Read(a/**)"])
    assert isinstance(touch(denied, "Read", f"{workspace}/b/x"), Deny)
    assert isinstance(touch(denied, "Edit", f"{workspace}/a/x"), Deny)
    assert isinstance(run(denied, "cat b/x"), Deny)
    assert not denied.may_read(f"{workspace}/a/x")
    assert denied.may_read(f"{workspace}/c")


def test_accepting_edits_accepts_moving_files_within_the_workspace(workspace: Path):
    policy = policy_of(workspace, mode="acceptEdits")
    for command in (
        "mkdir -p a/b",
        "touch a",
        "mv a b",
        "rm -rf src/a",
        "cp -r a src/b",
        "rm src/*",
    ):
        assert isinstance(run(policy, command), Allow), command
    for command in (
        "rm -rf .", "rm -rf ..", "rm -rf /", "mv a /tmp/x", "rm -rf .git", "cp -t /x a",
        "rm *", "rm $X", "cp /etc/passwd a", "touch ~/x", "rm src/../../x",
    ):  # fmt: skip
        assert isinstance(run(policy, command), Ask), command


def test_without_a_sandbox_every_command_asks_in_red(workspace: Path):
    for mode in ("default", "acceptEdits", "bypassPermissions"):
        decision = run(policy_of(workspace, allow=["Bash"], mode=mode, sandboxed=False), "ls")
        assert isinstance(decision, Ask)
        assert decision.red
        assert decision.rule is None
    free = policy_of(workspace, mode="bypassPermissions", sandboxed=False, dangerous=True)
    assert isinstance(run(free, "make"), Allow)
    careful = policy_of(workspace, mode="dontAsk", sandboxed=False)
    assert isinstance(run(careful, "ls"), Deny)


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        ("git add a", "Bash(git add:*)"),
        ("npm run build", "Bash(npm run build:*)"),
        ("npm test", "Bash(npm test:*)"),
        ("cargo test x", "Bash(cargo test:*)"),
        ("make all", "Bash(make all)"),
        ("python x.py", "Bash(python x.py)"),
        ("make a && make b", "Bash(make a && make b)"),
        ("git push origin", "Bash(git push origin)"),
        ("sh -c 'make'", None),
        ("env make", None),
        ("ls | xargs rm", None),
        ("find . -exec rm {} +", None),
        ("sudo make", None),
        ("A=1 make", None),
        ("make $X", None),
        ("make *", None),
    ],
)
def test_always_offers_just_what_was_shown(workspace: Path, command: str, rule: str | None):
    decision = run(policy_of(workspace), command)
    assert isinstance(decision, Ask)
    assert decision.rule == rule
    if rule:
        policy = policy_of(workspace)
        policy.keep(rule)
        assert isinstance(run(policy, command), Allow)


def test_an_offered_file_rule_allows_that_file_only(workspace: Path):
    policy = policy_of(workspace)
    decision = touch(policy, "Edit", workspace / "a[1]*.py")
    assert isinstance(decision, Ask)
    assert decision.rule
    policy.keep(decision.rule)
    assert isinstance(touch(policy, "Edit", workspace / "a[1]*.py"), Allow)
    assert isinstance(touch(policy, "Edit", workspace / "a1b.py"), Ask)


def test_why_names_rule_scope_and_file_in_one_line(workspace: Path):
    policy = policy_of(workspace, deny=["Bash(rm:*)"])
    run(policy, "ls\nls")
    run(policy, "rm a")
    assert policy.why(2)[1] == "Bash ls ls: allowed: it only looks"
    (line,) = policy.why()
    assert line.startswith("Bash rm a: denied: the rule `Bash(rm:*)` (user, f.json) denies it;")
    run(policy, "ls\nls")
    assert len(policy.why(100)) == 2  # told once, as the newest
    for number in range(60):
        run(policy, f"ls {number}")
    assert len(policy.why(100)) == 50


def test_keeping_writes_where_it_is_told(workspace: Path):
    saved: list[tuple[str, str]] = []

    def save(rule: str, scope: str) -> str:
        saved.append((rule, scope))
        return "there.json"

    policy = Policy(Rules(), workspace=str(workspace), home="/h", sandboxed=True, save=save)
    assert policy.keep("Bash(make)", "local") == "there.json"
    assert policy.keep("Bash(b)") == "this session"
    assert saved == [("Bash(make)", "local")]
    decision = run(policy, "make")
    assert isinstance(decision, Allow)
    assert decision.why == "the rule `Bash(make)` (local, there.json)"
    with pytest.raises(ConfigError):
        policy.keep("no rule")


def test_modes_are_words_and_bypassing_can_be_forbidden(workspace: Path):
    assert mode_of("manual") == "default"
    with pytest.raises(InvalidRequest, match="yolo"):
        mode_of("yolo")
    policy = Policy(
        Rules(), workspace=str(workspace), home="/h", sandboxed=True, bypass_barred_by="/etc/x"
    )
    with pytest.raises(Forbidden, match="/etc/x"):
        policy.mode = "bypassPermissions"
    assert policy.mode == "default"
    assert policy.modes == ("default", "acceptEdits", "plan")
    assert policy_of(workspace, mode="bypassPermissions").modes[-1] == "bypassPermissions"


def test_tools_without_rules_of_their_own(workspace: Path):
    policy = policy_of(workspace, deny=["Odd"], ask=["Todo"])
    assert isinstance(policy.decide(Action(tool="TodoWrite")), Allow)
    assert isinstance(policy.decide(Action(tool="New", writes=True)), Ask)
    assert isinstance(policy.decide(Action(tool="Odd")), Deny)
    assert isinstance(policy.decide(Action(tool="Todo")), Ask)


COMMANDS = [
    "ls", "cat a", "rm a", "git push", "make", "echo $X", "$X", "ls > a", "ls; rm b", "cat .env",
    "sh -c 'rm a'", "git -c a=b push", "echo ${x@P}", "f() { make; }; f",
]  # fmt: skip
SPECS = ["Bash", "Bash(rm:*)", "Bash(ls:*)", "Bash(git push *)", "Bash(make)", "Bash(* a)", "Edit",
         "Edit(a)", "Read(.env)", "Read", "Bash(echo:*)", "Bash(git:*)", "WebFetch"]  # fmt: skip
lists = st.lists(st.sampled_from(SPECS), max_size=3)
actions = st.one_of(
    st.sampled_from(COMMANDS).map(lambda c: Action(tool="Bash", command=c, writes=True)),
    st.tuples(
        st.sampled_from(["Read", "Edit", "Write", "Grep"]), st.sampled_from(["a", ".env"])
    ).map(lambda pair: Action(tool=pair[0], path=f"/nowhere/ws/{pair[1]}")),
)


@settings(max_examples=300, deadline=None)
@given(lists, lists, lists, st.sampled_from(SPECS), st.sampled_from(MODES), actions)
def test_one_more_deny_or_ask_never_loosens(  # noqa: PLR0917 - drawn by hypothesis
    allow: list[str],
    ask: list[str],
    deny: list[str],
    more: str,
    mode: str,
    action: Action,
):
    def strength(ask: list[str], deny: list[str]) -> int:
        policy = policy_of(
            "/nowhere/ws",
            allow=allow,
            ask=ask,
            deny=deny,
            mode=mode,
            dangerous=True,
        )
        return STRENGTH[type(policy.decide(action))]

    before = strength(ask, deny)
    assert strength(ask, [*deny, more]) >= before
    assert strength([*ask, more], deny) >= before


@settings(max_examples=150, deadline=None)
@given(lists, lists, st.sampled_from(MODES), actions)
def test_deny_wins_whatever_is_allowed(allow: list[str], ask: list[str], mode: str, action: Action):
    policy = policy_of("/nowhere/ws", allow=allow, ask=ask, deny=[action.tool], mode=mode)
    assert isinstance(policy.decide(action), Deny)
