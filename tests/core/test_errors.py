import pytest

from headrace.core import errors


@pytest.mark.parametrize("kind", ["context_too_long", "overloaded", "engine_failed", "conflict"])
def test_an_error_is_found_again_by_its_kind(kind: str):
    made = errors.of_kind(kind, "words", retry_after_s=3)
    assert made.kind == kind
    assert made.message == "words"
    if isinstance(made, errors.Retryable):
        assert made.retry_after_s == 3


def test_an_unknown_kind_becomes_the_root():
    assert type(errors.of_kind("from_the_future", "words")) is errors.HeadraceError
