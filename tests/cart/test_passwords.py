import unicodedata
from datetime import timedelta

import pytest
from argon2 import PasswordHasher, extract_parameters
from hypothesis import given
from hypothesis import strategies as st

from cart.errors import AccountDetailsRefused, TooManyAttempts
from cart.passwords import LONGEST, SHORTEST, Argon2Cost, Passwords, Throttle
from tests.cart.people import CHEAP_PASSWORDS, START, ascii_start

WINDOW = timedelta(minutes=15)
SECOND = timedelta(seconds=1)


def test_hashes_are_argon2id_at_what_owasp_recommends() -> None:
    assert Passwords().hash("correct horse").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_two_hashes_of_one_password_differ_and_both_verify() -> None:
    one, two = CHEAP_PASSWORDS.hash("correct horse"), CHEAP_PASSWORDS.hash("correct horse")
    assert one != two
    assert CHEAP_PASSWORDS.verify(one, "correct horse")
    assert CHEAP_PASSWORDS.verify(two, "correct horse")


@given(
    st.text(st.characters(codec="utf-8"), min_size=SHORTEST, max_size=LONGEST).filter(
        lambda text: SHORTEST <= len(unicodedata.normalize("NFKC", text)) <= LONGEST
    ),
    st.text(max_size=40),
)
def test_a_hash_verifies_its_password_and_no_other(password: str, other: str) -> None:
    argon2_hash = CHEAP_PASSWORDS.hash(password)
    assert CHEAP_PASSWORDS.verify(argon2_hash, password)
    same = unicodedata.normalize("NFKC", other) == unicodedata.normalize("NFKC", password)
    assert CHEAP_PASSWORDS.verify(argon2_hash, other) is same
    assert not CHEAP_PASSWORDS.verify(argon2_hash, password + "x")


def test_a_password_does_not_depend_on_how_a_keyboard_composes_its_letters() -> None:
    assert CHEAP_PASSWORDS.verify(CHEAP_PASSWORDS.hash("caf\u00e9 au lait"), "cafe\u0301 au lait")


@pytest.mark.parametrize("length", [SHORTEST, LONGEST])
def test_passwords_of_the_extreme_lengths_are_accepted(length: int) -> None:
    assert CHEAP_PASSWORDS.verify(CHEAP_PASSWORDS.hash("\u05d0" * length), "\u05d0" * length)


@pytest.mark.parametrize("password", ["", "a" * (SHORTEST - 1), "a" * (LONGEST + 1), "\ufb03" * 60, "half \ud83d pair"])
def test_a_password_that_is_too_short_or_too_long_or_no_text_is_refused(password: str) -> None:
    with pytest.raises(AccountDetailsRefused, match="password"):
        CHEAP_PASSWORDS.hash(password)


@pytest.mark.parametrize("typed", ["", "half \ud83d pair", "x" * 1_000_000], ids=ascii_start)
def test_whatever_is_typed_is_merely_wrong(typed: str) -> None:
    assert not CHEAP_PASSWORDS.verify(CHEAP_PASSWORDS.hash("correct horse"), typed)
    assert not CHEAP_PASSWORDS.verify(None, typed)


def test_no_password_is_right_for_nobody_not_even_the_one_behind_the_hash_that_is_verified_instead() -> None:
    assert not CHEAP_PASSWORDS.verify(None, "nobody's password")


def test_for_nobody_a_hash_of_the_same_cost_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    verify = PasswordHasher.verify

    def note(hasher: PasswordHasher, argon2_hash: str, password: str) -> bool:
        verified.append(argon2_hash)
        return verify(hasher, argon2_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", note)
    CHEAP_PASSWORDS.verify(None, "correct horse")
    CHEAP_PASSWORDS.verify(CHEAP_PASSWORDS.hash("correct horse"), "correct horse")
    nobodys, somebodys = (extract_parameters(argon2_hash) for argon2_hash in verified)
    assert nobodys == somebodys


def test_a_hash_that_is_none_is_not_verified() -> None:
    assert not CHEAP_PASSWORDS.verify("plain text", "plain text")


def test_a_hash_of_another_cost_verifies_and_is_told_to_be_outdated() -> None:
    old = CHEAP_PASSWORDS.hash("correct horse")
    dearer = Passwords(Argon2Cost(memory_kib=16, passes=2, lanes=1))
    assert dearer.verify(old, "correct horse")
    assert dearer.is_outdated(old)
    assert not dearer.is_outdated(dearer.hash("correct horse"))


@pytest.mark.parametrize("cost", [{"passes": 0}, {"lanes": 0}, {"memory_kib": 7}, {"memory_kib": 15, "lanes": 2}])
def test_a_cost_that_argon2_does_not_know_is_refused(cost: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Argon2Cost"):
        Argon2Cost(**cost)


def test_a_throttle_lets_so_many_through_and_says_when_to_come_back() -> None:
    throttle = Throttle(2, WINDOW)
    throttle.take("ada", START)
    throttle.take("ada", START + 60 * SECOND)
    with pytest.raises(TooManyAttempts) as refused:
        throttle.take("ada", START + 120 * SECOND)
    assert refused.value.retry_after_s == 13 * 60
    throttle.take("eve", START + 120 * SECOND)
    throttle.take("ada", START + WINDOW)


def test_tries_beyond_the_limit_do_not_prolong_the_wait() -> None:
    throttle = Throttle(1, WINDOW)
    throttle.take("ada", START)
    for minute in range(1, 15):
        with pytest.raises(TooManyAttempts):
            throttle.take("ada", START + minute * 60 * SECOND)
    throttle.take("ada", START + WINDOW)


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=60).map(sorted), st.integers(1, 5))
def test_no_window_ever_holds_more_than_the_limit(seconds: list[int], limit: int) -> None:
    throttle = Throttle(limit, WINDOW)
    taken: list[int] = []
    for second in seconds:
        inside = [s for s in taken if second - s < WINDOW.total_seconds()]
        if len(inside) < limit:
            throttle.take("ada", START + second * SECOND)
            taken.append(second)
        else:
            with pytest.raises(TooManyAttempts):
                throttle.take("ada", START + second * SECOND)


def test_a_try_that_was_given_back_and_keys_that_were_cleared_count_no_more() -> None:
    throttle = Throttle(1, WINDOW)
    throttle.take("ada", START)
    throttle.give_back("ada", START)
    throttle.take("ada", START)
    throttle.clear(["ada", "nobody"])
    throttle.take("ada", START)
    throttle.give_back("nobody", START)


def test_a_throttle_forgets_who_was_seen_longest_ago_when_there_are_too_many() -> None:
    throttle = Throttle(1, WINDOW, longest=2)
    for name in ("ada", "eve", "mallory"):
        throttle.take(name, START)
    throttle.take("ada", START)
    with pytest.raises(TooManyAttempts):
        throttle.take("mallory", START)


@pytest.mark.parametrize(("limit", "window", "longest"), [(0, WINDOW, 1), (1, timedelta(0), 1), (1, WINDOW, 0)])
def test_a_throttle_without_room_is_refused(limit: int, window: timedelta, longest: int) -> None:
    with pytest.raises(ValueError, match="Throttle"):
        Throttle(limit, window, longest)
