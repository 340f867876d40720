"""Which model to serve, and getting it ready: chosen, fetched, verified."""

import sys
from pathlib import Path

import msgspec

from headrace.catalog.card import Card
from headrace.catalog.estimate import (
    Choice,
    Estimator,
    choose,
    estimator_here,
    memory_needed,
)
from headrace.catalog.known import DEFAULT_MODEL
from headrace.catalog.library import Installed, Library
from headrace.catalog.machine import read_machine
from headrace.catalog.tables import rate, show_progress, size, table
from headrace.config.settings import Settings
from headrace.core.clock import Clock
from headrace.core.errors import ConfigError
from headrace.serving.engines.llama import LlamaEngine, LlamaModel, LlamaOptions
from headrace.serving.engines.scripted import ScriptedEngine
from headrace.serving.pool import Place

_CHOSEN_FILE = "model"
_SCRIPTED = "scripted:"
_MEMORY_SHARE = 0.9


class Served(msgspec.Struct, frozen=True):
    """What will be served, the default model first; `cards` are those of models with a file."""

    places: tuple[Place, ...]
    default: Card | None
    cards: tuple[Card, ...]
    memory_bytes_max: int


def get_ready(settings: Settings, clock: Clock, *, ask: bool) -> Served:
    """Choose the model, fetch it if need be, verify it, and make the engines.

    Args:
        settings: `model` names one; otherwise the choice of the first start holds.
        clock: The house's clock.
        ask: Whether a person can be asked at the first start.

    Raises:
        CatalogError: The model cannot be had or is not what it should be.
    """
    machine = read_machine(settings.data)
    memory_bytes_max = round(machine.memory_bytes * _MEMORY_SHARE)
    wanted = settings.model
    if wanted is not None and wanted.startswith(_SCRIPTED):
        engine = ScriptedEngine(Path(wanted.removeprefix(_SCRIPTED)).expanduser(), clock)
        return Served((Place(engine),), None, (), memory_bytes_max)
    library = Library(settings.data, clock)
    installed = {each.card.model_id: each for each in library.list()}
    cards = [each.card for each in installed.values()]
    estimator = estimator_here(settings.data, settings.engine_threads, cards)
    model_id = wanted or _remembered(settings.data) or _first_choice(library, estimator, ask=ask)
    progress = show_progress()
    # An installed file that was altered is refused here; only `models pull` fetches it anew.
    default = installed.get(model_id) or library.pull(model_id, progress=progress)
    library.verify(default, progress)
    if not default.card.abilities.chat:
        raise ConfigError(
            f"{default.card.model_id} makes embeddings only and cannot answer",
            hint="name a chat model with --model; headrace models list shows yours",
        )
    if wanted is None:
        _remember(settings.data, default.card.model_id)
    others = [
        each
        for each in library.list()
        if each.card.model_id != default.card.model_id and each.card.abilities.chat
    ]
    served = (default, *others)
    return Served(
        tuple(_place(each, library, settings, estimator.threads, clock) for each in served),
        default.card,
        tuple(each.card for each in served),
        memory_bytes_max,
    )


def _remembered(data: Path) -> str | None:
    try:
        return (data / _CHOSEN_FILE).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _remember(data: Path, model_id: str) -> None:
    (data / _CHOSEN_FILE).write_text(f"{model_id}\n", encoding="utf-8")


def _first_choice(library: Library, estimator: Estimator, *, ask: bool) -> str:
    choice = choose(estimator, have={each.card.digest for each in library.list()})
    if ask:
        return _ask(choice)
    better = choice.balanced
    if better.known.model_id != DEFAULT_MODEL:
        print(
            f"Taking {choice.embedded.known.display_name}; for better answers:"
            f" headrace up --model {better.known.model_id}"
            f" ({size(better.known.bytes)}, {better.known.licence},"
            f" ≈ {rate(better.estimate.speed.decode_tokens_per_s)} tokens/s here)"
        )
    return choice.embedded.known.model_id


def _ask(choice: Choice) -> str:
    offers = choice.distinct()
    rows = [
        (
            str(number),
            offer.known.display_name,
            size(offer.known.bytes),
            offer.known.licence,
            f"≈ {rate(offer.estimate.speed.decode_tokens_per_s)} tokens/s",
            offer.reason,
        )
        for number, offer in enumerate(offers, start=1)
    ]
    print("Which model shall answer? You can change it at any time.\n")
    print(table(("", "model", "download", "licence", "speed here", "why"), rows), "\n")
    while True:
        sys.stdout.write(f"1 to {len(offers)}, Enter takes 1: ")
        sys.stdout.flush()
        answer = sys.stdin.readline().strip() or "1"
        if answer.isdigit() and 1 <= int(answer) <= len(offers):
            return offers[int(answer) - 1].known.model_id


def _place(
    installed: Installed, library: Library, settings: Settings, threads: int, clock: Clock
) -> Place:
    card = installed.card
    model = LlamaModel(
        path=installed.path,
        model=card.model(),
        digest=card.digest,
        special_tokens=card.special_tokens,
        kv_bytes_per_token=card.kv_bytes_per_token,
        sampling=card.sampling,
    )
    options = LlamaOptions(
        threads=threads,
        slots=settings.engine_slots,
        context_tokens=settings.engine_context_tokens,
        batch_tokens=settings.engine_batch_tokens,
    )
    engine = LlamaEngine(model, options, settings.data, clock)
    context_tokens = engine.model.context_tokens
    return Place(
        engine,
        memory_needed(card, context_tokens=context_tokens, slots=options.slots),
        lambda: library.verify(installed),
    )
