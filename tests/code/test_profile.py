from pathlib import Path

import pytest

from headrace.code.profile import Profile, Profiles, parameters_of, shipped


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("qwen2.5-coder-1.5b-instruct", 1.5),
        ("Qwen/Qwen3-Coder-30B-A3B", 30.0),
        ("smollm2-135m", 0.135),
        ("llama3.2:3b", 3.0),
        ("claude-sonnet-4-5", None),
        ("gpt-5.1-codex", None),
        ("bge-m3", None),
    ],
)
def test_a_models_size_is_read_from_its_name(model: str, size: float | None):
    assert parameters_of(model) == size


def test_small_models_get_four_tools_whole_files_and_guidance():
    small = shipped("qwen2.5-coder-1.5b-instruct")
    assert (small.tools, small.edit_format, small.guided, small.prompt_tokens) == (
        4,
        "whole",
        True,
        700,
    )
    assert small.small
    assert not small.parallel_calls


def test_larger_and_unknown_models_get_everything():
    for model in ("llama3.2:3b", "claude-sonnet-4-5", "scripted"):
        profile = shipped(model)
        assert (profile.small, profile.edit_format, profile.guided) == (False, "edit", False)
    assert shipped("gpt-5.1-codex").edit_format == "patch"


def test_a_measured_profile_is_kept_for_its_endpoint_and_model(tmp_path: Path):
    profiles = Profiles(tmp_path / "profiles")
    measured = Profile(tools=4, calls="text", measured_ns=7)
    path = profiles.save("http://a", "m/1:2", measured)
    assert profiles.load("http://a", "m/1:2") == measured
    assert profiles.load("http://b", "m/1:2") == shipped("m/1:2")
    assert path.name.startswith("m-1-2-")
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", [b"", b"{", b'{"v": 99}', b'{"tools": "many"}'])
def test_a_damaged_profile_counts_as_none(tmp_path: Path, damage: bytes):
    profiles = Profiles(tmp_path)
    profiles.path("e", "m").write_bytes(damage)
    assert profiles.load("e", "m") == shipped("m")


def test_an_answer_takes_a_quarter_of_the_window():
    assert Profile().answer_tokens(8192) == 2048
    assert Profile().answer_tokens(1_000_000) == 16_384
    assert Profile().answer_tokens(200_000, 4096) == 4096
