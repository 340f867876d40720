"""Model, Release and Usage: what answers, which exact files those are, and how much was used."""

from typing import Literal

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one model call.

    `input` counts every prompt token, those served from the prefix cache (`cached`) included;
    `output` counts every produced token, those of reasoning (`reasoning`) included.
    `cache_written` are those of the input that the prefix cache newly keeps;
    `cache_written_long` are those of them that it keeps for an hour or longer.
    """

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    cache_written: int = 0
    cache_written_long: int = 0


class Abilities(msgspec.Struct, frozen=True):
    """What a model can do, as its card states it."""

    chat: bool = True
    tools: bool = False
    thinking: bool = False
    vision: bool = False
    embeddings: bool = False


class Model(msgspec.Struct, frozen=True):
    """A model by the name clients ask for, with what they need to know of it.

    `output_tokens` is the most that one answer can have, 0 where only its context limits it.
    """

    id: str
    display_name: str
    context_tokens: int
    abilities: Abilities = Abilities()
    created_ns: int = 0
    owned_by: str = "headrace"
    output_tokens: int = 0

    @property
    def output_tokens_max(self) -> int:
        """The most that one answer can have."""
        return min(self.output_tokens or self.context_tokens, self.context_tokens)


ReleaseState = Literal["adopted", "trained", "evaluated", "gated", "canary", "released", "revoked"]


class Release(msgspec.Struct, frozen=True):
    """Exact model files that may answer. `digest` is `sha256:` and 64 hex digits.

    Models pulled from elsewhere are `adopted`; the other states belong to models trained here.
    """

    id: str
    model_id: str
    digest: str
    state: ReleaseState
    created_ns: int
