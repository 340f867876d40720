from pathlib import Path

import pytest

from headrace.catalog.card import Origin, make_card, read_abilities
from headrace.catalog.gguf import read_gguf
from headrace.core.errors import CatalogError
from headrace.core.models import Abilities
from support.gguf import Value, build, entries


def _abilities(folder: Path, **more: Value) -> Abilities:
    path = folder / "model.gguf"
    path.write_bytes(build(entries(**more)))
    return read_abilities(read_gguf(path))


@pytest.mark.parametrize(
    ("template", "abilities"),
    [
        ("{{ messages }}", Abilities()),
        ("{% if tools %}{{ tools }}{% endif %}", Abilities(tools=True)),
        ("a text about stools and toolbars", Abilities()),
        ("{% if enable_thinking %}<think>{% endif %}", Abilities(thinking=True)),
        ("{{ content.split('</think>')[-1] }}", Abilities(thinking=True)),
        ("{{ tools }}{{ reasoning_effort }}", Abilities(tools=True, thinking=True)),
        ("", Abilities()),
    ],
)
def test_abilities_follow_the_template(tmp_path: Path, template: str, abilities: Abilities):
    assert _abilities(tmp_path, tokenizer__chat_template=template) == abilities


@pytest.mark.parametrize(
    "more", [{"general.architecture": "bert"}, {"llama.pooling_type": 3}], ids=["bert", "pooled"]
)
def test_embedders_embed_and_do_not_chat(tmp_path: Path, more: dict[str, Value]):
    found = _abilities(tmp_path, **more, tokenizer__chat_template="{{ tools }}")
    assert found == Abilities(chat=False, embeddings=True)


def test_a_projector_is_no_model(tmp_path: Path):
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(build(entries(general__architecture="clip")))
    with pytest.raises(CatalogError, match="vision projector"):
        make_card(
            read_gguf(path),
            Origin(model_id="x", source="file:x"),
            file="mmproj.gguf",
            digest="sha256:" + "0" * 64,
            size_bytes=1,
            added_ns=0,
        )


def test_where_the_header_says_nothing_the_card_says_so(tmp_path: Path):
    path = tmp_path / "bare.gguf"
    path.write_bytes(build({"general.architecture": "llama"}))
    card = make_card(
        read_gguf(path),
        Origin(model_id="bare", source="file:/bare.gguf"),
        file="bare.gguf",
        digest="sha256:" + "0" * 64,
        size_bytes=1,
        added_ns=0,
    )
    assert (card.display_name, card.licence, card.context_tokens) == ("bare", "unknown", 2_048)
    assert (card.chat_template, card.chat_template_digest, card.special_tokens) == (None, None, ())
