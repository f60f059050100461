import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

from cart import audit
from cart.accounts import Account, IssuedToken
from cart.errors import (
    AccountBlocked,
    AccountDetailsRefused,
    AccountNotFound,
    NotAllowed,
    PasskeyNotFound,
    PasskeyRefused,
    SignInFailed,
)
from cart.passkeys import CHALLENGE_LIFETIME, MOST_PASSKEYS, Passkeys
from cart.tables import PasskeyChallengeRow, PasskeyRow
from tests.cart.authenticator import USER_PRESENT, Authenticator
from tests.cart.people import START, People, ascii_start

ORIGINS = ["https://shop.example", "https://app.shop.example"]
Answer = dict[str, Any]


@dataclass
class Shop:
    """People who may use passkeys."""

    people: People = field(default_factory=People)

    def __post_init__(self) -> None:
        self.passkeys = Passkeys(
            self.people.database,
            self.people.accounts,
            "shop.example",
            "The Shop",
            ORIGINS,
            self.people.clock,
            self.people.new_id,
        )

    def add(self, account: Account, phone: Authenticator) -> None:
        """Give an account a passkey."""
        challenge = self.passkeys.registration_options(account.account_id)
        self.passkeys.register(account.account_id, challenge.challenge_id, phone.register(challenge.options), "phone")

    def sign_in(self, phone: Authenticator, change: Callable[[Answer], object] = lambda answer: None) -> IssuedToken:
        """Sign in with a passkey; ``change`` may spoil its answer."""
        challenge = self.passkeys.sign_in_options()
        answer = phone.sign(challenge.options)
        change(answer)
        return self.passkeys.sign_in(challenge.challenge_id, answer)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def phone() -> Authenticator:
    return Authenticator()


def flip(part: str) -> Callable[[Answer], None]:
    """Turns one bit of a binary member of the answer round."""

    def spoil(answer: Answer) -> None:
        spoilt = bytearray(base64url_to_bytes(answer["response"][part]))
        spoilt[-1] ^= 1
        answer["response"][part] = bytes_to_base64url(bytes(spoilt))

    return spoil


def test_a_passkey_signs_its_owner_in(shop: Shop, phone: Authenticator) -> None:
    ada = shop.people.person()
    shop.add(ada, phone)
    principal = shop.people.accounts.authenticate(shop.sign_in(phone).secret)
    assert (principal.account_id, principal.role) == (ada.account_id, ada.role)
    (passkey,) = shop.passkeys.passkeys(ada.account_id)
    assert (passkey.label, passkey.created_at, passkey.last_used_at) == ("phone", START, START)
    assert passkey.credential_id == bytes_to_base64url(phone.credential_id)


def test_what_a_browser_is_asked_names_the_store_and_wants_a_passkey_that_says_whose_it_is(shop: Shop) -> None:
    ada = shop.people.person()
    options = shop.passkeys.registration_options(ada.account_id).options
    assert options["rp"] == {"id": "shop.example", "name": "The Shop"}
    assert base64url_to_bytes(options["user"]["id"]) == ada.account_id.bytes
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "preferred"
    assert options["attestation"] == "none"
    assert options["timeout"] == CHALLENGE_LIFETIME.total_seconds() * 1000
    assert len(base64url_to_bytes(options["challenge"])) >= 16
    asked = shop.passkeys.sign_in_options().options
    assert (asked["rpId"], asked["userVerification"], asked["allowCredentials"]) == ("shop.example", "preferred", [])


def test_a_browsers_answer_is_taken_as_text_as_well(shop: Shop, phone: Authenticator) -> None:
    ada = shop.people.person()
    challenge = shop.passkeys.registration_options(ada.account_id)
    answer = json.dumps(phone.register(challenge.options))
    shop.passkeys.register(ada.account_id, challenge.challenge_id, answer)
    challenge = shop.passkeys.sign_in_options()
    shop.passkeys.sign_in(challenge.challenge_id, json.dumps(phone.sign(challenge.options)))


@pytest.mark.parametrize("origin", ORIGINS)
def test_every_page_of_the_store_may_ask(shop: Shop, origin: str) -> None:
    phone = Authenticator(origin)
    shop.add(shop.people.person(), phone)
    shop.sign_in(phone)


def test_a_person_who_was_merely_present_is_accepted_and_one_who_was_not_is_refused(shop: Shop) -> None:
    phone = Authenticator(flags=USER_PRESENT)
    shop.add(shop.people.person(), phone)
    shop.sign_in(phone)
    phone.flags = 0
    with pytest.raises(SignInFailed):
        shop.sign_in(phone)


