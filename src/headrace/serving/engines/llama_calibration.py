"""Measured speeds of models on this machine, kept in `<data>/engines/calibration.json`.

From the speed of reading prompts follows the batch: llama.cpp notices a hang-up only between
batches, so one batch must not take long, and short batches read slower.
"""

import contextlib
import os
from pathlib import Path

import msgspec

BATCH_TOKENS_FIRST = 64
"""The batch of a first start, before anything is measured."""

_BATCH_S = 0.2
_BATCH_STEP, _BATCH_MAX = 32, 512
_WORTH_WRITING = 0.2
_WEIGHT = 0.25


class Speed(msgspec.Struct, frozen=True):
    """Tokens per second of one stream of a model, at so many threads of an engine version."""

    digest: str
    threads: int
    engine: str
    prefill_tokens_per_s: float
    decode_tokens_per_s: float


class _File(msgspec.Struct, frozen=True):
    speeds: tuple[Speed, ...] = ()
    version: int = 1


def batch_tokens(prefill_tokens_per_s: float) -> int:
    """The largest batch that is read within a fifth of a second, in the limits of reason."""
    steps = int(prefill_tokens_per_s * _BATCH_S / _BATCH_STEP)
    return min(max(steps, 1) * _BATCH_STEP, _BATCH_MAX)


class Calibration:
    """The record of one model at a number of threads and an engine version."""

    def __init__(self, data: Path, digest: str, threads: int, engine: str) -> None:
        self._path = data / "engines" / "calibration.json"
        self._key = (digest, threads, engine)
        self._now = next((each for each in self._read() if _key(each) == self._key), None)
        self._written = self._now

    @property
    def speed(self) -> Speed | None:
        """What was measured last, None before the first time."""
        return self._now

    def measured(self, prefill_tokens_per_s: float | None, decode_tokens_per_s: float) -> None:
        """Take a measurement in; written only where it changes much. None: not measured."""
        held = self._now
        if held is None:
            if prefill_tokens_per_s is None:
                return
            self._now = Speed(*self._key, prefill_tokens_per_s, decode_tokens_per_s)
        else:
            prefill = prefill_tokens_per_s or held.prefill_tokens_per_s
            self._now = msgspec.structs.replace(
                held,
                prefill_tokens_per_s=_blend(held.prefill_tokens_per_s, prefill),
                decode_tokens_per_s=_blend(held.decode_tokens_per_s, decode_tokens_per_s),
            )
        if self._written is None or _differs(self._written, self._now):
            self.write()

    def write(self) -> None:
        """Put the record on disk, whole or not at all; a full disk must stop no answer."""
        if self._now is None or self._now == self._written:
            return
        self._written = self._now
        others = tuple(each for each in self._read() if _key(each) != self._key)
        content = msgspec.json.format(msgspec.json.encode(_File((*others, self._now))))
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            aside = self._path.with_suffix(f".{os.getpid()}.tmp")
            aside.write_bytes(content)
            aside.replace(self._path)

    def _read(self) -> tuple[Speed, ...]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_File).speeds
        except (OSError, msgspec.MsgspecError):
            return ()  # it only saves a measurement


def _key(speed: Speed) -> tuple[str, int, str]:
    return (speed.digest, speed.threads, speed.engine)


def _blend(held: float, new: float) -> float:
    return held + (new - held) * _WEIGHT


def _differs(old: Speed, new: Speed) -> bool:
    pairs = (
        (old.prefill_tokens_per_s, new.prefill_tokens_per_s),
        (old.decode_tokens_per_s, new.decode_tokens_per_s),
    )
    return any(abs(b - a) > _WORTH_WRITING * a for a, b in pairs)
