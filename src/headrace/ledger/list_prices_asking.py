"""Asks a child process what upstreams say they charge. Light: clients without a store ask, too."""

import asyncio
import os
import sys

import msgspec

from headrace.core.errors import HeadraceError
from headrace.ledger.list_prices_child import Answer, Question

_CHILD = "headrace.ledger.list_prices_child"
_CHILD_S_MAX = 60.0
_LINE_BYTES_MAX = 16 * 1024 * 1024
# What a child may know of its surroundings: where programs are, and the way to the network.
_PASSED = ("PATH", "PYTHONPATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


async def ask(question: Question) -> Answer:
    """One child, one question.

    Raises:
        HeadraceError: The child failed, or took a minute.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        _CHILD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES_MAX,
        env=_environment(),
        start_new_session=True,  # Ctrl-C is for the control process
    )
    try:
        async with asyncio.timeout(_CHILD_S_MAX):
            said, _ = await process.communicate(msgspec.json.encode(question) + b"\n")
        return msgspec.json.decode(said, type=Answer)
    except (TimeoutError, msgspec.MsgspecError):
        raise HeadraceError("the list prices cannot be read; the log says why") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _environment() -> dict[str, str]:
    names = (*_PASSED, *_PROXIES, *(name.upper() for name in _PROXIES))
    return {name: os.environ[name] for name in names if name in os.environ}
