import asyncio

import pytest

from headrace.core.errors import InvalidRequest, Overloaded
from headrace.identity.passwords import Passwords, check_password

GOOD = "seven lamps burn in the harbour"


async def test_a_password_is_known_again_and_no_other():
    passwords = Passwords(memory_kib=1024)
    kept = await passwords.hash(GOOD)
    assert kept.startswith("$argon2id$")
    assert GOOD not in kept
    assert kept != await passwords.hash(GOOD)
    assert (await passwords.verify(kept, GOOD)).is_right
    for wrong in ("", GOOD + " ", GOOD.upper(), "x" * 10_000, "\udcff"[:0]):
        assert not (await passwords.verify(kept, wrong)).is_right
    passwords.close()


async def test_nobodys_password_is_never_right():
    passwords = Passwords(memory_kib=1024)
    for guess in ("nobody's", "", GOOD):
        assert not (await passwords.verify(None, guess)).is_right
    assert not (await passwords.verify("no hash", GOOD)).is_right
    passwords.close()


async def test_nobody_takes_as_long_as_somebody(monkeypatch: pytest.MonkeyPatch):
    """Not timed: as much is hashed for an address that nobody has."""
    import argon2.low_level  # noqa: PLC0415 - what is counted

    count = 0
    verify = argon2.low_level.verify_secret

    def counted(*args: object) -> bool:
        nonlocal count
        count += 1
        return verify(*args)  # pyright: ignore[reportArgumentType] - passed on as given

    monkeypatch.setattr("argon2._password_hasher.verify_secret", counted)
    passwords = Passwords(memory_kib=1024)
    kept = await passwords.hash(GOOD)
    for each in (kept, None):
        await passwords.verify(each, "wrong words in here")
    assert count == 2
    passwords.close()


async def test_a_hash_of_other_parameters_is_renewed():
    old = Passwords(memory_kib=512, rounds=2)
    kept = await old.hash(GOOD)
    new = Passwords(memory_kib=1024)
    verdict = await new.verify(kept, GOOD)
    assert verdict.is_right
    assert verdict.new_hash is not None
    again = await new.verify(verdict.new_hash, GOOD)
    assert (again.is_right, again.new_hash) == (True, None)
    assert (await new.verify(kept, "wrong words in here")).new_hash is None
    for each in (old, new):
        each.close()


async def test_parallel_sign_ins_are_bounded():
    passwords = Passwords(memory_kib=8192)
    results = await asyncio.gather(
        *(passwords.verify(None, GOOD) for _ in range(100)), return_exceptions=True
    )
    refused = [each for each in results if isinstance(each, Overloaded)]
    assert len(refused) == 100 - 32
    assert not (await passwords.verify(None, GOOD)).is_right  # room again
    passwords.close()


async def test_who_hangs_up_still_counts_until_the_thread_is_done():
    passwords = Passwords(memory_kib=8192)
    tasks = [asyncio.create_task(passwords.verify(None, GOOD)) for _ in range(32)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(Overloaded):
        await passwords.verify(None, GOOD)
    await asyncio.to_thread(passwords.close)


@pytest.mark.parametrize(
    ("password", "word"),
    [
        ("", "12 to"),
        ("short words", "12 to"),
        ("x" * 513, "12 to"),
        ("aaaaaaaaaaaabbbb", "different"),
        ("ada@example.org", "name or address"),
        ("AdaLovelace1815", "name or address"),
        ("lovelace-ada-ada", "name or address"),
        ("example.org.example", "name or address"),
        ("tabs\tand\tmore words", "printable"),
    ],
)
def test_passwords_that_are_guessed_easily_are_refused(password: str, word: str):
    with pytest.raises(InvalidRequest, match=word):
        check_password(password, email="ada@example.org", name="Ada Lovelace")


@pytest.mark.parametrize(
    "password", [GOOD, "ada counts the engine's wheels", "пароль из слов", "🔑" * 3 + "nine keys"]
)
def test_good_ones_are_taken(password: str):
    check_password(password, email="ada@example.org", name="Ada Lovelace")
