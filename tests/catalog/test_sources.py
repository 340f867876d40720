from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog.card import check_model_id, model_id_of
from headrace.catalog.known import KNOWN, KnownModel
from headrace.catalog.sources import (
    FileSource,
    HubSource,
    PypiSource,
    WebSource,
    file_of,
    parse_source,
)
from headrace.core.errors import CatalogError

_DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "source", "file"),
    [
        ("pypi:a-b==1.0.2/c_d/e.gguf", PypiSource("a-b", "1.0.2", "c_d/e.gguf"), "e.gguf"),
        ("hf:Owner/Repo-GGUF/f.gguf", HubSource("Owner/Repo-GGUF", "f.gguf"), "f.gguf"),
        ("hf:o/r/Q4/f.gguf@refs/pr/1", HubSource("o/r", "Q4/f.gguf", "refs/pr/1"), "f.gguf"),
        ("file:/a/b.gguf", FileSource(Path("/a/b.gguf")), "b.gguf"),
        ("https://h.org/a/b.gguf", WebSource("https://h.org/a/b.gguf"), "b.gguf"),
        (
            f"https://h.org/b.gguf?x=1#sha256={_DIGEST}",
            WebSource("https://h.org/b.gguf?x=1", f"sha256:{_DIGEST}"),
            "b.gguf",
        ),
        ("http://127.0.0.1:80/b.gguf", WebSource("http://127.0.0.1:80/b.gguf"), "b.gguf"),
    ],
)
def test_sources_are_read_and_written_alike(text: str, source: object, file: str):
    parsed = parse_source(text)
    assert parsed == source
    assert str(parsed) == text
    assert file_of(parsed) == file


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tiny",
        "ftp://h.org/a.gguf",
        "http://h.org/a.gguf",
        "https://user:secret@h.org/a.gguf",
        "https://h.org:port/a.gguf",
        "https:///a.gguf",
        "https://h.org/a.gguf#md5=12",
        "https://h.org/a.gguf#sha256=12",
        "hf:owner/repo",
        "hf:owner/../x.gguf",
        "hf:owner/repo/../../x.gguf",
        "hf:owner/repo//x.gguf",
        "hf:owner/repo/x.gguf@-q",
        "pypi:name/file.gguf",
        "pypi:name==1/../file.gguf",
        "pypi:name==1//etc/passwd",
        "pypi:--index-url==1/file.gguf",
        "pypi:name==1 --pre/file.gguf",
    ],
)
def test_what_is_no_source_is_refused_with_a_hint(text: str):
    with pytest.raises(CatalogError):
        parse_source(text)


@given(st.text())
def test_any_text_is_a_source_or_an_error(text: str):
    for scheme in ("", "pypi:", "hf:", "https://"):
        try:
            parse_source(scheme + text)
        except CatalogError:
            continue


@given(st.text(min_size=1))
def test_any_file_name_gives_a_sound_model_name_or_an_error(text: str):
    try:
        found = model_id_of(f"{text}.gguf")
    except CatalogError:
        return
    assert check_model_id(found) == found


@pytest.mark.parametrize("known", KNOWN, ids=[known.model_id for known in KNOWN])
def test_known_models_are_well_described(known: KnownModel):
    assert check_model_id(known.model_id) == known.model_id
    assert str(parse_source(known.source)) == known.source
    assert known.digest.startswith("sha256:")
    assert len(known.digest) == 71
    assert known.active_parameters <= known.parameters
    assert 0.4 < known.bytes / known.parameters < 1.2
    assert "@" in known.source or known.source.startswith("pypi:")


def test_names_digests_and_qualities_of_known_models_are_their_own():
    for values in zip(*((m.model_id, m.digest, m.source, m.quality) for m in KNOWN), strict=True):
        assert len(set(values)) == len(KNOWN)
