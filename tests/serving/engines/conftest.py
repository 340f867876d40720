"""The real default model, and engines that run it."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from headrace.catalog.known import DEFAULT_MODEL
from headrace.catalog.library import Installed, Library
from headrace.core.errors import CatalogError
from headrace.serving.engines.llama import LlamaEngine
from support.engines import make_engine


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The default model: the file HEADRACE_TEST_MODEL names, else fetched once and kept."""
    named = os.environ.get("HEADRACE_TEST_MODEL")
    try:
        if named:
            library = Library(tmp_path_factory.mktemp("models"))
            return library.import_file(Path(named), name=DEFAULT_MODEL)
        return Library(Path.home() / ".cache" / "headrace-tests").pull(DEFAULT_MODEL)
    except CatalogError as error:
        if os.environ.get("CI"):
            pytest.fail(f"no default model: {error}")
        pytest.skip(f"no default model: {error}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(
    installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[LlamaEngine]:
    """One running engine for all tests that do not harm it."""
    engine = make_engine(installed, tmp_path_factory.mktemp("data"))
    await engine.start()
    yield engine
    await engine.stop()
