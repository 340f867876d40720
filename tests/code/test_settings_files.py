"""Settings files: scopes, what a repository may, errors with their place, and keeping a rule."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.code.settings_files import CodeSettings, keep, load, saver
from headrace.core.clock import ManualClock
from headrace.core.decisions import Allow, Ask, Deny
from headrace.core.errors import ConfigError
from headrace.safety.actions import Action
from headrace.safety.permissions import Policy
from headrace.safety.trust import Trust, bundle_of


class Places:
    """A workspace, a home and a file of the administrator."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "ws"
        self.home = folder / "home"
        self.managed = folder / "managed.json"
        self.workspace.mkdir(parents=True)
        self.home.mkdir()

    def put(self, name: str, content: object) -> Path:
        path = {"~": self.home, "!": self.managed.parent}.get(
            name[0], self.workspace
        ) / name.lstrip("~!/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def load(self, *, trusted: bool = False, **flags: Any) -> CodeSettings:
        return load(
            self.workspace, home=self.home, trusted=trusted, managed=[self.managed], **flags
        )


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def permissions(**values: object) -> dict[str, object]:
    return {"permissions": values}


def test_nothing_is_there(places: Places):
    found = places.load()
    assert found.rules.allow == found.rules.ask == found.rules.deny == ()
    assert (found.mode, found.directories, found.bypass_barred_by, found.notices) == (
        None,
        (),
        None,
        (),
    )


def test_all_scopes_are_read_highest_first(places: Places):
    places.put("!managed.json", permissions(allow=["Bash(a)"], deny=["Bash(m)"]))
    places.put(".headrace/settings.local.json", permissions(allow=["Bash(c)"]))
    places.put(".claude/settings.local.json", permissions(allow=["Bash(d)"]))
    places.put(".headrace/settings.json", permissions(allow=["Bash(e)"]))
    places.put(".claude/settings.json", permissions(allow=["Bash(f)"], deny=["Bash(n)"]))
    places.put("~/.headrace/settings.json", permissions(allow=["Bash(g)"]))
    places.put("~/.claude/settings.json", permissions(allow=["Bash(h)"], ask=["Bash(i)"]))
    found = places.load(trusted=True, allow=["Bash(b)"], deny=["Bash(o)"])
    assert [rule.spec for rule in found.rules.allow] == list("abcdefgh")
    assert [rule.spec for rule in found.rules.deny] == ["m", "o", "n"]
    assert [(rule.scope, rule.file, rule.root) for rule in found.rules.ask] == [
        ("user", "~/.claude/settings.json", str(places.home))
    ]


def test_an_untrusted_repository_only_tightens(places: Places):
    loose = permissions(
        allow=["Bash"], ask=["Bash(b)"], deny=["Bash(c)"], defaultMode="acceptEdits",
        additionalDirectories=["/"],
    )  # fmt: skip
    for name in (".claude/settings.json", ".headrace/settings.local.json"):
        places.put(name, {**loose, "env": {"A": "b"}, "sandbox": {"enabled": False}})
    found = places.load()
    assert found.rules.allow == ()
    assert [len(found.rules.ask), len(found.rules.deny)] == [2, 2]
    assert (found.mode, found.directories) == (None, ())
    assert ".claude/settings.json: 1 allow rules wait for the folder's trust" in found.notices
    assert ".claude/settings.json: `env` means nothing here" in found.notices
    assert ".claude/settings.json: no repository may open the sandbox" in found.notices
    trusted = places.load(trusted=True)
    assert len(trusted.rules.allow) == 2
    assert (trusted.mode, trusted.directories) == ("acceptEdits", ("/",))


def test_no_repository_bypasses_even_if_trusted(places: Places):
    places.put(".claude/settings.json", permissions(defaultMode="bypassPermissions"))
    assert places.load(trusted=True).mode is None
    places.put("~/.claude/settings.json", permissions(defaultMode="manual"))
    assert places.load(trusted=True).mode == "default"


def test_the_highest_scope_sets_the_mode_and_anybody_may_bar_bypassing(places: Places):
    places.put("~/.claude/settings.json", permissions(defaultMode="bypassPermissions"))
    places.put(".claude/settings.json", permissions(defaultMode="plan"))
    assert places.load(trusted=True).mode == "plan"
    assert places.load().mode == "bypassPermissions"
    places.put(".claude/settings.json", permissions(disableBypassPermissionsMode="disable"))
    assert places.load().bypass_barred_by == ".claude/settings.json"
    places.put("!managed.json", permissions(disableBypassPermissionsMode="disable"))
    assert places.load().bypass_barred_by == str(places.managed)


def test_directories_are_made_absolute(places: Places):
    places.put(
        "~/.claude/settings.json", permissions(additionalDirectories=["../docs", "~/x", "/y"])
    )
    parent = places.workspace.parent
    assert places.load().directories == (f"{parent}/docs", f"{places.home}/x", "/y")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n  "permissions": {,}\n}', r"settings\.json: line 2, column 19"),
        ("[]", r"settings\.json: line 1"),
        ('{"permissions": []}', "`permissions` is not an object"),
        ('{"permissions": {"allow": "Bash"}}', "`allow` is not a list"),
        ('{"permissions": {"defaultMode": 1}}', "`defaultMode` is not a text"),
        ('{"permissions": {"deny": ["Bash("]}}', r"permissions\.deny: 'Bash\(' is no rule"),
        ('{"permissions": {"additionalDirectories": [1]}}', "additionalDirectories has 1"),
        ('{"permissions": {"deny": [], "deny": ["a"]}}', "'deny' stands there twice"),
        ("[" * 100_000, "no JSON"),
        ("x" * (1 << 20) + "y", "at most 1 MB"),
    ],
)
def test_a_malformed_file_is_an_error_with_its_place(places: Places, content: str, message: str):
    places.put("~/.claude/settings.json", content)
    with pytest.raises(ConfigError, match=message) as caught:
        places.load()
    assert "~/.claude/settings.json" in caught.value.message