@pytest.mark.parametrize(
    "origin", ["https://shop.example.evil.test", "http://shop.example", "https://shop.example:8443"]
)
def test_another_pages_answer_is_refused(shop: Shop, phone: Authenticator, origin: str) -> None:
    ada = shop.people.person()
    with pytest.raises(PasskeyRefused):
        shop.add(ada, Authenticator(origin))
    shop.add(ada, phone)
    phone.origin = origin
    with pytest.raises(SignInFailed):
        shop.sign_in(phone)


def test_an_answer_to_another_challenge_is_refused(shop: Shop, phone: Authenticator) -> None:
    ada = shop.people.person()
    one, two = (shop.passkeys.registration_options(ada.account_id) for _ in range(2))
    with pytest.raises(PasskeyRefused):
        shop.passkeys.register(ada.account_id, one.challenge_id, phone.register(two.options))
    shop.add(ada, phone)
    one, two = (shop.passkeys.sign_in_options() for _ in range(2))
    with pytest.raises(SignInFailed):
        shop.passkeys.sign_in(one.challenge_id, phone.sign(two.options))


def test_an_answer_works_once(shop: Shop, phone: Authenticator) -> None:
    ada = shop.people.person()
    challenge = shop.passkeys.registration_options(ada.account_id)
    answer = phone.register(challenge.options)
    shop.passkeys.register(ada.account_id, challenge.challenge_id, answer)
    with pytest.raises(PasskeyRefused, match="used"):
        shop.passkeys.register(ada.account_id, challenge.challenge_id, answer)
    challenge = shop.passkeys.sign_in_options()
    answer = phone.sign(challenge.options)
    shop.passkeys.sign_in(challenge.challenge_id, answer)
    with pytest.raises(SignInFailed, match="used"):
        shop.passkeys.sign_in(challenge.challenge_id, answer)


def test_a_challenge_is_used_up_by_a_wrong_answer_too(shop: Shop, phone: Authenticator) -> None:
    shop.add(shop.people.person(), phone)
    challenge = shop.passkeys.sign_in_options()
    answer = phone.sign(challenge.options)
    with pytest.raises(SignInFailed, match="not accepted"):
        shop.passkeys.sign_in(challenge.challenge_id, {})
    with pytest.raises(SignInFailed, match="used"):
        shop.passkeys.sign_in(challenge.challenge_id, answer)


def test_a_challenge_is_good_for_five_minutes(shop: Shop, phone: Authenticator) -> None:
    ada = shop.people.person()
    early, late = (shop.passkeys.registration_options(ada.account_id) for _ in range(2))
    shop.people.clock.at = early.expires_at - CHALLENGE_LIFETIME / 1_000
    shop.passkeys.register(ada.account_id, early.challenge_id, phone.register(early.options))
    shop.people.clock.at = late.expires_at
    with pytest.raises(PasskeyRefused, match="too old"):
        shop.passkeys.register(ada.account_id, late.challenge_id, Authenticator().register(late.options))
    challenge = shop.passkeys.sign_in_options()
    assert challenge.expires_at - shop.people.clock.at == CHALLENGE_LIFETIME
    shop.people.clock.at = challenge.expires_at
    with pytest.raises(SignInFailed, match="too old"):
        shop.passkeys.sign_in(challenge.challenge_id, phone.sign(challenge.options))


def test_a_challenge_is_good_for_its_own_account_and_purpose_alone(shop: Shop, phone: Authenticator) -> None:
    ada, eve = shop.people.person(), shop.people.person()
    challenge = shop.passkeys.registration_options(ada.account_id)
    with pytest.raises(PasskeyRefused):
        shop.passkeys.register(eve.account_id, challenge.challenge_id, phone.register(challenge.options))
    with pytest.raises(SignInFailed):
        shop.passkeys.sign_in(challenge.challenge_id, phone.sign({**challenge.options, "rpId": "shop.example"}))
    shop.passkeys.register(ada.account_id, challenge.challenge_id, phone.register(challenge.options))
    assert shop.passkeys.passkeys(eve.account_id) == ()


