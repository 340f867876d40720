"""Card: what is kept about each installed model, as `card.json` beside its file."""

import hashlib
import re
from pathlib import Path

import msgspec

from headrace.catalog.gguf import Gguf
from headrace.core.errors import CatalogError
from headrace.core.models import Abilities, Model
from headrace.core.requests import Sampling

CARD_FILE = "card.json"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,200}\.gguf")
_CARD_BYTES_MAX = 4 * 1024 * 1024
_CONTEXT_TOKENS_DEFAULT = 2_048
_CONTEXT_TOKENS_MAX = 1 << 27
_EMBEDDERS = frozenset(
    ("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert")
)
_NO_LANGUAGE_MODELS = {"clip": "a vision projector", "mmproj": "a vision projector"}


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One installed model.

    `digest` is `sha256:` and 64 hex digits of the whole file, `source` where it came from, as
    `pull` takes it. `active_parameters` are those that one token passes through, and
    `kv_bytes_per_token` what one token of context takes in memory. `special_tokens` are the
    texts that its tokenizer reads as one special token; user text must never become one.
    `sampling` is what the model's authors recommend where a request says nothing.
    """

    model_id: str
    display_name: str
    licence: str
    source: str
    file: str
    digest: str
    bytes: int
    architecture: str
    quantisation: str
    parameters: int
    active_parameters: int
    context_tokens: int
    kv_bytes_per_token: int
    abilities: Abilities
    licence_url: str | None = None
    chat_template: str | None = None
    chat_template_digest: str | None = None
    special_tokens: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    added_ns: int = 0
    version: int = 1

    def model(self) -> Model:
        """The model as the rest of the house speaks of it."""
        return Model(
            id=self.model_id,
            display_name=self.display_name,
            context_tokens=self.context_tokens,
            abilities=self.abilities,
            created_ns=self.added_ns,
        )


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model besides its file: names and licence, None where unknown."""

    model_id: str
    source: str
    display_name: str | None = None
    licence: str | None = None
    licence_url: str | None = None
    sampling: Sampling = Sampling()


def make_card(
    gguf: Gguf, origin: Origin, *, file: str, digest: str, size_bytes: int, added_ns: int
) -> Card:
    """Describe a model file whose header was read and whose digest was computed.

    Raises:
        CatalogError: The file holds no language model.
    """
    other = _NO_LANGUAGE_MODELS.get(gguf.architecture)
    if other is not None:
        raise CatalogError(
            f"{file} is {other}, no language model",
            hint="pull the language model's own file; images are not read yet",
        )
    template = gguf.chat_template
    return Card(
        model_id=origin.model_id,
        display_name=origin.display_name or gguf.name or origin.model_id,
        licence=origin.licence or gguf.licence or "unknown",
        licence_url=origin.licence_url or gguf.licence_url,
        source=origin.source,
        file=file,
        digest=digest,
        bytes=size_bytes,
        architecture=gguf.architecture,
        quantisation=gguf.quantisation,
        parameters=gguf.parameters,
        active_parameters=gguf.active_parameters,
        context_tokens=min(gguf.context_tokens or _CONTEXT_TOKENS_DEFAULT, _CONTEXT_TOKENS_MAX),
        kv_bytes_per_token=gguf.kv_bytes_per_token,
        abilities=read_abilities(gguf),
        chat_template=template,
        chat_template_digest=(
            None if template is None else f"sha256:{hashlib.sha256(template.encode()).hexdigest()}"
        ),
        special_tokens=gguf.special_tokens,
        sampling=origin.sampling,
        added_ns=added_ns,
    )


def read_abilities(gguf: Gguf) -> Abilities:
    """What a model can do, as its architecture and chat template show.

    A template that names its tools was made for a model trained on them. Vision needs a
    second file, which is not read yet, so no card promises it.
    """
    template = gguf.chat_template or ""
    embeds = gguf.architecture in _EMBEDDERS or gguf.pooled
    return Abilities(
        chat=not embeds,
        tools=not embeds and re.search(r"\btools\b", template) is not None,
        thinking=not embeds
        and re.search(r"</think>|enable_thinking|reasoning_effort", template) is not None,
        vision=False,
        embeddings=embeds,
    )


def check_model_id(text: str) -> str:
    """`text` if it can name a model and a folder.

    Raises:
        CatalogError: It cannot.
    """
    if _MODEL_ID.fullmatch(text) is None or ".." in text:
        raise CatalogError(
            f"{text!r} cannot be a model's name",
            hint="use lower-case letters, digits, '.', '_' and '-', at most 96, no '..'",
        )
    return text


def model_id_of(file: str) -> str:
    """The name that a model file's own name suggests.

    Raises:
        CatalogError: It suggests none.
    """
    stem = file.rpartition("/")[2].removesuffix(".gguf").lower()
    plain = re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", stem))
    return check_model_id(plain[:96].strip("-._"))


def check_file_name(text: str) -> str:
    """`text` if it is a plain name of a GGUF file, without folders.

    Raises:
        CatalogError: It is not.
    """
    if _FILE.fullmatch(text) is None:
        raise CatalogError(f"{text!r} is not the plain name of a .gguf file")
    return text


def read_card(folder: Path) -> Card:
    """Read the card in a model's folder, and check what it says about paths.

    Raises:
        CatalogError: There is none, it is damaged, or it belongs to another folder.
    """
    path = folder / CARD_FILE
    try:
        if path.stat().st_size > _CARD_BYTES_MAX:
            raise CatalogError(f"{path} is too large for a card", hint=_again(folder.name))
        card = msgspec.json.decode(path.read_bytes(), type=Card)
    except OSError as error:
        raise CatalogError(
            f"cannot read {path}: {error.strerror}", hint=_again(folder.name)
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path} is damaged: {error}", hint=_again(folder.name)) from None
    sound = card.model_id == folder.name and DIGEST.fullmatch(card.digest)
    if not sound or _FILE.fullmatch(card.file) is None:
        raise CatalogError(f"{path} is not the card of this model", hint=_again(folder.name))
    return card


def _again(model_id: str) -> str:
    return f"remove it (headrace models rm {model_id}) and fetch it again"
