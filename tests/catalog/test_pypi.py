import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from headrace.catalog import pypi
from headrace.catalog.known import DEFAULT_MODEL, find_known
from headrace.catalog.library import Library
from headrace.core.errors import CatalogError
from support.origin import Origin

_BOOBY_TRAP = b"import os; os.abort()\n"
_METADATA = b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
_WHEEL = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
SOURCE = "pypi:tiny-model==1.0/tiny_model/tiny.gguf"


def _present(name: str) -> object:
    return name


def _absent(name: str) -> object:
    del name
    return None


def _wheel(tiny: bytes) -> bytes:
    members = {
        "tiny_model/__init__.py": _BOOBY_TRAP,
        "tiny_model/tiny.gguf": tiny,
        "tiny_model-1.0.dist-info/METADATA": _METADATA,
        "tiny_model-1.0.dist-info/WHEEL": _WHEEL,
    }
    records = [f"{name},," for name in (*members, "tiny_model-1.0.dist-info/RECORD")]
    members["tiny_model-1.0.dist-info/RECORD"] = "\n".join(records).encode()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return held.getvalue()


@pytest.fixture(params=["pip", "uv"])
def index(
    request: pytest.FixtureRequest, server: Origin, tiny: bytes, monkeypatch: pytest.MonkeyPatch
) -> Origin:
    """A package index on this machine that has one package, read by pip or by uv."""
    name = "tiny_model-1.0-py3-none-any.whl"
    wheel = _wheel(tiny)
    digest = hashlib.sha256(wheel).hexdigest()
    page = f'<!DOCTYPE html><a href="{server.url}/{name}#sha256={digest}">{name}</a>'
    server.files["/simple/tiny-model/"] = page.encode()
    server.files[f"/{name}"] = wheel
    for variable in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{server.url}/simple/")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    if request.param == "pip":
        monkeypatch.setattr(sys, "executable", _python_with_pip())
        monkeypatch.setattr("importlib.util.find_spec", _present)
    else:
        monkeypatch.setattr("importlib.util.find_spec", _absent)
        if pypi.find_fetcher() is None:
            pytest.skip("uv is not installed on this machine")
    return server


def _python_with_pip() -> str:
    """This interpreter or the one its environment was made from."""
    for python in (sys.executable, os.path.realpath(sys.executable)):
        asked = subprocess.run([python, "-m", "pip"], capture_output=True, check=False)
        if asked.returncode == 0:
            return python
    pytest.skip("no interpreter here has pip")


@pytest.mark.usefixtures("index")
def test_the_file_comes_out_of_the_wheel_and_no_code_runs(
    library: Library, tiny: bytes, tiny_digest: str, tmp_path: Path
):
    installed = library.pull(SOURCE)
    assert installed.path.read_bytes() == tiny
    assert (installed.card.source, installed.card.digest) == (SOURCE, tiny_digest)
    assert list((tmp_path / "data/models/.partial").iterdir()) == []


@pytest.mark.usefixtures("index")
def test_a_member_that_is_not_there_is_named(library: Library):
    with pytest.raises(CatalogError, match=r"holds no file tiny_model/other\.gguf"):
        library.pull("pypi:tiny-model==1.0/tiny_model/other.gguf")


def test_a_package_that_is_not_there_is_named(library: Library, index: Origin):
    with pytest.raises(CatalogError, match=r"tiny-model 2\.0 could not be fetched") as caught:
        library.pull("pypi:tiny-model==2.0/tiny_model/tiny.gguf")
    assert caught.value.hint is not None
    assert index.seen


def test_without_pip_and_uv_it_says_what_to_install(
    library: Library, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importlib.util.find_spec", _absent)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CatalogError, match="neither pip nor uv"):
        library.pull(SOURCE)


def test_passwords_of_an_index_are_not_shown(
    library: Library, index: Origin, monkeypatch: pytest.MonkeyPatch
):
    address = index.url.replace("//", "//user:canary@") + "/nowhere/"
    monkeypatch.setenv("PIP_INDEX_URL", address)
    monkeypatch.setenv("UV_DEFAULT_INDEX", address)
    with pytest.raises(CatalogError) as caught:
        library.pull(SOURCE)
    assert "canary" not in caught.value.message


@pytest.mark.model
def test_the_default_model_comes_from_its_real_package(library: Library):
    known = find_known(DEFAULT_MODEL)
    assert known is not None
    try:
        installed = library.pull(DEFAULT_MODEL)
    except CatalogError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the package index is out of reach: {error}")
    card = installed.card
    assert (card.digest, card.bytes, card.licence) == (known.digest, known.bytes, known.licence)
    assert (card.parameters, card.context_tokens, card.kv_bytes_per_token) == (
        known.parameters,
        known.context_tokens,
        known.kv_bytes_per_token,
    )
    assert (card.abilities, card.quantisation) == (known.abilities, known.quantisation)
    assert "<|im_start|>" in card.special_tokens
