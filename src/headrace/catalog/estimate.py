"""How much memory a model needs here, how fast it will be, and which one to take.

Speed is estimated from two straight lines, measured with llama.cpp's AVX2 build on one core
(SmolLM2-135M, Qwen2.5-Coder-0.5B and 1.5B; tokens per second of processor time):

- decoding takes 8.9 ms a token and 1 s for each 8.9 GB of weights that a token reads;
- prefill takes 4.1 ms a token and 1 s for each 60 billion parameters it passes through.

They fit the three models within a quarter. Decoding divides by the threads until the memory
bus is full (40 GB/s is assumed). Where the engine has measured an installed model on this
machine, all estimates are scaled by how far that measurement lies from its own estimate.
"""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from headrace.catalog.known import DEFAULT_MODEL, KNOWN, KnownModel
from headrace.catalog.machine import Machine, read_machine

CONTEXT_TOKENS, SLOTS = 4_096, 4
"""What an estimate assumes where nothing is said: the context of one slot, and slots."""

_DECODE_FIXED_S, _DECODE_BYTES_PER_S = 0.0089, 8.9e9
_PREFILL_FIXED_S, _PREFILL_PARAMETERS_PER_S = 0.0041, 60e9
_BUS_BYTES_PER_S = 40e9
_WITHOUT_AVX2 = 0.3
_OVERHEAD_BYTES, _OVERHEAD_SHARE = 350_000_000, 0.05
_SPARE_MEMORY_BYTES = 500_000_000
_FLUENT_TOKENS_PER_S = 10.0
_BEARABLE_TOKENS_PER_S = 2.0
_FACTOR_MIN, _FACTOR_MAX = 0.05, 20.0


class Sized(Protocol):
    """What an estimate needs to know of a model: a card or a known model."""

    @property
    def digest(self) -> str:
        """Of the whole file."""
        ...

    @property
    def bytes(self) -> int:
        """Of the whole file."""
        ...

    @property
    def parameters(self) -> int:
        """All of them."""
        ...

    @property
    def active_parameters(self) -> int:
        """Those one token passes through."""
        ...

    @property
    def context_tokens(self) -> int:
        """The most the model can attend to."""
        ...

    @property
    def kv_bytes_per_token(self) -> int:
        """Of context, at two bytes a number."""
        ...


class Speed(msgspec.Struct, frozen=True):
    """Tokens per second of one stream."""

    prefill_tokens_per_s: float
    decode_tokens_per_s: float


class Estimate(msgspec.Struct, frozen=True):
    """Of one model on one machine; `measured` if its speed was measured here, not derived."""

    memory_bytes: int
    speed: Speed
    fits: bool
    measured: bool = False


class Offer(msgspec.Struct, frozen=True):
    """A model to choose, what is expected of it here, and why it is offered."""

    known: KnownModel
    estimate: Estimate
    reason: str


class Choice(msgspec.Struct, frozen=True):
    """Three offers, distinct where the machine allows; `balanced` is the one to take."""

    embedded: Offer
    balanced: Offer
    best: Offer

    def distinct(self) -> tuple[Offer, ...]:
        """The offers without repetition, the embedded one first."""
        offers = (self.embedded, self.balanced, self.best)
        return tuple({offer.known.model_id: offer for offer in reversed(offers)}.values())[::-1]


def default_threads(machine: Machine) -> int:
    """All physical cores but one, which stays for everything else."""
    return max(1, machine.cores - 1)


def memory_needed(model: Sized, *, context_tokens: int = CONTEXT_TOKENS, slots: int = SLOTS) -> int:
    """Bytes for the weights, the context of all slots, and what the engine needs besides."""
    context = min(context_tokens, model.context_tokens) * slots * model.kv_bytes_per_token
    return int(model.bytes * (1 + _OVERHEAD_SHARE)) + context + _OVERHEAD_BYTES


