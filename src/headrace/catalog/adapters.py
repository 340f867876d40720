"""LoRA adapters: files that change a model, and the release that it becomes with them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from headrace.catalog.card import Card
from headrace.catalog.fetching import file_digest


class Adapter(msgspec.Struct, frozen=True):
    """One adapter file: its name without folders, its `sha256:` digest and its size."""

    file: str
    digest: str
    bytes: int


class AdaptedCard(Card, frozen=True, kw_only=True):
    """The card of a model with adapters, which is another release than the model alone.

    `digest` stands for all its files (see `adapt`), `bytes` is their size together.
    `base_digest` is that of the model's own file, `adapters` are in the order of the digest.
    """

    base_digest: str
    adapters: tuple[Adapter, ...]


def read_adapters(paths: Sequence[Path]) -> tuple[Adapter, ...]:
    """Hash adapter files. What is in them is for the engine to judge.

    Raises:
        CatalogError: One cannot be read; the text names it.
    """
    return tuple(Adapter(path.name, file_digest(path), path.stat().st_size) for path in paths)


def adapt(card: Card, adapters: Sequence[Adapter]) -> AdaptedCard:
    r"""The card of `card`'s model with `adapters`.

    Its digest is the SHA-256 of lines, each ended by a newline: the `sha256:` digest of the
    model's file, then those of the adapters in order. `printf '%s\n' … | sha256sum` makes it.
    """
    lines = "".join(f"{each}\n" for each in (card.digest, *(one.digest for one in adapters)))
    release = msgspec.structs.replace(
        card,
        digest=f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}",
        bytes=card.bytes + sum(each.bytes for each in adapters),
    )
    return AdaptedCard(
        **msgspec.structs.asdict(release), base_digest=card.digest, adapters=tuple(adapters)
    )
