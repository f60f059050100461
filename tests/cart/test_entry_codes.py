import secrets
from base64 import b32decode, b32encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cart import qr
from cart.entry_codes import (
    CODE_LENGTH,
    MAX_COUNTER,
    STEP_S,
    CodeRefusal,
    CodeRefusedError,
    EntryKey,
    check_code,
    fingerprint,
    make_code,
    make_entry_code,
    new_key,
    read_code,
)

NOON = datetime(2026, 5, 4, 12, 0, 3, tzinfo=UTC)
ACCOUNT = UUID(int=7)
STORE = "main-street"
KEY = EntryKey("00112233445566aa", ACCOUNT, bytes(range(32)), NOON)

moments = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
stores = st.text(min_size=1, max_size=40)
keys = st.builds(
    lambda key_id, secret: EntryKey(key_id.hex(), ACCOUNT, secret, NOON),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=32, max_size=32),
)
counters = st.integers(0, MAX_COUNTER)


def refusal(code: str, key: EntryKey | None = KEY, store: str = STORE, at: datetime = NOON) -> CodeRefusal | None:
    """Why a code is not taken; None if it is."""
    try:
        check_code(code, key, store, at)
    except CodeRefusedError as error:
        return error.refusal
    return None


@settings(deadline=None)
@given(keys, stores, moments, counters, st.floats(-STEP_S, STEP_S))
def test_a_fresh_code_is_taken_within_a_step_of_either_clock(
    key: EntryKey, store: str, at: datetime, counter: int, skew_s: float
) -> None:
    read = check_code(make_code(key, store, at, counter), key, store, at + timedelta(seconds=skew_s))

    assert (read.key_id, read.counter) == (key.key_id, counter)
    assert read.begins_at <= at < read.begins_at + timedelta(seconds=STEP_S)


