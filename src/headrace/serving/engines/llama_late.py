"""Tokens that the child made for nobody: it hears of a hang-up only when a write fails.

What a slot has decoded shows once it has stopped, in the tokens that it holds: those of the
prompt and all that were decoded but the last one, which was never fed back.
"""

import asyncio

import msgspec

from headrace.core.errors import HeadraceError
from headrace.serving.engines.llama_http import LlamaHttp

WAIT_S_MAX = 2.0
_ASK_S_MAX = 1.0
_PAUSE_S, _PAUSE_S_MAX = 0.002, 0.05


class _Slot(msgspec.Struct, frozen=True):
    id: int
    is_processing: bool
    n_prompt_tokens: int = 0


async def decoded(http: LlamaHttp, slot: int, prompt_tokens: int) -> int | None:
    """How many tokens a broken-off completion has decoded, once its slot has stopped.

    Args:
        http: The child.
        slot: The slot, which nobody else may be given meanwhile.
        prompt_tokens: Those of the completion's prompt.

    Returns:
        None if the child does not stop in time, or does not tell.
    """
    pause_s = _PAUSE_S
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            while True:
                told = await http.get("/slots", list[_Slot], timeout_s=_ASK_S_MAX)
                found = next((each for each in told if each.id == slot), None)
                if found is None:
                    return None
                if not found.is_processing:
                    return max(0, found.n_prompt_tokens - prompt_tokens + 1)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_S_MAX)
    except (HeadraceError, TimeoutError):
        return None