def test_unknown_modes_and_keys_are_noticed_and_ignored(places: Places):
    places.put("~/.claude/settings.json", {"model": "x", **permissions(defaultMode="auto", odd=1)})
    found = places.load()
    assert found.mode is None
    assert found.notices == (
        "~/.claude/settings.json: `model` means nothing here",
        "~/.claude/settings.json: `permissions.odd` means nothing here",
        "~/.claude/settings.json: there is no mode 'auto' here",
    )


def test_links_in_a_repository_are_not_followed(places: Places, tmp_path: Path):
    places.put("!out/settings.json", permissions(allow=["Bash"]))
    (places.workspace / ".claude").symlink_to(tmp_path / "out")
    (places.workspace / ".headrace").mkdir()
    (places.workspace / ".headrace/settings.json").symlink_to(tmp_path / "out/settings.json")
    found = places.load(trusted=True)
    assert found.rules.allow == ()
    assert ".headrace/settings.json is behind a link, which is not followed" in found.notices


def test_other_spellings_are_no_settings(places: Places):
    if (
        places.put(".Claude/Settings.JSON", permissions(allow=["Bash"])).parent.parent / ".claude"
    ).exists():
        return  # a disk that ignores case: there it is the file itself
    assert places.load(trusted=True).rules.allow == ()


def test_in_the_home_folder_the_settings_are_the_users(places: Places):
    places.put("~/.claude/settings.json", permissions(allow=["Bash(a)"]))
    found = load(places.home, home=places.home, trusted=False, managed=[])
    assert [rule.scope for rule in found.rules.allow] == ["user"]


