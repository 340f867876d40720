from pathlib import Path

import msgspec
import pytest

from headrace.catalog.estimate import (
    Estimator,
    Speed,
    choose,
    default_threads,
    memory_needed,
    read_calibration,
)
from headrace.catalog.known import DEFAULT_MODEL, KNOWN, KnownModel, find_known
from headrace.catalog.machine import Machine, read_machine

_GB = 10**9
LAPTOP = Machine(
    system="Linux",
    architecture="x86_64",
    processor="Test",
    features=("AVX2",),
    cores=2,
    memory_bytes=16 * _GB,
    memory_available_bytes=12 * _GB,
    disk_free_bytes=100 * _GB,
    gpus=(),
)


def _known(model_id: str) -> KnownModel:
    known = find_known(model_id)
    assert known is not None
    return known


@pytest.mark.parametrize(
    ("model_id", "prefill", "decode"),
    [
        ("smollm2-135m-instruct", 158, 50),
        ("qwen2.5-coder-0.5b-instruct", 70, 12.4),
        ("qwen2.5-coder-1.5b-instruct", 33.5, 7.4),
    ],
)
def test_one_core_is_estimated_within_a_third_of_what_was_measured(
    model_id: str, prefill: float, decode: float
):
    speed = Estimator(LAPTOP).estimate(_known(model_id)).speed
    assert speed.prefill_tokens_per_s == pytest.approx(prefill, rel=0.33)
    assert speed.decode_tokens_per_s == pytest.approx(decode, rel=0.33)


def test_a_mixture_of_experts_is_faster_than_a_dense_model_of_its_size():
    estimator = Estimator(LAPTOP)
    mixture = estimator.estimate(_known("qwen3-coder-30b-a3b-instruct")).speed
    dense = estimator.estimate(_known("qwen2.5-coder-14b-instruct")).speed
    assert mixture.decode_tokens_per_s > 3 * dense.decode_tokens_per_s


def test_more_threads_help_until_the_memory_is_the_limit():
    model = _known("qwen3-8b")
    two, four, many = (
        Estimator(LAPTOP, threads).estimate(model).speed.decode_tokens_per_s
        for threads in (2, 4, 64)
    )
    assert four == pytest.approx(2 * two)
    assert many == pytest.approx(40e9 / model.bytes)


def test_without_avx2_it_is_slow():
    model = _known(DEFAULT_MODEL)
    old = Estimator(msgspec.structs.replace(LAPTOP, features=())).estimate(model).speed
    arm = msgspec.structs.replace(LAPTOP, features=("NEON",), architecture="aarch64")
    usual = Estimator(LAPTOP).estimate(model).speed
    assert old.decode_tokens_per_s < 0.5 * usual.decode_tokens_per_s
    assert Estimator(arm).estimate(model).speed == usual


def test_a_measured_model_is_shown_as_measured_and_scales_the_others():
    small, large = _known(DEFAULT_MODEL), _known("qwen3-8b")
    usual = Estimator(LAPTOP).estimate
    measured = Speed(
        usual(small).speed.prefill_tokens_per_s * 2, usual(small).speed.decode_tokens_per_s / 2
    )
    estimator = Estimator(LAPTOP, None, {small.digest: measured}, [small])
    assert estimator.estimate(small).speed == measured
    assert estimator.estimate(small).measured
    scaled = estimator.estimate(large)
    assert not scaled.measured
    assert scaled.speed.prefill_tokens_per_s == pytest.approx(
        2 * usual(large).speed.prefill_tokens_per_s
    )
    assert scaled.speed.decode_tokens_per_s == pytest.approx(
        usual(large).speed.decode_tokens_per_s / 2
    )


def test_memory_grows_with_context_and_slots_up_to_what_the_model_attends_to():
    model = _known(DEFAULT_MODEL)
    one = memory_needed(model, context_tokens=1_024, slots=1)
    assert memory_needed(model, context_tokens=1_024, slots=3) - one == 2 * 1_024 * 23_040
    assert memory_needed(model, context_tokens=1 << 20, slots=1) == memory_needed(
        model, context_tokens=8_192, slots=1
    )


class TestChoose:
    def test_three_distinct_offers_where_there_is_room(self):
        choice = choose(Estimator(LAPTOP))
        offers = choice.distinct()
        assert offers[0].known.model_id == DEFAULT_MODEL
        assert len(offers) == 3
        assert choice.embedded.known.quality < choice.balanced.known.quality
        assert choice.balanced.known.quality < choice.best.known.quality
        assert all(offer.estimate.fits and offer.reason for offer in offers)
        assert choice.balanced.estimate.speed.decode_tokens_per_s >= 10

    @pytest.mark.parametrize("memory_gb", [0, 1, 2, 3, 4, 8, 16, 32, 64])
    @pytest.mark.parametrize("cores", [1, 2, 8, 64])
    def test_every_machine_gets_an_offer_that_fits_it(self, memory_gb: int, cores: int):
        machine = msgspec.structs.replace(
            LAPTOP, cores=cores, memory_available_bytes=memory_gb * _GB
        )
        choice = choose(Estimator(machine))
        assert choice.embedded.known.model_id == DEFAULT_MODEL
        for offer in choice.distinct()[1:]:
            assert offer.estimate.fits
            assert offer.known.abilities.chat
        assert choice.balanced.known.quality <= choice.best.known.quality

    def test_a_full_disk_allows_only_what_is_there_already(self):
        machine = msgspec.structs.replace(LAPTOP, disk_free_bytes=_GB // 10)
        assert len(choose(Estimator(machine)).distinct()) == 1
        here = _known("qwen3-4b")
        choice = choose(Estimator(machine), have={here.digest})
        assert choice.best.known is here

    def test_a_small_machine_is_left_with_the_embedded_model(self):
        machine = msgspec.structs.replace(LAPTOP, memory_available_bytes=0)
        choice = choose(Estimator(machine), KNOWN)
        assert [offer.known.model_id for offer in choice.distinct()] == [DEFAULT_MODEL]


def test_this_machine_can_be_read(tmp_path: Path):
    machine = read_machine(tmp_path / "not" / "yet" / "there")
    assert machine.cores >= 1
    assert 0 < machine.memory_available_bytes <= machine.memory_bytes
    assert machine.disk_free_bytes > 0
    assert machine.processor
    assert 1 <= default_threads(machine) <= machine.cores


class TestCalibration:
    def test_speeds_of_the_same_threads_count(self, tmp_path: Path):
        (tmp_path / "engines").mkdir()
        speed = {"prefill_tokens_per_s": 100.0, "decode_tokens_per_s": 50.0}
        speeds = [
            {"digest": "sha256:a", "threads": 1, **speed},
            {"digest": "sha256:b", "threads": 2, **speed},
            {"digest": "sha256:c", "threads": 1, **speed, "decode_tokens_per_s": 0.0},
        ]
        path = tmp_path / "engines" / "calibration.json"
        path.write_bytes(msgspec.json.encode({"version": 1, "speeds": speeds}))
        assert read_calibration(tmp_path, 1) == {"sha256:a": Speed(100.0, 50.0)}

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"speeds": [{}]}'])
    def test_what_cannot_be_read_counts_for_nothing(self, tmp_path: Path, text: str):
        (tmp_path / "engines").mkdir()
        (tmp_path / "engines" / "calibration.json").write_text(text)
        assert read_calibration(tmp_path, 1) == {}

    def test_no_file_is_no_matter(self, tmp_path: Path):
        assert read_calibration(tmp_path, 1) == {}
