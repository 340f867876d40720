# Everyday commands. `just` alone lists them.
# uv is taken from where the README's command puts it, or from the PATH.
export PATH := justfile_directory() / ".uv/bin" + ":" + env("PATH")

_default:
    @just --list

# Lint, types, import contracts, web client
check:
    uv run --extra dev ruff check && uv run --extra dev ruff format --check && uv run --extra dev pyright && uv run --extra dev lint-imports && cd web && npm run check

# All tests
test *ARGS:
    uv run --extra dev pytest {{ARGS}}

# Benchmarks against peers, each prints a table
bench:
    for program in bench/*.py; do uv run --extra dev python "$program"; done

# Write the generated reference pages anew
docs:
    uv run --extra dev python docs/generate.py

# Serve the default model
up *ARGS:
    uv run headrace up {{ARGS}}
