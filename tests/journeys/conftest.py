import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from support.running import Running, running

CONTEXT_TOKENS = "1024"
"""Ends the answers of a model that now and then finds no end by itself."""


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """`headrace up` on an empty folder, as on a fresh machine: it fetches the default model."""
    data = tmp_path_factory.mktemp("first") / "data"
    with running(data, model=None, engine_context_tokens=CONTEXT_TOKENS) as started:
        yield started


@pytest.fixture(scope="session")
def house(first_run: Running) -> Running:
    """The default model, served."""
    return first_run


@pytest.fixture
def with_model(first_run: Running, tmp_path: Path) -> Path:
    """A data folder of one's own with the default model in it, nothing else."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    shutil.copytree(first_run.data / "models", data / "models", copy_function=os.link)
    return data


@pytest.fixture
def start(tmp_path: Path) -> Generator[Callable[..., Running]]:
    """Starts `headrace up`, as often as a test likes; what still runs at the end is stopped."""
    started: list[Running] = []

    def begin(model: str | None, data: Path | None = None, **settings: str) -> Running:
        made = Running(data or tmp_path / "data", model, **settings)
        started.append(made)
        return made

    yield begin
    for each in started:
        each.stop()
