"""The guide names every known model, source and flag."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from headrace import doctor
from headrace.catalog import commands
from headrace.catalog.known import KNOWN

_GUIDE = (Path(__file__).parents[2] / "docs/guides/models.md").read_text(encoding="utf-8")


def _flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (flag for flag in action.option_strings if flag not in {"-h", "--help"})
        choices: object = action.choices
        if isinstance(choices, dict):
            for name, inner in cast("dict[str, object]", choices).items():
                if isinstance(inner, argparse.ArgumentParser):
                    yield f"models {name}"
                    yield from _flags(inner)


def test_every_action_and_flag_is_in_the_guide():
    for parser in (commands.parser(), doctor.parser()):
        for flag in _flags(parser):
            assert flag in _GUIDE


def test_every_known_model_is_in_the_guide_with_its_size():
    for known in KNOWN:
        assert (
            f"| `{known.model_id}` | {known.bytes:,} | {known.licence} | {known.note} |" in _GUIDE
        )


def test_every_source_is_in_the_guide():
    for scheme in ("pypi:", "hf:", "https:", "file:"):
        assert f"`{scheme}" in _GUIDE
