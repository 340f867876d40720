"""`headrace code`: the coding assistant, on a screen, headless, and what is around it."""

import sys

_DONE, _FAILED, _WRONG = 0, 1, 2
_WORDS = ("replay", "sessions", "trust")

_HELP = """\
usage: headrace code [PROMPT] [FLAGS]
       headrace code replay | sessions | trust [...]

The coding assistant, for any model. Without -p it opens a screen in the terminal and begins with
PROMPT. What is piped in stands behind PROMPT.

positional arguments:
  WORD
    replay              run a kept session again, offline, from what it recorded
    sessions            list the sessions of this folder
    trust               show what this folder brings that would run, and trust it

headless:
  -p, --print           print the answer and leave; nobody is asked
  --output-format F     text, json (one object at the end) or stream-json (one object a line)
  --input-format F      text, or stream-json: messages and control requests, one object a line
  --include-partial-messages  with stream-json: the answer's pieces as they come
  --replay-user-messages  with stream-json: say again what was said on the input
  --permission-prompt-tool stdio  with stream-json: ask the program at the other end
  --json-schema JSON    a JSON Schema that the answer must fit; it is asked again until it does
  --max-turns N         end after so many answers of the model
  --max-budget-usd USD  end before more is spent
  --trust HASH          trust the folder in exactly this state, `headrace code trust` tells it
  --verbose             tell each step on stderr

sessions:
  -c, --continue        go on with the newest session of this folder
  -r, --resume [ID]     go on with a session; without ID one is chosen from a list
  --fork-session        go on in a copy, and leave the session as it is
  --session-id UUID     the id of the new session
  -w, --worktree [NAME]  work in a git worktree of its own

permissions:
  --permission-mode M   default (or manual), acceptEdits, plan, dontAsk, bypassPermissions
  --allowedTools RULES  rules that need no asking, such as "Bash(git diff:*) Edit(src/**)"
  --allowed-tools RULES  the same
  --disallowedTools RULES  rules of what may never happen
  --disallowed-tools RULES  the same
  --tools NAMES         offer the model these tools only
  --guided on|off       whether the assistant does the looking; on for models below 3B
  --add-dir FOLDER...   folders besides this one that may be worked in
  --dangerously-skip-permissions  ask nothing; the sandbox stays on
  --yolo                the same

the model:
  --model NAME          which model; default the first one that is served
  --endpoint URL        any server of the APIs of Anthropic or OpenAI; default our own
  --dialect D           what it speaks: anthropic, openai_chat or openai_responses
  --profile-model       measure the model with real calls, and keep its profile
  --system-prompt TEXT  instead of ours
  --append-system-prompt TEXT  behind ours

  --data FOLDER         where everything is kept
  -v, --version         print the version
  -h, --help            show this

exit code: 0 done; 1 not done, and the result says why; 2 the command line is wrong;
130 or 143 stopped by Ctrl-C or SIGTERM."""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    word = arguments[0] if arguments else ""
    if word in {"--version", "-v", "-V"}:
        from headrace.core.version import __version__  # noqa: PLC0415 - a start counts each ms

        # The number first: programs that drive Claude Code read it so.
        print(f"{__version__} (headrace code)")
        return _DONE
    if word in _WORDS:
        from headrace.code import side_commands  # noqa: PLC0415 - a start loads only what it runs

        return side_commands.run(word, arguments[1:])
    if {"--help", "-h"} & set(arguments):
        print(_HELP)
        return _DONE
    return _work(arguments)


def _work(arguments: list[str]) -> int:
    # Late, all of them: `--version` costs next to nothing, and each face loads its own.
    from headrace.code.flags import parse  # noqa: PLC0415
    from headrace.core.errors import InvalidRequest  # noqa: PLC0415

    try:
        flags = parse(arguments)
    except InvalidRequest as error:
        print(f"headrace code: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return _WRONG
    if flags.profile_model:
        from headrace.code import self_test  # noqa: PLC0415

        return self_test.main(flags)
    if not flags.headless and sys.stdin.isatty() and sys.stdout.isatty():
        from headrace.code import interactive  # noqa: PLC0415

        return interactive.main(flags)
    from headrace.code import headless  # noqa: PLC0415

    return headless.main(flags)
