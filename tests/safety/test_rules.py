"""Rules in Claude Code's syntax: what they match, and their own examples."""

import pytest

from headrace.core.errors import ConfigError
from headrace.safety.rules import (
    Kind,
    Place,
    Rule,
    allows,
    forbids,
    matches_path,
    matches_url,
    names,
    parse_rule,
)
from headrace.safety.shell_words import parse
from headrace.safety.wrappers import units

PLACE = Place("/ws", "/home/me")


def rule(text: object, kind: Kind = "allow", root: str = "/ws") -> Rule:
    return parse_rule(text, kind=kind, scope="user", root=root, file="f.json", home="/home/me")


@pytest.mark.parametrize(
    ("spec", "text", "allowed"),
    [
        ("Bash", "anything at all", True),
        ("Bash(*)", "anything at all", True),
        ("Bash(npm run build)", "npm run build", True),
        ("Bash(npm run build)", "npm run build --x", False),
        ("Bash(npm run build)", "npm  run 'build'", True),
        ("Bash(ls:*)", "ls", True),
        ("Bash(ls:*)", "ls -la /x", True),
        ("Bash(ls *)", "ls -la", True),
        ("Bash(ls *)", "lsof", False),
        ("Bash(ls*)", "lsof", True),
        ("Bash(git diff:*)", "git diff HEAD~1 -- a", True),
        ("Bash(git diff:*)", "git difftool", False),
        ("Bash(git diff:*)", "git 'diff x'", False),
        ("Bash(git diff:*)", "git\tdiff", True),
        ("Bash(git * main)", "git checkout main", True),
        ("Bash(git * main)", "git push origin main", True),
        ("Bash(git * main)", "git main", False),
        ("Bash(* --version)", "node --version", True),
        ("Bash(git:* push)", "git push", False),
        ("Bash(git commit -m 'a b')", 'git commit -m "a b"', True),
        ("Bash(npm test:*)", "NODE_ENV=test npm test", True),
        ("Bash(npm test:*)", "NODE_OPTIONS=-r=./x npm test", False),
        ("Bash(A=1 npm test)", "A=1 npm test", True),
        ("Bash(git diff:*)", "git $X", False),
        ("Bash(npm test:*)", "npm test $X", True),
        ("Bash(npm test)", "npm test $X", False),
        # Options that write files or start programs are covered only by rules that name them.
        ("Bash(git diff:*)", "git diff --output=/x", False),
        ("Bash(git diff:*)", "git diff --outp /x", False),
        ("Bash(git:*)", "git -c core.pager=x log", False),
        ("Bash(git:*)", "git --exec-path=/x log", False),
        ("Bash(git -c:*)", "git -c a=b log", True),
        ("Bash(git grep:*)", "git grep -Ox y", False),
        ("Bash(sort:*)", "sort -ro x", False),
        ("Bash(sort -o:*)", "sort -o x", True),
        ("Bash(rg:*)", "rg --pre sh x", False),
        ("Bash(sed -n:*)", "sed -n '1w /x' f", False),
        ("Bash(sed -n:*)", "sed -n '1e touch x' f", False),
        ("Bash(sed -n:*)", "sed -n '3,9p' f", True),
        ("Bash(sed:*)", "sed s/a/b/g f", True),
        ("Bash(sed:*)", "sed s/a/b/w f", False),
        ("Bash(find:*)", "find . -delete", False),
        ("Bash(find:*)", "find . -fprintf x", False),
        ("Bash(tar:*)", "tar xf a --checkpoint-action=exec=x", False),
        ("Bash(tar:*)", "tar tf a", True),
        ("Bash(awk:*)", "awk 'BEGIN{system(\"x\")}'", False),
        ("Bash(git commit:*)", 'git commit -m "$(cat x)"', True),
        ("Bash(git log:*)", "git log $X", False),
    ],
)
def test_what_a_rule_allows(spec: str, text: str, *, allowed: bool):
    assert allows(rule(spec), parse(text).commands[-1]) is allowed