def test_a_copied_key_whose_counter_falls_behind_is_refused_and_written_down(shop: Shop, phone: Authenticator) -> None:
    ada = shop.people.person()
    shop.add(ada, phone)
    shop.sign_in(phone)
    thief = phone.copied()
    shop.sign_in(phone)
    with pytest.raises(SignInFailed):
        shop.sign_in(thief)
    with shop.people.database.reading() as repository:
        (newest, *_) = audit.page(repository, subject=audit.account_subject(ada.account_id)).entries
    assert newest.action == "passkey.copied"
    shop.sign_in(phone)


def test_the_owner_is_the_one_refused_once_a_thief_was_faster(shop: Shop, phone: Authenticator) -> None:
    shop.add(shop.people.person(), phone)
    thief = phone.copied()
    shop.sign_in(thief)
    with pytest.raises(SignInFailed):
        shop.sign_in(phone)


def test_a_passkey_that_does_not_count_may_be_used_again_and_again(shop: Shop) -> None:
    phone = Authenticator(counts=False)
    shop.add(shop.people.person(), phone)
    for _ in range(3):
        shop.sign_in(phone)


def test_a_counter_that_goes_back_to_nothing_is_refused(shop: Shop, phone: Authenticator) -> None:
    shop.add(shop.people.person(), phone)
    shop.sign_in(phone)
    phone.counts, phone.counter = False, 0
    with pytest.raises(SignInFailed):
        shop.sign_in(phone)


@pytest.mark.parametrize("part", ["signature", "authenticatorData", "clientDataJSON", "userHandle"])
def test_an_answer_with_one_bit_turned_round_is_refused(shop: Shop, phone: Authenticator, part: str) -> None:
    shop.add(shop.people.person(), phone)
    with pytest.raises(SignInFailed):
        shop.sign_in(phone, flip(part))
    shop.sign_in(phone)


def test_a_signature_of_another_key_is_refused(shop: Shop, phone: Authenticator) -> None:
    shop.add(shop.people.person(), phone)
    with pytest.raises(SignInFailed):
        shop.sign_in(Authenticator(credential_id=phone.credential_id, user_handle=phone.user_handle))


def test_a_passkey_has_to_say_whose_it_is(shop: Shop, phone: Authenticator) -> None:
    shop.add(shop.people.person(), phone)
    eve = shop.people.person()
    for handle in (None, bytes_to_base64url(eve.account_id.bytes)):
        with pytest.raises(SignInFailed):
            shop.sign_in(phone, lambda answer, handle=handle: answer["response"].update(userHandle=handle))  # type: ignore[misc]


def test_every_refusal_to_sign_in_reads_the_same(shop: Shop, phone: Authenticator) -> None:
    shop.add(shop.people.person(), phone)
    refusals = []
    for spoil in (flip("signature"), flip("userHandle"), lambda answer: answer.update(rawId=7), dict.clear):
        with pytest.raises(SignInFailed) as refused:
            shop.sign_in(phone, spoil)
        refusals.append(str(refused.value))
    with pytest.raises(SignInFailed) as refused:
        shop.sign_in(Authenticator())
    assert {*refusals, str(refused.value)} == {"the passkey was not accepted"}


def test_a_passkey_belongs_to_one_account_and_is_added_once(shop: Shop, phone: Authenticator) -> None:
    ada, eve = shop.people.person(), shop.people.person()
    shop.add(ada, phone)
    for account in (ada, eve):
        with pytest.raises(PasskeyRefused, match="known"):
            shop.add(account, phone)
    known = shop.passkeys.registration_options(ada.account_id).options["excludeCredentials"]
    assert [entry["id"] for entry in known] == [bytes_to_base64url(phone.credential_id)]


def test_an_account_has_a_bounded_number_of_passkeys(shop: Shop) -> None:
    ada = shop.people.person()
    for _ in range(MOST_PASSKEYS):
        shop.add(ada, Authenticator())
    with pytest.raises(NotAllowed):
        shop.passkeys.registration_options(ada.account_id)


def test_a_passkey_that_was_removed_signs_nobody_in(shop: Shop, phone: Authenticator) -> None:
    ada, eve = shop.people.person(), shop.people.person()
    shop.add(ada, phone)
    (passkey,) = shop.passkeys.passkeys(ada.account_id)
    with pytest.raises(PasskeyNotFound):
        shop.passkeys.remove(eve.account_id, passkey.credential_id)
    shop.passkeys.remove(ada.account_id, passkey.credential_id)
    with pytest.raises(PasskeyNotFound):
        shop.passkeys.remove(ada.account_id, passkey.credential_id)
    with pytest.raises(SignInFailed):
        shop.sign_in(phone)


