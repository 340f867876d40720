"""Profile: what the assistant knows of a model, and shapes itself to.

Shipped by family and size, measured by `--profile-model` (`self_test.py`), and kept for each
endpoint and model in the state folder.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Literal

import msgspec

EditFormat = Literal["whole", "edit", "patch"]
Calls = Literal["native", "text"]

VERSION = 1
SMALL_PARAMETERS_MAX = 3.0
"""Billions of parameters below which a model gets four tools and short words."""

_FULL_TOOLS = 10
_SMALL_TOOLS = 4
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(b|m)(?![a-z0-9])")
_ANSWER_SHARE = 4
_ANSWER_TOKENS_MAX = 16_384


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one model is best worked with.

    Attributes:
        context_tokens: What the server said that its window holds; None where it says nothing.
        prefill_tokens_per_s: Prompt tokens read in a second; None where not measured.
        decode_tokens_per_s: Answer tokens written in a second; None where not measured.
        calls: Whether tools go through the API, or are described and called in text.
        parallel_calls: Whether an answer may hold several calls.
        edit_format: What changes of files it writes most reliably.
        tools: How many tools it is offered: 4 are the small set.
        prompt_tokens: What the first request of a small task may come to.
        guided: Whether the assistant does the looking, because the model cannot.
        continues_answers: Whether it goes on with an answer that is begun for it; many servers
            begin a new one, and some refuse.
        parameters_b: Billions of parameters as the model's name tells them; None where not.
        measured_ns: When the self-test ran, in nanoseconds since 1970; None where it never did.
    """

    context_tokens: int | None = None
    prefill_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None
    calls: Calls = "native"
    parallel_calls: bool = True
    edit_format: EditFormat = "edit"
    tools: int = _FULL_TOOLS
    prompt_tokens: int = 1_000
    guided: bool = False
    continues_answers: bool = False
    parameters_b: float | None = None
    measured_ns: int | None = None
    v: int = VERSION

    @property
    def small(self) -> bool:
        """Whether it gets the small set of tools and the small prompt."""
        return self.tools <= _SMALL_TOOLS

    def answer_tokens(self, context_tokens: int, output_tokens: int = 0) -> int:
        """The most that one answer may have: a quarter of the window, and what the model can."""
        return min(
            context_tokens // _ANSWER_SHARE, _ANSWER_TOKENS_MAX, output_tokens or context_tokens
        )


def parameters_of(model: str) -> float | None:
    """Billions of parameters by a model's name: `qwen2.5-coder-1.5b` has 1.5."""
    found = _SIZE.findall(re.sub(r"[^a-z0-9.]+", " ", model.lower()))
    sizes = [float(number) / (1000 if unit == "m" else 1) for number, unit in found]
    return max(sizes, default=None)


def shipped(model: str, display_name: str = "") -> Profile:
    """The profile of a model that nobody measured, by the family and size that its names tell."""
    size = parameters_of(model) or parameters_of(display_name)
    if size is not None and size < SMALL_PARAMETERS_MAX:
        return Profile(
            parallel_calls=False,
            edit_format="whole",
            tools=_SMALL_TOOLS,
            prompt_tokens=700,
            guided=True,
            parameters_b=size,
        )
    # Codex's models were trained on one patch format, and write it better than anything else.
    patches = "codex" in model.lower()
    return Profile(edit_format="patch" if patches else "edit", parameters_b=size)


class Profiles:
    """The measured profiles, one file for each endpoint and model.

    Args:
        folder: Where they are kept; made with mode 0700 when the first one is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, endpoint: str, model: str, display_name: str = "") -> Profile:
        """What was measured, else what is shipped. A damaged file counts as none."""
        try:
            kept = msgspec.json.decode(self.path(endpoint, model).read_bytes(), type=Profile)
        except (OSError, msgspec.MsgspecError):
            return shipped(model, display_name)
        return kept if kept.v == VERSION else shipped(model, display_name)

    def save(self, endpoint: str, model: str, profile: Profile) -> Path:
        """Keep it for all later sessions; returns the file."""
        path = self.path(endpoint, model)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(profile)) + b"\n")
        partial.replace(path)
        return path

    def path(self, endpoint: str, model: str) -> Path:
        """The file of one model at one endpoint, readable by its name."""
        digest = hashlib.sha256(f"{endpoint}\n{model}".encode()).hexdigest()[:12]
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", model)[:60].strip("-.")
        return self._folder / f"{name or 'model'}-{digest}.json"
