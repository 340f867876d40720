"""`headrace models list|pull|show|import|rm`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headrace.catalog.library import Installed, Library
from headrace.catalog.tables import plain, rate, show_progress, size, table
from headrace.config.settings import Settings, load_settings
from headrace.core.clock import SystemClock
from headrace.core.models import Abilities

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from headrace.catalog.estimate import Estimator

_INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Run `headrace models …`; returns the exit code.

    Raises:
        HeadraceError: It cannot be done; the text says why and what to do.
    """
    options = parser().parse_args(arguments)
    settings = load_settings({"data": options.data})
    try:
        return options.run(settings, Library(settings.data), options)
    except KeyboardInterrupt:
        if options.command == "pull":
            print("\ninterrupted; the same command continues the download", file=sys.stderr)
        return _INTERRUPTED


def parser() -> "ArgumentParser":
    """The command's arguments, for itself and for what checks the documentation."""
    import argparse  # noqa: PLC0415 - not needed by those who import the tables

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", metavar="FOLDER", help="data folder (HEADRACE_DATA)")
    words = argparse.ArgumentParser(
        prog="headrace models", description="Models: list, pull, show, import and remove them."
    )
    actions = words.add_subparsers(dest="command", required=True, metavar="ACTION")

    action = actions.add_parser("list", parents=[common], help="installed models")
    action.add_argument("--available", action="store_true", help="what could be pulled, too")
    action.add_argument("--json", action="store_true", help="for programs")
    action.set_defaults(run=_list)

    action = actions.add_parser("pull", parents=[common], help="fetch and verify a model")
    action.add_argument("source", metavar="SOURCE|ID", help="a known model or a source")
    action.add_argument("--name", metavar="ID", help="name to install it under")
    action.add_argument("--yes", action="store_true", help="do not ask")
    action.set_defaults(run=_pull)

    action = actions.add_parser("show", parents=[common], help="the card of an installed model")
    action.add_argument("model", metavar="ID")
    action.add_argument("--json", action="store_true", help="for programs")
    action.set_defaults(run=_show)

    action = actions.add_parser("import", parents=[common], help="install a GGUF file")
    action.add_argument("path", metavar="PATH", type=Path)
    action.add_argument("--name", metavar="ID", help="name to install it under")
    action.set_defaults(run=_import)

    action = actions.add_parser("rm", parents=[common], help="remove an installed model")
    action.add_argument("model", metavar="ID")
    action.add_argument("--force", action="store_true", help="even while it is in use")
    action.set_defaults(run=_remove)
    return words