def test_a_blocked_account_neither_adds_passkeys_nor_signs_in(shop: Shop, phone: Authenticator) -> None:
    ada = shop.people.person()
    shop.add(ada, phone)
    begun = shop.passkeys.registration_options(ada.account_id)
    shop.people.accounts.block(ada.account_id)
    with pytest.raises(AccountBlocked):
        shop.sign_in(phone)
    with pytest.raises(AccountBlocked):
        shop.passkeys.registration_options(ada.account_id)
    with pytest.raises(AccountBlocked):
        shop.passkeys.register(ada.account_id, begun.challenge_id, Authenticator().register(begun.options))


def test_devices_and_strangers_have_no_passkeys(shop: Shop) -> None:
    device = shop.people.accounts.create_device("front").token.account_id
    with pytest.raises(NotAllowed):
        shop.passkeys.registration_options(device)
    with pytest.raises(AccountNotFound):
        shop.passkeys.registration_options(shop.people.new_id())


def test_an_id_longer_than_the_standard_allows_is_refused(shop: Shop) -> None:
    with pytest.raises(PasskeyRefused, match="1023"):
        shop.add(shop.people.person(), Authenticator(credential_id=b"x" * 1024))
    longest = Authenticator(credential_id=b"x" * 1023)
    shop.add(shop.people.person(), longest)
    shop.sign_in(longest)


def test_a_label_that_cannot_be_shown_is_refused_before_the_challenge_is_used(shop: Shop, phone: Authenticator) -> None:
    ada = shop.people.person()
    challenge = shop.passkeys.registration_options(ada.account_id)
    answer = phone.register(challenge.options)
    with pytest.raises(AccountDetailsRefused):
        shop.passkeys.register(ada.account_id, challenge.challenge_id, answer, "\n")
    shop.passkeys.register(ada.account_id, challenge.challenge_id, answer, "phone")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def spoil_somewhere(data: st.DataObject, answer: Answer) -> Answer:
    """Put something else in one place of an answer."""
    part = data.draw(st.sampled_from(["id", "rawId", "type", "response", *answer["response"]]))
    value = data.draw(JSON | st.binary(max_size=200).map(bytes_to_base64url))
    (answer if part in answer else answer["response"])[part] = value
    return answer


@given(st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_stranger_sends_is_refused_and_breaks_nothing(shop: Shop, data: st.DataObject) -> None:
    ada, phone = shop.people.person(), Authenticator()
    shop.add(ada, phone)
    begun, challenge = shop.passkeys.registration_options(ada.account_id), shop.passkeys.sign_in_options()
    spoilt = spoil_somewhere(data, Authenticator().register(begun.options))
    with pytest.raises(PasskeyRefused):
        shop.passkeys.register(ada.account_id, begun.challenge_id, spoilt)
    spoilt = spoil_somewhere(data, phone.sign(challenge.options))
    with pytest.raises(SignInFailed):
        shop.passkeys.sign_in(challenge.challenge_id, spoilt)
    shop.sign_in(phone)


@pytest.mark.parametrize(
    "answer", ["", "null", "[]", "{", "[" * 50_000, '"' + "x" * 200_000 + '"', "{}"], ids=ascii_start
)
def test_a_text_that_is_no_answer_is_refused(shop: Shop, answer: str) -> None:
    ada = shop.people.person()
    challenge = shop.passkeys.sign_in_options()
    with pytest.raises(SignInFailed):
        shop.passkeys.sign_in(challenge.challenge_id, answer)
    challenge = shop.passkeys.registration_options(ada.account_id)
    with pytest.raises(PasskeyRefused):
        shop.passkeys.register(ada.account_id, challenge.challenge_id, answer)


def test_challenges_are_gone_once_they_are_answered(shop: Shop, phone: Authenticator) -> None:
    shop.add(shop.people.person(), phone)
    shop.sign_in(phone)
    with shop.people.database.reading() as repository:
        assert repository.sql.scalar(select(func.count()).select_from(PasskeyChallengeRow)) == 0
        assert repository.sql.scalar(select(PasskeyRow.sign_count)) == 1


@pytest.mark.parametrize(("rp_id", "origins"), [("", ORIGINS), ("shop.example", []), ("shop.example", ORIGINS[0])])
def test_a_store_without_a_domain_or_a_list_of_pages_is_refused(shop: Shop, rp_id: str, origins: Any) -> None:
    with pytest.raises(ValueError, match="Passkeys"):
        Passkeys(shop.people.database, shop.people.accounts, rp_id, "The Shop", origins)