class Estimator:
    """Estimates for one machine, scaled by what the engine has measured on it.

    Args:
        machine: The machine.
        threads: Those of the engine; default `default_threads`.
        measured: Speeds by digest, at those threads.
        installed: The models those digests may belong to.
    """

    def __init__(
        self,
        machine: Machine,
        threads: int | None = None,
        measured: Mapping[str, Speed] | None = None,
        installed: Iterable[Sized] = (),
    ) -> None:
        self.machine = machine
        self.threads = threads or default_threads(machine)
        self._measured = measured or {}
        self._anchors = [model for model in installed if model.digest in self._measured]

    def estimate(
        self, model: Sized, *, context_tokens: int = CONTEXT_TOKENS, slots: int = SLOTS
    ) -> Estimate:
        """Memory and speed of a model, and whether it fits the memory that is free now."""
        need = memory_needed(model, context_tokens=context_tokens, slots=slots)
        fits = need + _SPARE_MEMORY_BYTES <= self.machine.memory_available_bytes
        measured = self._measured.get(model.digest)
        if measured is not None:
            return Estimate(need, measured, fits, measured=True)
        return Estimate(need, self._scaled(model), fits)

    def _scaled(self, model: Sized) -> Speed:
        derived = self._derived(model)
        if not self._anchors:
            return derived
        # Of several measured models the one of the most similar size says most.
        size = _active_bytes(model)
        anchor = min(self._anchors, key=lambda each: abs(math.log(_active_bytes(each) / size)))
        known, guessed = self._measured[anchor.digest], self._derived(anchor)
        return Speed(
            derived.prefill_tokens_per_s
            * _factor(known.prefill_tokens_per_s, guessed.prefill_tokens_per_s),
            derived.decode_tokens_per_s
            * _factor(known.decode_tokens_per_s, guessed.decode_tokens_per_s),
        )

    def _derived(self, model: Sized) -> Speed:
        per_core = _WITHOUT_AVX2 if self._is_slow() else 1.0
        active_bytes = _active_bytes(model)
        decode_s = _DECODE_FIXED_S + active_bytes / _DECODE_BYTES_PER_S
        prefill_s = _PREFILL_FIXED_S + model.active_parameters / _PREFILL_PARAMETERS_PER_S
        power = per_core * self.threads
        return Speed(power / prefill_s, min(power / decode_s, _BUS_BYTES_PER_S / active_bytes))

    def _is_slow(self) -> bool:
        x86 = self.machine.architecture.lower() in {"x86_64", "amd64", "i686"}
        return x86 and "AVX2" not in self.machine.features


def estimator_here(
    data: Path, threads: int | None = None, installed: Iterable[Sized] = ()
) -> Estimator:
    """An estimator for this machine, with what its engine has measured."""
    machine = read_machine(data)
    threads = threads or default_threads(machine)
    return Estimator(machine, threads, read_calibration(data, threads), installed)


def choose(
    estimator: Estimator, models: Sequence[KnownModel] = KNOWN, *, have: Container[str] = ()
) -> Choice:
    """The embedded model, a balanced one and the best that fits.

    Balanced is the best that decodes at reading speed, best the best that decodes at a
    bearable one; both fit the free memory, and the free disk unless `have` names their digest.
    """
    estimates = {known.model_id: estimator.estimate(known) for known in models}
    by_quality = sorted(models, key=lambda known: known.quality)
    embedded = next(known for known in by_quality if known.model_id == DEFAULT_MODEL)

    def fitting(tokens_per_s: float) -> list[KnownModel]:
        return [
            known
            for known in by_quality
            if known.abilities.chat
            and known is not embedded
            and estimates[known.model_id].fits
            and estimates[known.model_id].speed.decode_tokens_per_s >= tokens_per_s
            and (known.digest in have or known.bytes < estimator.machine.disk_free_bytes)
        ]

    bearable = fitting(_BEARABLE_TOKENS_PER_S)
    best = bearable[-1] if bearable else embedded
    fluent = [known for known in fitting(_FLUENT_TOKENS_PER_S) if known is not best]
    slower = [known for known in bearable if known is not best]
    balanced = (fluent or slower[:1] or [best])[-1]

    def offer(known: KnownModel, reason: str) -> Offer:
        return Offer(known, estimates[known.model_id], reason)

    free_gb = estimator.machine.memory_available_bytes / 1e9
    return Choice(
        offer(embedded, "smallest and at once, from the Python package index, no account"),
        offer(balanced, _balanced_reason(estimates[balanced.model_id])),
        offer(best, f"the best that fits the {free_gb:.0f} GB of free memory"),
    )


def _balanced_reason(estimate: Estimate) -> str:
    if estimate.speed.decode_tokens_per_s >= _FLUENT_TOKENS_PER_S:
        return "better answers, still at reading speed on this machine"
    return "better answers, slower than one reads on this machine"


def _active_bytes(model: Sized) -> float:
    """Bytes of weights that one token reads."""
    return max(1.0, model.bytes * model.active_parameters / max(1, model.parameters))


def _factor(measured: float, derived: float) -> float:
    return min(_FACTOR_MAX, max(_FACTOR_MIN, measured / derived))


class _Calibrated(msgspec.Struct, frozen=True):
    digest: str
    threads: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float


class _Calibration(msgspec.Struct, frozen=True):
    speeds: tuple[_Calibrated, ...] = ()


def read_calibration(data: Path, threads: int) -> dict[str, Speed]:
    """The speeds that the engine measured at that many threads, by digest; none if unreadable."""
    path = data / "engines" / "calibration.json"
    try:
        calibration = msgspec.json.decode(path.read_bytes(), type=_Calibration)
    except (OSError, msgspec.MsgspecError):
        return {}
    return {
        each.digest: Speed(each.prefill_tokens_per_s, each.decode_tokens_per_s)
        for each in calibration.speeds
        if each.threads == threads
        and each.prefill_tokens_per_s > 0
        and each.decode_tokens_per_s > 0
    }