def test_keeping_a_rule_leaves_all_else(places: Places):
    path = places.put(
        "~/.headrace/settings.json",
        {"z": [1], **permissions(deny=["Bash(x)"], allow=["Edit"]), "a": "ü"},
    )
    path.chmod(0o640)
    assert (
        keep("Bash(make)", "user", workspace=places.workspace, home=places.home) == path.resolve()
    )
    keep("Bash(make)", "user", workspace=places.workspace, home=places.home)
    assert path.read_text() == json.dumps(
        {"z": [1], **permissions(deny=["Bash(x)"], allow=["Edit", "Bash(make)"]), "a": "ü"},
        indent=2, ensure_ascii=False,
    ) + "\n"  # fmt: skip
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [each.name for each in path.parent.iterdir()] == ["settings.json"]


def test_a_first_local_rule_makes_the_folder_and_keeps_it_out_of_git(places: Places):
    path = keep("Edit", "local", workspace=places.workspace, home=places.home)
    assert path == places.workspace / ".headrace/settings.local.json"
    assert (path.parent / ".gitignore").read_text() == "settings.local.json\n"


@pytest.mark.parametrize("content", ["{broken", '{"permissions": []}', "x" * (1 << 21)])
def test_a_broken_file_is_left_as_it_was(places: Places, content: str):
    path = places.put(".headrace/settings.local.json", content)
    with pytest.raises(ConfigError):
        keep("Edit", "local", workspace=places.workspace, home=places.home)
    assert path.read_text() == content


