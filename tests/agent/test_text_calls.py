"""Calls written as text in prose of any kind: found exactly, or left as text, in linear time.

`bench/code_faults.py` reads more of them.
"""

import pytest

from support.text_calls import FORMS, check, endless, seconds, written

ANSWERS = 150
"""For each form."""
CHARS, TIMES = 16_000, 4
RATIO_MAX, QUICK_S = 9, 0.15


@pytest.mark.parametrize("form", FORMS)
def test_calls_in_prose_are_found_exactly_and_none_is_invented(form: str):
    assert sum(check(written(form, seed)) for seed in range(ANSWERS)) > ANSWERS // 4


def test_reading_takes_time_as_long_as_the_answer():
    for (name, text), (_, longer) in zip(endless(CHARS), endless(CHARS * TIMES), strict=True):
        long_s = seconds(longer)
        if long_s > QUICK_S:
            short_s = min(seconds(text) for _ in range(2))
            assert min(long_s, seconds(longer)) < RATIO_MAX * short_s, name