def _list(settings: Settings, library: Library, options: "Namespace") -> int:
    installed, damaged = library.list(), library.damaged()
    if options.json:
        cards = [msgspec.structs.asdict(each.card) for each in installed]
        shown: dict[str, object] = {"installed": cards}
        if options.available:
            shown["available"] = _available(settings, installed)
        print(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
        return 0
    if installed:
        print(_installed_table(installed))
    else:
        print("no models are installed; see: headrace models list --available")
    for error in damaged:
        print(f"\ndamaged: {error.message}\n  {error.hint}")
    if options.available:
        print(f"\n{_available_text(settings, installed)}")
    return 0


def _installed_table(installed: tuple[Installed, ...]) -> str:
    rows = [
        (
            card.model_id,
            size(card.bytes),
            plain(card.quantisation),
            f"{card.context_tokens:,}",
            plain(card.licence),
            _abilities(card.abilities),
            card.digest[7:19],
        )
        for card in (each.card for each in installed)
    ]
    return table(("MODEL", "SIZE", "QUANT", "CONTEXT", "LICENCE", "ABILITIES", "SHA-256"), rows)


def _abilities(abilities: Abilities) -> str:
    return " ".join(name for name, able in msgspec.structs.asdict(abilities).items() if able)


def _estimator(settings: Settings, installed: tuple[Installed, ...]) -> "Estimator":
    from headrace.catalog.estimate import (  # noqa: PLC0415 - only for what could be pulled
        estimator_here,
    )

    cards = [each.card for each in installed]
    return estimator_here(settings.data, settings.engine_threads, cards)


def _available(settings: Settings, installed: tuple[Installed, ...]) -> dict[str, object]:
    from headrace.catalog.estimate import choose  # noqa: PLC0415 - only for what could be pulled
    from headrace.catalog.known import KNOWN  # noqa: PLC0415 - likewise

    estimator = _estimator(settings, installed)
    choice = choose(estimator, have={each.card.digest for each in installed})
    return {
        "machine": estimator.machine,
        "threads": estimator.threads,
        "models": [{"model": known, "estimate": estimator.estimate(known)} for known in KNOWN],
        "choice": {
            "embedded": choice.embedded.known.model_id,
            "balanced": choice.balanced.known.model_id,
            "best": choice.best.known.model_id,
        },
    }


def _available_text(settings: Settings, installed: tuple[Installed, ...]) -> str:
    from headrace.catalog.estimate import choose  # noqa: PLC0415 - only for what could be pulled

    estimator = _estimator(settings, installed)
    present = {each.card.digest for each in installed}
    choice = choose(estimator, have=present)
    taken = choice.balanced
    others = [
        f"Or {offer.known.model_id}: {offer.reason}."
        for offer in choice.distinct()
        if offer.known is not taken.known
    ]
    lines = [
        _machine_text(estimator),
        _available_table(estimator, present),
        f"Headrace would choose {taken.known.model_id}: {taken.reason}.",
        *others,
        f"Take it with: headrace models pull {taken.known.model_id}",
    ]
    return "\n".join(lines)


def _machine_text(estimator: "Estimator") -> str:
    machine = estimator.machine
    return (
        f"This machine: {plain(machine.processor)}, {machine.cores} cores"
        f" ({' '.join(machine.features) or 'no vector extensions known'}),"
        f" {size(machine.memory_available_bytes)} of {size(machine.memory_bytes)} memory free,"
        f" {size(machine.disk_free_bytes)} disk free.\n"
        f"Speeds are tokens a second of one answer with {estimator.threads}"
        f" thread{'s' if estimator.threads > 1 else ''}; ≈ is an estimate.\n"
    )


def _available_table(estimator: "Estimator", present: set[str]) -> str:
    from headrace.catalog.known import KNOWN  # noqa: PLC0415 - only for what could be pulled

    rows: list[tuple[str, ...]] = []
    for known in KNOWN:
        estimate = estimator.estimate(known)
        state = "installed" if known.digest in present else "fits"
        about = "" if estimate.measured else "≈ "
        rows.append(
            (
                known.model_id,
                size(known.bytes),
                known.licence,
                f"≈ {size(estimate.memory_bytes)}",
                f"{about}{rate(estimate.speed.decode_tokens_per_s)}/s",
                state if estimate.fits else "does not fit",
                known.note,
            )
        )
    head = ("MODEL", "SIZE", "LICENCE", "MEMORY", "SPEED", "STATE", "WHAT FOR")
    return f"{table(head, rows)}\n"


def _pull(settings: Settings, library: Library, options: "Namespace") -> int:
    if not options.yes and sys.stdin.isatty() and not _agreed(settings, library, options.source):
        return 1
    installed = library.pull(options.source, name=options.name, progress=show_progress())
    return _installed(settings, installed)


def _agreed(settings: Settings, library: Library, source: str) -> bool:
    """Ask before a known model that does not fit this machine is fetched."""
    from headrace.catalog.known import find_known  # noqa: PLC0415 - only on a terminal

    known = find_known(source)
    if known is None:
        return True
    estimate = _estimator(settings, library.list()).estimate(known)
    if estimate.fits:
        return True
    print(
        f"{known.model_id} needs ≈ {size(estimate.memory_bytes)} of memory,"
        " more than is free on this machine."
    )
    return input("Fetch it all the same? [y/N] ").strip().lower() in {"y", "yes"}


def _import(settings: Settings, library: Library, options: "Namespace") -> int:
    installed = library.import_file(options.path, name=options.name, progress=show_progress())
    return _installed(settings, installed)


def _installed(settings: Settings, installed: Installed) -> int:
    _adopt(settings, installed)
    card = installed.card
    served = f"serve it with: headrace up --model {card.model_id}"
    if not card.abilities.chat:
        served = "it makes embeddings; headrace up serves it beside a chat model when next started"
    print(
        f"{card.model_id} is installed: {plain(card.display_name)}, {size(card.bytes)}"
        f" {plain(card.quantisation)}, {plain(card.licence)}\n{card.digest}\n{served}"
    )
    return 0


def _adopt(settings: Settings, installed: Installed) -> None:
    """Write the model's release."""
    from headrace.catalog.release import adopt  # noqa: PLC0415 - the database only when needed
    from headrace.store.database import Database  # noqa: PLC0415 - likewise
    from headrace.store.home import bootstrap  # noqa: PLC0415 - likewise

    clock = SystemClock()
    database = Database.at(settings.data, settings.database_url)
    try:
        database.migrate(clock)
        database.write_now(
            lambda connection: adopt(
                connection, bootstrap(connection, clock).owner, installed.card, clock
            )
        )
    finally:
        database.close()


def _show(_settings: Settings, library: Library, options: "Namespace") -> int:
    installed = library.get(options.model)
    card = installed.card
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(card), indent=2).decode())
        return 0
    lines = {
        "model": card.model_id,
        "name": card.display_name,
        "licence": card.licence
        if card.licence_url is None
        else f"{card.licence}  {card.licence_url}",
        "source": card.source,
        "file": str(installed.path),
        "digest": card.digest,
        "size": f"{size(card.bytes)} ({card.bytes:,} bytes), {card.quantisation}",
        "parameters": _parameters(card.parameters, card.active_parameters),
        "architecture": card.architecture,
        "context": f"{card.context_tokens:,} tokens, {card.kv_bytes_per_token:,} bytes each",
        "abilities": _abilities(card.abilities),
        "template": card.chat_template_digest or "none",
        "special tokens": str(len(card.special_tokens)),
    }
    print("\n".join(f"{name:<16}{plain(text)}" for name, text in lines.items()))
    return 0


def _parameters(count: int, active: int) -> str:
    shown = f"{count:,}"
    return shown if active == count else f"{shown}, of which a token uses {active:,}"


def _remove(_settings: Settings, library: Library, options: "Namespace") -> int:
    library.remove(options.model, force=options.force)
    print(f"{options.model} is removed")
    return 0