@pytest.mark.parametrize(
    ("spec", "text", "answer"),
    [
        ("Bash(rm:*)", "rm -rf x", "yes"),
        ("Bash(rm:*)", "/bin/rm x", "yes"),
        ("Bash(rm:*)", "r'm' x", "yes"),
        ("Bash(rm:*)", "\\rm x", "yes"),
        ("Bash(rm:*)", "A=1 rm x", "yes"),
        ("Bash(rm:*)", "rmdir x", "no"),
        ("Bash(git push *)", "git -C /x -c a=b push origin", "yes"),
        ("Bash(git push *)", "git $X origin", "maybe"),
        ("Bash(git push *)", "git log $X", "no"),
        ("Bash(rm:*)", "$X -rf", "maybe"),
        ("Bash(rm:*)", "r$X a", "maybe"),
        ("Bash(rm:*)", "/bin/r* a", "maybe"),
        ("Bash(rm:*)", "{rm,x} a", "maybe"),
        ("Bash(rm:*)", "echo $X", "no"),
        ("Bash(git commit * --amend)", 'git commit -m "x$X"', "no"),
        ("Bash(git commit * --amend)", "git commit -m $X", "maybe"),
        ("Bash", "anything", "yes"),
    ],
)
def test_what_a_rule_that_denies_hits(spec: str, text: str, answer: str):
    assert forbids(rule(spec, "deny"), parse(text).commands[-1]) == answer


@pytest.mark.parametrize(
    ("spec", "path", "matched"),
    [
        ("Read", "/anything", True),
        ("Read(./.env)", "/ws/.env", True),
        ("Read(./.env)", "/ws/a/.env", False),
        ("Read(.env)", "/ws/a/.env", True),
        ("Read(*.env)", "/ws/a/b.env", True),
        ("Read(*.env)", "/other/b.env", False),
        ("Edit(src/**)", "/ws/src/a/b.py", True),
        ("Edit(src/**)", "/ws/src", False),
        ("Edit(src/**)", "/ws/srcx/a", False),
        ("Edit(src/*.py)", "/ws/src/a.py", True),
        ("Edit(src/*.py)", "/ws/src/a/b.py", False),
        ("Edit(src/)", "/ws/src/a/b.py", True),
        ("Edit(/src/**/*.py)", "/base/src/a.py", True),
        ("Edit(/src/**/*.py)", "/base/src/a/b/c.py", True),
        ("Edit(/src/**/*.py)", "/ws/src/a.py", False),
        ("Edit(//tmp/x.txt)", "/tmp/x.txt", True),
        ("Edit(//tmp/x.txt)", "/ws/tmp/x.txt", False),
        ("Read(~/.ssh/**)", "/home/me/.ssh/id", True),
        ("Read(//**)", "/any/where", True),
        ("Read(**)", "/ws/any/where", True),
        ("Read(**)", "/wsx", False),
        ("Read(**/.env)", "/ws/.env", True),
        ("Read(../docs/**)", "/docs/a", True),
        ("Read(a?[bc].t)", "/ws/axb.t", True),
        ("Read(a[!b].t)", "/ws/a/.t", False),
        ("Read(a\\*b)", "/ws/a*b", True),
        ("Read(a\\*b)", "/ws/axb", False),
        ("Read(a.b)", "/ws/axb", False),
    ],
)
def test_which_paths_a_rule_matches(spec: str, path: str, *, matched: bool):
    found = rule(spec, root="/base")
    assert matches_path(found, found.tool, path, PLACE, loose=False) is matched


def test_case_counts_only_where_a_rule_allows():
    found = rule("Read(secret/**)")
    assert not matches_path(found, "Read", "/ws/SECRET/a", PLACE, loose=False)
    assert matches_path(found, "Read", "/ws/SECRET/a", PLACE, loose=True)


@pytest.mark.parametrize(
    ("text", "tool", "named"),
    [
        ("Edit", "Write", True),
        ("Edit", "NotebookEdit", True),
        ("Read", "Grep", True),
        ("Read", "Glob", True),
        ("Write", "Edit", False),
        ("Read", "Edit", False),
        ("mcp__a", "mcp__a__b", True),
        ("mcp__a__*", "mcp__a__b", True),
        ("mcp__a__b", "mcp__a__b", True),
        ("mcp__a", "mcp__ab__c", False),
    ],
)
def test_which_tools_a_rule_names(text: str, tool: str, *, named: bool):
    assert names(rule(text), tool) is named


