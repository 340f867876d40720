"""`headrace WORD …`: looks the word up and hands over; imports nothing it does not need."""

import sys

_COMMANDS = {
    "up": ("headrace.up.commands", "serve a model to browsers, SDKs and this terminal"),
    "code": ("headrace.code.commands", "the coding assistant, in this terminal or headless"),
    "ask": ("headrace.agent.commands", "one answer, streamed to the terminal"),
    "models": ("headrace.catalog.commands", "list, pull, show, import and remove models"),
    "keys": ("headrace.identity.commands", "create, list, rotate and revoke API keys"),
    "accounts": ("headrace.identity.account_commands", "people and services, their roles"),
    "teams": ("headrace.identity.team_commands", "what accounts are gathered in"),
    "limits": ("headrace.ledger.limit_commands", "limit requests and tokens per minute and day"),
    "budgets": ("headrace.ledger.budget_commands", "what may be spent per hour, day, month"),
    "prices": ("headrace.ledger.price_commands", "what calls are charged, and upstreams charge"),
    "machines": ("headrace.ledger.machine_commands", "what hardware of our own costs"),
    "ledger": ("headrace.ledger.report_commands", "spending, margins, budgets, books, proofs"),
    "receipts": ("headrace.ledger.commands", "what each model call used and cost"),
    "doctor": ("headrace.doctor", "what this machine can run, what is missing, what to do"),
}


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:]
    word = arguments[0] if arguments else "--help"
    if word in {"--version", "-V"}:
        from headrace.core.version import __version__

        print(f"headrace {__version__}")
        return 0
    if word in {"--help", "-h", "help"}:
        print(_help())
        return 0
    if word not in _COMMANDS:
        print(f"headrace: there is no command {word!r}\n\n{_help()}", file=sys.stderr)
        return 2
    return _run(word, arguments[1:])


def _run(word: str, arguments: list[str]) -> int:
    import importlib

    try:
        return importlib.import_module(_COMMANDS[word][0]).main(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`headrace … | head`): nothing is left to say.
        sys.stderr.close()
        return 141
    except Exception as error:
        # Only now: the errors' own imports would be most of what `code --version` costs.
        from headrace.core.errors import HeadraceError

        if not isinstance(error, HeadraceError):
            raise
        print(f"headrace {word}: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return 1


def _help() -> str:
    commands = "\n".join(f"  {word:<10}{text}" for word, (_, text) in _COMMANDS.items())
    return (
        "headrace: the whole LLM stack on machines you own\n\n"
        f"usage: headrace COMMAND [...]   (headrace COMMAND --help tells more)\n\n{commands}\n\n"
        "  --version, --help"
    )


if __name__ == "__main__":
    sys.exit(main())