def test_nothing_is_kept_through_a_link_of_the_repository(places: Places, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (places.workspace / ".headrace").symlink_to(tmp_path / "out")
    with pytest.raises(ConfigError, match="behind a link"):
        keep("Edit", "local", workspace=places.workspace, home=places.home)
    with pytest.raises(ConfigError, match="local and user"):
        keep("Edit", "project", workspace=places.workspace, home=places.home)
    assert list((tmp_path / "out").iterdir()) == []


def policy_of(places: Places, trust: Trust, **more: Any) -> Policy:
    trusted = trust.check(bundle_of(places.workspace)).trusted
    found = places.load(trusted=trusted)
    return Policy(
        found.rules,
        workspace=str(places.workspace),
        home=str(places.home),
        mode=found.mode or "default",
        roots=found.directories,
        sandboxed=True,
        bypass_barred_by=found.bypass_barred_by,
        save=saver(places.workspace, home=places.home, trust=trust),
        **more,
    )


def test_a_kept_rule_counts_in_the_next_session_without_a_new_question(
    places: Places, tmp_path: Path
):
    trust = Trust(tmp_path / "state", ManualClock())
    make = Action(tool="Bash", command="make", writes=True)
    policy = policy_of(places, trust)
    assert isinstance(policy.decide(make), Ask)
    assert policy.keep("Bash(make)", "local") == ".headrace/settings.local.json"
    assert isinstance(policy.decide(make), Allow)
    assert isinstance(policy_of(places, trust).decide(make), Allow)
    places.put(".claude/settings.json", permissions(allow=["Bash"]))
    assert isinstance(policy_of(places, trust).decide(make), Ask)


def test_a_planted_home_or_settings_change_nothing(places: Places, tmp_path: Path):
    places.put(".env", "HEADRACE_HOME=./.headrace\n")
    places.put(".headrace/settings.json", {"permissions": {"allow": ["Bash", "Edit", "Read"]}})
    policy = policy_of(places, Trust(tmp_path / "state", ManualClock()))
    assert policy.rules.allow == ()
    assert isinstance(policy.decide(Action(tool="Bash", command="make")), Ask)


SPECS = ["Bash", "Bash(make)", "Bash(rm:*)", "Edit", "Edit(a)", "Read", "Read(.env)"]
lists = st.lists(st.sampled_from(SPECS), max_size=2)
modes = st.sampled_from([None, "plan", "acceptEdits", "bypassPermissions", "dontAsk"])


def settings_of(allow: list[str], ask: list[str], deny: list[str], mode: str | None) -> object:
    rest = {"defaultMode": mode} if mode else {}
    return permissions(allow=allow, ask=ask, deny=deny, additionalDirectories=["/"], **rest)


sets = st.builds(settings_of, lists, lists, lists, modes)
actions = st.sampled_from(
    [Action(tool="Bash", command=each, writes=True) for each in ("make", "ls", "rm a", "$X")]
    + [
        Action(tool=tool, path=f"/nowhere/{name}")
        for tool in ("Read", "Edit")
        for name in ("a", ".env")
    ]
)


@settings(max_examples=60, deadline=None)
@given(mine=sets, theirs=sets, action=actions)
def test_an_untrusted_repository_never_loosens(
    tmp_path_factory: pytest.TempPathFactory, mine: object, theirs: object, action: Action
):
    places = Places(tmp_path_factory.mktemp("any"))
    trust = Trust(places.home / "state", ManualClock())
    places.put("~/.claude/settings.json", mine)
    strength = {Allow: 0, Ask: 1, Deny: 2}
    before = policy_of(places, trust).decide(action)
    places.put(".claude/settings.json", theirs)
    places.put(".headrace/settings.local.json", theirs)
    after = policy_of(places, trust).decide(action)
    assert strength[type(after)] >= strength[type(before)]


def test_the_user_may_open_the_sandbox_a_little(places: Places):
    places.put("~/.claude/settings.json", {"sandbox": {"network": {"allowedDomains": ["a.test"]}}})
    assert places.load().sandbox.network.allowed_domains == ("a.test",)


def test_what_a_repository_is_told_of_is_one_short_plain_line_each(places: Places):
    evil = "x\nheadrace code: trusted\x1b[2J\u202e" + "y" * 5_000
    values = {evil: 1, "permissions": {evil: 1, "defaultMode": evil}}
    places.put(".claude/settings.json", values)
    for trusted in (True, False):
        notices = places.load(trusted=trusted).notices
        assert notices
        assert all(line.isprintable() and len(line) <= 300 for line in notices)
    places.put(".claude/settings.json", {f"k{number}": 1 for number in range(9_000)})
    *_, last = notices = places.load().notices
    assert len(notices) <= 21
    assert "8980 more" in last


@pytest.mark.parametrize(
    "content",
    [
        {"permissions": {"allow": ["Bash(\n\x1b[2J" + "y" * 5_000]}},
        {"permissions": {"additionalDirectories": [{"x" * 5_000: "\n\x1b"}]}},
        '{"\\n\\u001b' + "y" * 5_000 + '": 1, "\\n\\u001b' + "y" * 5_000 + '": 2}',
    ],
)
def test_so_are_errors(places: Places, content: object):
    places.put(".claude/settings.json", content)
    with pytest.raises(ConfigError) as told:
        places.load(trusted=True)
    assert told.value.message.isprintable()
    assert len(told.value.message) <= 500


def test_prices_are_the_users_and_the_administrators(places: Places):
    places.put("!managed.json", {"prices": {"a": {"input": "1", "output": "2"}}})
    places.put(
        "~/.headrace/settings.json",
        {"prices": {"a": {"input": "5", "output": "5"}, "b": {"input": "0.0375", "output": "0"}}},
    )
    places.put(".headrace/settings.json", {"prices": {"c": {"input": "0", "output": "0"}}})
    found = places.load(trusted=True)
    assert {name: (rates.input, rates.output) for name, rates in found.prices.items()} == {
        "a": (1_000_000_000, 2_000_000_000),
        "b": (37_500_000, 0),
    }
    assert found.notices == (".headrace/settings.json: no repository may say what a model costs",)


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"input": "1"}, "do not say output"),
        ({"input": 1, "output": "2"}, "Expected `str"),
        ({"input": "-1", "output": "2"}, "between 0 and"),
        ({"inputs": "1"}, "unknown field"),
        ("free", "Expected `object`"),
    ],
)
def test_a_wrong_price_is_told_with_its_place(places: Places, stated: object, says: str):
    places.put("~/.headrace/settings.json", {"prices": {"m": stated}})
    with pytest.raises(ConfigError) as raised:
        places.load()
    assert "~/.headrace/settings.json: `prices` of 'm'" in raised.value.message
    assert says in raised.value.message