@pytest.mark.parametrize(
    ("spec", "url", "matched"),
    [
        ("WebFetch", "https://a.b/c", True),
        ("WebFetch(domain:example.com)", "https://Example.COM:8443/x", True),
        ("WebFetch(domain:example.com)", "https://api.example.com/", False),
        ("WebFetch(domain:example.com)", "https://example.com.evil.test/", False),
        ("WebFetch(domain:example.com)", "https://example.com@evil.test/", False),
        ("WebFetch(domain:example.com)", "https://example.com./", True),
        ("WebFetch(domain:*.example.com)", "https://a.b.example.com/", True),
        ("WebFetch(domain:*.example.com)", "https://example.com/", False),
        ("WebFetch(domain:github.*)", "https://github.io/", True),
        ("WebFetch(domain:github.*)", "https://github.evil.com/", False),
        ("WebFetch(domain:*)", "https://a.b/", True),
        ("WebFetch(domain:a.b)", "https://[bad", False),
    ],
)
def test_which_addresses_a_rule_matches(spec: str, url: str, *, matched: bool):
    assert matches_url(rule(spec), url) is matched


@pytest.mark.parametrize(
    "value",
    ["", "Bash(", "Bash()", "rm -rf", 3, None, ["Bash"], {"match": []}, {"rule": "Bash", "x": 1},
     "WebFetch(https://a.b)", "Read(!a)", {"rule": "Bash(ls:*)", "match": "ls"}],
)  # fmt: skip
def test_what_is_no_rule_is_refused_and_named(value: object):
    with pytest.raises(ConfigError, match=r"f\.json: .*permissions\.allow|f\.json: "):
        rule(value)


def test_a_rule_carries_its_own_examples():
    kept = {"rule": "Bash(git diff:*)", "match": ["git diff HEAD"], "not_match": ["git push"]}
    assert rule(kept).spec == "git diff:*"
    rule({"rule": "Read(src/**)", "match": ["src/a"], "not_match": ["~/b", "a"]})
    rule({"rule": "WebFetch(domain:a.b)", "match": ["https://a.b"], "not_match": ["https://c.d"]})
    rule({"rule": "Bash(rm:*)", "match": ["ls; sudo rm x"], "not_match": ["ls"]}, "deny")
    with pytest.raises(ConfigError, match=r"f\.json: .*`Bash\(ls:\*\)` matches its own .*'ls -l'"):
        rule({"rule": "Bash(ls:*)", "not_match": ["ls -l"]})
    with pytest.raises(ConfigError, match=r"does not match its own example 'ls; rm x'"):
        rule({"rule": "Bash(ls:*)", "match": ["ls; rm x"]})


STARS = "*a" * 60


@pytest.mark.parametrize(
    ("text", "kind", "example"),
    [
        (f"Bash(x{STARS}b)", "deny", "x" + "a" * 800),
        (f"Bash(x{STARS}b)", "deny", "x" + "a" * 800 + " $X" * 30),
        (f"Read({STARS}b)", "deny", "a" * 800),
        ("Read(" + "**/a*/" * 100 + "b)", "deny", "a/" * 400 + "c"),
        ("Read(" + "**/" * 200 + "b)", "deny", "a/" * 400 + "c"),
        (f"WebFetch(domain:{STARS}b.c)", "deny", "https://" + "a" * 800 + ".c"),
        ("Bash(rm:*)", "deny", "find " + "-exec " * 160),
    ],
)
def test_no_rule_stalls_on_its_example(text: str, kind: Kind, example: str):
    # What tries every division of the example among the stars would not end in a lifetime.
    rule({"rule": text, "not_match": [example]}, kind)


@pytest.mark.parametrize(
    "value",
    [
        f"Bash({'x*' * 500})",
        {"rule": "Bash(ls:*)", "match": ["ls"] * 101},
        {"rule": "Bash(ls:*)", "match": ["ls " + "x" * 1_000]},
        "Read([z-a])",
    ],
)
def test_rules_out_of_bounds_are_refused_and_named(value: object):
    with pytest.raises(ConfigError, match=r"f\.json"):
        rule(value, "deny")


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("find . -exec echo {} + -exec rm {} ';'", ["echo", "rm"]),
        ("find . -exec echo a + b ';'", ["echo"]),
        ("find . -exec find . -exec rm x", ["find", "rm"]),
    ],
)
def test_what_find_runs(text: str, run: list[str]):
    found, unsure = units(parse(text))
    assert not unsure
    assert [unit.command.words[0].text for unit in found[1:]] == run
    assert units(parse("find . $X rm a"))[1]