@settings(deadline=None)
@given(keys, stores, moments, counters, st.integers(0, CODE_LENGTH * 8 - 1))
def test_no_code_with_a_flipped_bit_is_taken(
    key: EntryKey, store: str, at: datetime, counter: int, position: int
) -> None:
    text = bytearray(make_code(key, store, at, counter).encode("ascii"))
    text[position // 8] ^= 1 << position % 8

    assert refusal(text.decode("latin-1"), key, store, at) is not None


@settings(deadline=None)
@given(keys, moments, st.integers(0, 35 * 8 - 1))
def test_no_code_with_a_flipped_bit_of_its_content_is_taken(key: EntryKey, at: datetime, position: int) -> None:
    content = bytearray(b32decode(make_code(key, STORE, at)[4:]))
    content[position // 8] ^= 1 << position % 8
    forged = "TF1:" + b32encode(content).decode("ascii")

    # Even a thief who knows which key the store would look up gets nowhere.
    as_if = replace(key, key_id=read_code(forged).key_id)
    assert refusal(forged, as_if, STORE, at) in {CodeRefusal.OTHER_STORE, CodeRefusal.BAD_SIGNATURE}


@settings(deadline=None)
@given(keys, stores, stores, moments)
def test_another_stores_code_is_not_taken(key: EntryKey, store: str, other: str, at: datetime) -> None:
    assume(store != other)

    assert refusal(make_code(key, other, at), key, store, at) is CodeRefusal.OTHER_STORE


@settings(deadline=None)
@given(keys, keys, moments)
def test_a_code_of_another_secret_is_not_taken(key: EntryKey, other: EntryKey, at: datetime) -> None:
    assume(key.secret != other.secret)
    forger = replace(other, key_id=key.key_id)

    assert refusal(make_code(forger, STORE, at), key, STORE, at) is CodeRefusal.BAD_SIGNATURE


@settings(deadline=None)
@given(keys, keys, moments)
def test_a_code_is_not_taken_for_another_key(key: EntryKey, other: EntryKey, at: datetime) -> None:
    assume(key.key_id != other.key_id)

    assert refusal(make_code(key, STORE, at), other, STORE, at) is CodeRefusal.UNKNOWN_KEY
    assert refusal(make_code(key, STORE, at), None, STORE, at) is CodeRefusal.UNKNOWN_KEY


@settings(deadline=None)
@given(keys, moments, st.floats(2 * STEP_S, 1e9, exclude_min=True))
def test_old_and_future_codes_are_not_taken(key: EntryKey, at: datetime, away_s: float) -> None:
    away = timedelta(seconds=away_s)

    assert refusal(make_code(key, STORE, at), key, STORE, at + away) is CodeRefusal.EXPIRED
    assert refusal(make_code(key, STORE, at + away), key, STORE, at) is CodeRefusal.TOO_EARLY


@settings(deadline=None)
@given(st.text(max_size=80))
def test_other_text_is_malformed(text: str) -> None:
    assert refusal(text) is CodeRefusal.MALFORMED


@pytest.mark.parametrize(
    "spoil",
    [
        str.lower,
        lambda code: code + "\n",
        lambda code: " " + code,
        lambda code: code[:-1],
        lambda code: code + "=",
        lambda code: code.replace("TF1:", "TF2:"),
        lambda code: code[:-1] + "\uff21",
        lambda code: code * 10_000,
    ],
)
def test_every_code_has_one_spelling(spoil: object) -> None:
    assert callable(spoil)

    assert refusal(spoil(make_code(KEY, STORE, NOON))) is CodeRefusal.MALFORMED


@settings(deadline=None)
@given(st.lists(st.tuples(keys, moments, counters), min_size=2, max_size=2))
def test_two_codes_are_remembered_under_one_name_only_if_they_say_the_same(
    made: list[tuple[EntryKey, datetime, int]],
) -> None:
    codes = [make_code(key, STORE, at, counter) for key, at, counter in made]

    assert (fingerprint(codes[0]) == fingerprint(codes[1])) == (codes[0] == codes[1])


def test_a_payer_can_make_a_code_for_each_guest_in_one_step() -> None:
    codes = {make_code(KEY, STORE, NOON, counter) for counter in range(MAX_COUNTER + 1)}

    assert len(codes) == MAX_COUNTER + 1
    assert {refusal(code) for code in codes} == {None}


def test_a_revoked_keys_code_is_not_taken_and_nobody_learns_that_from_a_forged_one() -> None:
    revoked = replace(KEY, revoked_at=NOON)
    forged = make_code(replace(KEY, secret=bytes(32)), STORE, NOON)

    assert refusal(make_code(KEY, STORE, NOON), revoked) is CodeRefusal.REVOKED
    assert refusal(forged, revoked) is CodeRefusal.BAD_SIGNATURE


def test_a_code_says_how_long_it_lasts() -> None:
    made = make_entry_code(KEY, STORE, NOON)

    assert refusal(made.code, at=made.expires_at - timedelta(microseconds=1)) is None
    assert refusal(made.code, at=made.expires_at) is CodeRefusal.EXPIRED
    assert made.step_s == 15


def test_a_code_fits_a_small_qr_code() -> None:
    code = make_code(KEY, STORE, NOON)

    assert len(code) == CODE_LENGTH
    assert qr.version_of(code) == 3


def test_the_layout_is_the_published_one() -> None:
    # Phones make codes by themselves, so the layout cannot change without a new prefix.
    assert make_code(KEY, STORE, NOON, 5) == LAYOUT_1


LAYOUT_1 = "TF1:2SYWZRQACERDGRCVM2VAOEERYACTT3SNMR5WEVNYX5FSZJ7E2SIJ6VLC"


def test_a_key_hides_its_secret() -> None:
    key = new_key(ACCOUNT, NOON, secrets.token_bytes)

    assert len(key.secret) == 32
    assert repr(key.secret) not in repr(key)
    assert new_key(ACCOUNT, NOON, secrets.token_bytes).key_id != key.key_id


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="counter: expected 0 to 255"):
        make_code(KEY, STORE, NOON, 256)
    with pytest.raises(ValueError, match="store_id: expected text"):
        make_code(KEY, "", NOON)
    with pytest.raises(ValueError, match="timezone-aware"):
        make_code(KEY, STORE, datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="expected a time from 1970 on"):
        make_code(KEY, STORE, datetime(1969, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        replace(KEY, key_id="XYZ")
    with pytest.raises(ValueError, match="expected 32 bytes, got 3"):
        replace(KEY, secret=b"abc")
