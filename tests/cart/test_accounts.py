import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import event, select

from cart import audit
from cart.accounts import (
    LOCALES,
    LONGEST_LIFETIME,
    SCOPES,
    AccountStatus,
    IssuedToken,
    Principal,
    Role,
    covers,
    default_lifetimes,
    looks_like_card_number,
    may_create,
    may_manage,
    normal_email,
)
from cart.errors import (
    AccountBlocked,
    AccountDetailsRefused,
    AccountNotFound,
    EmailTaken,
    NotAllowed,
    SignInFailed,
    StoreError,
    TokenNotFound,
    TokenRefused,
    TooManyAttempts,
)
from cart.passwords import Argon2Cost, Passwords, Throttle
from cart.repository import Database
from cart.tables import AccountRow, PasswordRow, TokenRow
from tests.cart.people import CHEAP, CHEAP_PASSWORDS, PASSWORD, START, Clock, People, ascii_start

ROLES = list(Role)
CARDS = ["4242424242424242", "4242 4242 4242 4242", "5555-5555-5555-4444", "378282246310005", "6011111111111117"]


@pytest.fixture
def people() -> People:
    return People()


class Watched(Passwords):
    """Counts how often a hash is verified."""

    def __init__(self) -> None:
        super().__init__(CHEAP)
        self.verified: list[str | None] = []

    def verify(self, argon2_hash: str | None, password: str) -> bool:
        self.verified.append(argon2_hash)
        return super().verify(argon2_hash, password)


# Opening accounts


def test_anybody_may_become_a_shopper_and_sign_in(people: People) -> None:
    account = people.accounts.create("Ada@Example.COM", PASSWORD, "  Ada ", locale="he")
    assert (account.email, account.name, account.role, account.locale) == ("ada@example.com", "Ada", Role.SHOPPER, "he")
    assert account.created_at == START
    assert people.accounts.account(account.account_id) == account
    issued = people.accounts.sign_in(" ada@EXAMPLE.com", PASSWORD)
    principal = people.accounts.authenticate(issued.secret)
    assert principal == Principal(account.account_id, Role.SHOPPER, SCOPES[Role.SHOPPER], issued.token.token_id)


CREATES: dict[Role | None, set[Role]] = {
    None: {Role.SHOPPER},
    Role.OWNER: set(Role),
    Role.MANAGER: {Role.STAFF, Role.REVIEWER, Role.ENGINEER, Role.VIEWER, Role.SHOPPER, Role.DEVICE},
    **{
        role: {Role.SHOPPER}
        for role in (Role.STAFF, Role.REVIEWER, Role.ENGINEER, Role.VIEWER, Role.SHOPPER, Role.DEVICE)
    },
}


@pytest.mark.parametrize("creator", [None, *ROLES])
def test_who_may_create_which_role(people: People, creator: Role | None) -> None:
    by = None if creator is None else people.principal(creator)
    for role in set(Role) - {Role.DEVICE}:
        assert may_create(creator, role) is (role in CREATES[creator])
        email = f"new-{role}@example.com"
        if role in CREATES[creator]:
            assert people.accounts.create(email, PASSWORD, "New", role, by=by).role is role
        else:
            with pytest.raises(NotAllowed):
                people.accounts.create(email, PASSWORD, "New", role, by=by)
            assert people.accounts.by_email(email) is None


@pytest.mark.parametrize("creator", ROLES)
def test_who_may_open_the_account_of_a_device(people: People, creator: Role) -> None:
    by = people.principal(creator)
    assert may_create(creator, Role.DEVICE) is (creator in (Role.OWNER, Role.MANAGER))
    if Role.DEVICE in CREATES[creator]:
        people.accounts.create_device("scale-1", by=by)
    else:
        with pytest.raises(NotAllowed):
            people.accounts.create_device("scale-1", by=by)


@pytest.mark.parametrize("by", ROLES)
def test_who_may_block_which_role(people: People, by: Role) -> None:
    actor = people.principal(by)
    for role in Role:
        allowed = by is Role.OWNER or (by is Role.MANAGER and role not in (Role.OWNER, Role.MANAGER))
        target = people.principal(role)
        assert may_manage(actor, role) is allowed
        if allowed:
            assert people.accounts.block(target.account_id, by=actor).status is AccountStatus.BLOCKED
        else:
            with pytest.raises(NotAllowed):
                people.accounts.block(target.account_id, by=actor)
            assert people.accounts.account(target.account_id).status is AccountStatus.ACTIVE


def test_a_narrowed_token_of_a_manager_neither_hires_nor_blocks(people: People) -> None:
    narrow = people.principal(Role.MANAGER, ("reviews",))
    with pytest.raises(NotAllowed):
        people.accounts.create("staff@example.com", PASSWORD, "Staff", Role.STAFF, by=narrow)
    with pytest.raises(NotAllowed):
        people.accounts.create_device("front", by=narrow)
    with pytest.raises(NotAllowed):
        people.accounts.block(people.person().account_id, by=narrow)


def test_a_device_is_not_opened_as_a_person(people: People) -> None:
    with pytest.raises(ValueError, match="create_device"):
        people.accounts.create("gate@example.com", PASSWORD, "Gate", Role.DEVICE, by=Role.OWNER)


@pytest.mark.parametrize("again", ["ada@example.com", "ADA@example.com ", "ada@EXAMPLE.com"])
def test_an_email_address_has_one_account_however_it_is_spelt(people: People, again: str) -> None:
    people.accounts.create("ada@example.com", PASSWORD, "Ada")
    with pytest.raises(EmailTaken):
        people.accounts.create(again, PASSWORD, "Eve")


def test_of_many_who_take_an_address_at_once_one_gets_it(tmp_path: Any) -> None:
    with Database.open(f"sqlite:///{tmp_path}/shop.db") as database:
        people = People(database)
        outcomes: list[str] = []

        def create() -> None:
            try:
                outcomes.append(people.accounts.create("ada@example.com", PASSWORD, "Ada").name)
            except EmailTaken:
                outcomes.append("taken")

        threads = [threading.Thread(target=create) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outcomes) == ["Ada", *["taken"] * 7]


@pytest.mark.parametrize(
    ("email", "normal"),
    [
        ("Ada@Example.Com", "ada@example.com"),
        ("  a.b+c@x.org\n", "a.b+c@x.org"),
        ("ada@\uff45xample.com", "ada@example.com"),
        ("иван@почта.рф", "иван@xn--80a1acny.xn--p1ai"),
        ("ivan@xn--80a1acny.xn--p1ai", "ivan@xn--80a1acny.xn--p1ai"),
        ("o'hara@localhost", "o'hara@localhost"),
    ],
)
def test_an_email_address_has_one_spelling(email: str, normal: str) -> None:
    assert normal_email(email) == normal
    assert normal_email(normal) == normal


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@@example.com",
        "a b@example.com",
        "ada@exa mple.com",
        "ada@-x.com",
        "ada@x..com",
        "ada\x00@example.com",
        "ada@example.com\x00",
        "ada<script>@x.com",
        "a\ud83d@x.com",
        "ada@\ud83d.com",
        "ada\r\nBcc: eve@x.com",
        "a" * 65 + "@example.com",
        "a@" + ".".join(["b" * 60] * 5),
        "a@" + "b" * 100_000,
    ],
    ids=ascii_start,
)
def test_what_is_no_email_address_is_refused_and_never_repeated(people: People, email: str) -> None:
    with pytest.raises(AccountDetailsRefused) as refused:
        people.accounts.create(email, PASSWORD, "Ada")
    assert len(str(refused.value)) < 100
    with pytest.raises(SignInFailed):
        people.accounts.sign_in(email, PASSWORD)
    assert people.accounts.by_email(email) is None


@given(st.text(max_size=60))
def test_normalising_an_email_address_twice_is_once(text: str) -> None:
    for email in (text, f"{text}@example.com", f"ada@{text}"):
        try:
            normal = normal_email(email)
        except AccountDetailsRefused:
            continue
        assert normal_email(normal) == normal
        assert normal == normal.strip()
        assert normal.isprintable()


@pytest.mark.parametrize(
    "name", ["", "   ", "a\x00b", "Ada\nLovelace", "x" * 101, "y" * 1_000_000, "\ud83d", CARDS[1]], ids=ascii_start
)
def test_a_name_that_cannot_be_shown_is_refused(people: People, name: str) -> None:
    with pytest.raises(AccountDetailsRefused, match="name"):
        people.accounts.create("ada@example.com", PASSWORD, name)


@pytest.mark.parametrize("locale", LOCALES)
def test_every_language_of_the_store_can_be_chosen(people: People, locale: str) -> None:
    assert people.accounts.create("ada@example.com", PASSWORD, "Ada", locale=locale).locale == locale


def test_a_language_that_the_store_does_not_speak_is_refused(people: People) -> None:
    with pytest.raises(AccountDetailsRefused, match="locale"):
        people.accounts.create("ada@example.com", PASSWORD, "Ada", locale="tlh")


def test_a_name_and_a_language_can_be_changed_and_what_is_not_said_stays(people: People) -> None:
    ada = people.person()
    changed = people.accounts.change(ada.account_id, name="Ada King")
    assert (changed.name, changed.locale, changed.email) == ("Ada King", "en", ada.email)
    assert people.accounts.change(ada.account_id, locale="sl").locale == "sl"
    assert people.accounts.change(ada.account_id) == people.accounts.account(ada.account_id)


def test_accounts_are_listed_a_page_at_a_time(people: People) -> None:
    made = sorted(people.person().account_id for _ in range(5))
    people.accounts.create_device("front")
    first = people.accounts.accounts(role=Role.SHOPPER, limit=3)
    rest = people.accounts.accounts(role=Role.SHOPPER, after=first[-1].account_id)
    assert [account.account_id for account in (*first, *rest)] == made
    assert len(people.accounts.accounts()) == 6
    with pytest.raises(ValueError, match="limit"):
        people.accounts.accounts(limit=0)


def test_an_account_that_is_not_there_is_not_found(people: People) -> None:
    nobody = people.new_id()
    calls: list[Callable[[], object]] = [
        lambda: people.accounts.account(nobody),
        lambda: people.accounts.block(nobody),
        lambda: people.accounts.issue_token(nobody, "x"),
        lambda: people.accounts.change_password(nobody, PASSWORD, PASSWORD),
        lambda: people.accounts.set_payment_method(nobody, None),
    ]
    for call in calls:
        with pytest.raises(AccountNotFound):
            call()


# How they pay


@pytest.mark.parametrize("number", CARDS)
def test_a_card_number_is_refused_wherever_it_is_put_and_never_repeated(people: People, number: str) -> None:
    ada = people.person()
    for text in (number, f"pm_{number}", f"card:{number}.x"):
        with pytest.raises(AccountDetailsRefused, match="card") as refused:
            people.accounts.set_payment_method(ada.account_id, text)
        assert not any(part in str(refused.value) for part in number.replace("-", " ").split())
    assert people.accounts.account(ada.account_id).payment_method is None


@pytest.mark.parametrize("reference", ["pm_1Q2w3E4r5T", "fake:ada", "123e4567-e89b-12d3-a456-426614174000", "42424242"])
def test_the_payment_providers_name_is_kept(people: People, reference: str) -> None:
    ada = people.person()
    assert people.accounts.set_payment_method(ada.account_id, reference).payment_method == reference
    assert people.accounts.account(ada.account_id).payment_method == reference
    assert people.accounts.set_payment_method(ada.account_id, None).payment_method is None


@pytest.mark.parametrize(
    "reference", ["", "pm 1", "pm_1\n", "x" * 256, "9" * 1_000_000, "\u0661", "<b>"], ids=ascii_start
)
def test_what_is_no_providers_name_is_refused(people: People, reference: str) -> None:
    with pytest.raises(AccountDetailsRefused):
        people.accounts.set_payment_method(people.person().account_id, reference)


@given(st.text("0123456789", min_size=12, max_size=18), st.sampled_from(["", " ", "-", ".", "_"]))
def test_every_number_with_a_right_check_digit_looks_like_a_card_and_one_digit_off_does_not(
    body: str, between: str
) -> None:
    # Luhn once more, by the other end: the sum of the digits of every second digit doubled.
    total = sum(sum(divmod(2 * int(d), 10)) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(body)))
    check = -total % 10
    number = between.join(f"{body}{check}")
    assert looks_like_card_number(number) is (set(f"{body}{check}") != {"0"})
    if len(body) == 12:
        assert not looks_like_card_number(between.join(f"{body}{(check + 1) % 10}"))


def test_digits_of_other_scripts_do_not_hide_a_card() -> None:
    assert looks_like_card_number("\u0664\u0662" * 8)
    assert looks_like_card_number("\uff14\uff12" * 8)


# Signing in


def test_an_unknown_address_and_a_wrong_password_are_answered_the_same(people: People) -> None:
    people.accounts.create("ada@example.com", PASSWORD, "Ada")
    refusals = []
    for email, password in (("ada@example.com", "wrong password"), ("eve@example.com", PASSWORD), ("no address", "x")):
        with pytest.raises(SignInFailed) as refused:
            people.accounts.sign_in(email, password)
        refusals.append((type(refused.value), str(refused.value)))
    assert len(set(refusals)) == 1


def test_every_sign_in_verifies_one_hash_also_for_an_address_that_is_unknown() -> None:
    watched = Watched()
    people = People(settings={"passwords": watched})
    people.accounts.create("ada@example.com", PASSWORD, "Ada")
    for email in ("ada@example.com", "eve@example.com", "no address"):
        watched.verified.clear()
        with pytest.raises(SignInFailed):
            people.accounts.sign_in(email, "wrong password")
        assert len(watched.verified) == 1


def test_a_hash_of_old_parameters_is_made_anew_when_its_owner_signs_in(people: People) -> None:
    ada = people.person()
    dearer = Passwords(Argon2Cost(memory_kib=16, passes=2, lanes=1))
    later = People(people.database, people.clock, {"passwords": dearer})
    later.new_id = people.new_id
    with pytest.raises(SignInFailed):
        later.accounts.sign_in(ada.email or "", "wrong password")
    assert "m=8,t=1" in hash_of(people, ada.account_id)
    later.accounts.sign_in(ada.email or "", PASSWORD)
    fresh = hash_of(people, ada.account_id)
    assert "m=16,t=2" in fresh
    later.accounts.sign_in(ada.email or "", PASSWORD)
    assert hash_of(people, ada.account_id) == fresh


def hash_of(people: People, account_id: Any) -> str:
    with people.database.reading() as repository:
        row = repository.sql.get(PasswordRow, account_id)
        assert row is not None
        return row.argon2_hash


def test_failures_are_limited_for_an_account_from_whatever_address_they_come() -> None:
    people = People(settings={"per_account": Throttle(3, timedelta(minutes=15))})
    people.accounts.create("ada@example.com", PASSWORD, "Ada")
    for number in range(3):
        with pytest.raises(SignInFailed):
            people.accounts.sign_in("ADA@example.com", "wrong password", address=f"192.0.2.{number}")
    with pytest.raises(TooManyAttempts) as refused:
        people.accounts.sign_in("ada@example.com", PASSWORD, address="192.0.2.9")
    people.clock.wait(seconds=refused.value.retry_after_s)
    people.accounts.sign_in("ada@example.com", PASSWORD)


def test_failures_are_limited_for_a_network_address_whatever_accounts_they_try() -> None:
    people = People(settings={"per_address": Throttle(3, timedelta(minutes=15))})
    people.accounts.create("ada@example.com", PASSWORD, "Ada")
    for number in range(3):
        with pytest.raises(SignInFailed):
            people.accounts.sign_in(f"eve{number}@example.com", "wrong password", address="192.0.2.1")
    with pytest.raises(TooManyAttempts):
        people.accounts.sign_in("ada@example.com", PASSWORD, address="192.0.2.1")
    people.accounts.sign_in("ada@example.com", PASSWORD, address="192.0.2.2")


def test_signing_in_rightly_is_never_limited() -> None:
    people = People(
        settings={
            "per_account": Throttle(2, timedelta(minutes=15)),
            "per_address": Throttle(2, timedelta(minutes=15)),
        }
    )
    ada = people.person()
    for _ in range(10):
        people.accounts.sign_in(ada.email or "", PASSWORD, address="192.0.2.1")


def test_signing_in_to_ones_own_account_does_not_make_room_for_guesses_at_others() -> None:
    people = People(settings={"per_address": Throttle(3, timedelta(minutes=15))})
    eve = people.person()
    for number in range(3):
        people.accounts.sign_in(eve.email or "", PASSWORD, address="192.0.2.1")
        with pytest.raises(SignInFailed):
            people.accounts.sign_in(f"ada{number}@example.com", "wrong password", address="192.0.2.1")
    with pytest.raises(TooManyAttempts):
        people.accounts.sign_in("ada3@example.com", PASSWORD, address="192.0.2.1")


def test_a_blocked_account_is_told_so_only_to_who_knows_its_password(people: People) -> None:
    ada = people.person()
    people.accounts.block(ada.account_id)
    with pytest.raises(AccountBlocked):
        people.accounts.sign_in(ada.email or "", PASSWORD)
    with pytest.raises(SignInFailed):
        people.accounts.sign_in(ada.email or "", "wrong password")


def test_a_changed_password_ends_every_token_but_the_one_that_asks(people: People) -> None:
    ada = people.person()
    phone, tablet = (people.accounts.sign_in(ada.email or "", PASSWORD) for _ in range(2))
    people.accounts.change_password(ada.account_id, PASSWORD, "another password", keep_token_id=phone.token.token_id)
    assert people.accounts.authenticate(phone.secret).account_id == ada.account_id
    with pytest.raises(TokenRefused):
        people.accounts.authenticate(tablet.secret)
    with pytest.raises(SignInFailed):
        people.accounts.sign_in(ada.email or "", PASSWORD)
    people.accounts.sign_in(ada.email or "", "another password")


def test_a_password_is_not_changed_by_who_does_not_know_it(people: People) -> None:
    ada = people.person()
    issued = people.accounts.sign_in(ada.email or "", PASSWORD)
    with pytest.raises(SignInFailed):
        people.accounts.change_password(ada.account_id, "wrong password", "another password")
    with pytest.raises(AccountDetailsRefused):
        people.accounts.change_password(ada.account_id, PASSWORD, "short")
    people.accounts.authenticate(issued.secret)
    people.accounts.sign_in(ada.email or "", PASSWORD)


def test_guesses_at_the_present_password_are_limited() -> None:
    people = People(settings={"per_account": Throttle(3, timedelta(minutes=15))})
    ada = people.person()
    for _ in range(3):
        with pytest.raises(SignInFailed):
            people.accounts.change_password(ada.account_id, "wrong password", "another password")
    with pytest.raises(TooManyAttempts):
        people.accounts.change_password(ada.account_id, PASSWORD, "another password")


def test_a_password_that_changes_while_the_old_one_is_verified_brings_no_token() -> None:
    class Slow(Passwords):
        """While it verifies, somebody else does something."""

        meanwhile: Callable[[], object] = staticmethod(lambda: None)

        def verify(self, argon2_hash: str | None, password: str) -> bool:
            matches = super().verify(argon2_hash, password)
            meanwhile, self.meanwhile = self.meanwhile, lambda: None
            meanwhile()
            return matches

    slow = Slow(CHEAP)
    people = People(settings={"passwords": slow})
    ada = people.person()
    slow.meanwhile = lambda: people.accounts.change_password(ada.account_id, PASSWORD, "another password")
    with pytest.raises(SignInFailed):
        people.accounts.sign_in(ada.email or "", PASSWORD)
    slow.meanwhile = lambda: people.accounts.change_password(ada.account_id, "another password", "a third password")
    with pytest.raises(SignInFailed):
        people.accounts.change_password(ada.account_id, "another password", "a fourth password")
    assert people.accounts.tokens(ada.account_id) == ()


# Tokens


def test_a_token_is_256_random_bits_behind_a_prefix_and_only_its_digest_is_kept(people: People) -> None:
    issued = people.accounts.sign_in(people.person().email or "", PASSWORD)
    assert issued.secret.startswith("tf_")
    assert len(issued.secret) == 3 + 43
    with people.database.reading() as repository:
        for row in repository.sql.scalars(select(TokenRow)):
            kept = [str(getattr(row, column.key)) for column in TokenRow.__table__.columns]
            assert not any(issued.secret[3:] in text for text in kept)
    assert issued.secret not in repr(issued)
    assert issued.secret not in str(people.accounts.tokens(issued.token.account_id))


def test_authenticating_is_one_read_that_uses_the_index(people: People) -> None:
    secret = people.accounts.sign_in(people.person().email or "", PASSWORD).secret
    statements: list[tuple[str, Any]] = []
    engine = people.database._engine

    def note(_c: object, _u: object, statement: str, parameters: Any, _x: object, _m: object) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    people.accounts.authenticate(secret)
    event.remove(engine, "before_cursor_execute", note)
    ((statement, parameters),) = [entry for entry in statements if not entry[0].startswith("BEGIN")]
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert [row[3].split(" ")[0] for row in plan] == ["SEARCH", "SEARCH"]


@pytest.mark.parametrize(
    "secret",
    ["", "tf_", "tf_" + "a" * 43, "Bearer x", "tf_" + "\u00e9" * 43, "x" * 100_000, "tf_\x00"],
    ids=ascii_start,
)
def test_what_is_no_token_is_refused(people: People, secret: str) -> None:
    with pytest.raises(TokenRefused):
        people.accounts.authenticate(secret)


@pytest.mark.parametrize("role", ROLES)
def test_a_token_works_until_the_moment_it_expires(people: People, role: Role) -> None:
    lifetime = default_lifetimes()[role]
    if role is Role.DEVICE:
        issued = people.accounts.create_device("front")
    else:
        issued = people.accounts.sign_in(people.person(role).email or "", PASSWORD)
    assert issued.token.expires_at == START + lifetime
    people.clock.at = START + lifetime - timedelta(microseconds=1)
    assert people.accounts.authenticate(issued.secret).role is role
    people.clock.at = START + lifetime
    with pytest.raises(TokenRefused, match="expired"):
        people.accounts.authenticate(issued.secret)


def test_a_revoked_token_does_not_come_back_and_others_go_on(people: People) -> None:
    ada = people.person()
    phone, tablet = (people.accounts.sign_in(ada.email or "", PASSWORD) for _ in range(2))
    people.accounts.revoke(phone.token.token_id, account_id=ada.account_id, by=ada.account_id)
    people.accounts.revoke(phone.token.token_id)
    with pytest.raises(TokenRefused, match="revoked"):
        people.accounts.authenticate(phone.secret)
    people.accounts.authenticate(tablet.secret)
    assert [token.token_id for token in people.accounts.tokens(ada.account_id)] == [tablet.token.token_id]
    assert people.accounts.revoke_all(ada.account_id) == 1
    assert people.accounts.revoke_all(ada.account_id) == 0
    assert people.accounts.tokens(ada.account_id) == ()


def test_nobody_revokes_the_token_of_another(people: People) -> None:
    ada, eve = people.person(), people.person()
    issued = people.accounts.sign_in(ada.email or "", PASSWORD)
    for token_id, account_id in ((issued.token.token_id, eve.account_id), (people.new_id(), ada.account_id)):
        with pytest.raises(TokenNotFound):
            people.accounts.revoke(token_id, account_id=account_id)
    people.accounts.authenticate(issued.secret)


def test_blocking_ends_every_token_for_good_and_unblocking_lets_one_sign_in_again(people: People) -> None:
    ada = people.person()
    issued = people.accounts.sign_in(ada.email or "", PASSWORD)
    for _ in range(2):
        assert people.accounts.block(ada.account_id).status is AccountStatus.BLOCKED
    with pytest.raises(TokenRefused):
        people.accounts.authenticate(issued.secret)
    with pytest.raises(AccountBlocked):
        people.accounts.issue_token(ada.account_id, "test")
    assert people.accounts.unblock(ada.account_id).status is AccountStatus.ACTIVE
    with pytest.raises(TokenRefused):
        people.accounts.authenticate(issued.secret)
    people.accounts.authenticate(people.accounts.sign_in(ada.email or "", PASSWORD).secret)


def test_the_last_owner_cannot_be_blocked(people: People) -> None:
    first = people.person(Role.OWNER)
    with pytest.raises(NotAllowed, match="last owner"):
        people.accounts.block(first.account_id)
    second = people.person(Role.OWNER)
    people.accounts.block(first.account_id)
    with pytest.raises(NotAllowed, match="last owner"):
        people.accounts.block(second.account_id)


@pytest.mark.parametrize("role", [role for role in ROLES if role is not Role.DEVICE])
def test_no_token_may_do_more_than_its_accounts_role(people: People, role: Role) -> None:
    account = people.person(role)
    every_scope = {scope for scopes in SCOPES.values() for scope in scopes} | {"gate:front", "scale:7"}
    for scope in sorted(every_scope):
        if covers(SCOPES[role], scope):
            secret = people.accounts.issue_token(account.account_id, "narrow", [scope]).secret
            principal = people.accounts.authenticate(secret)
            assert principal.scopes == {scope}
            assert [other for other in sorted(every_scope) if principal.may(other)] == [
                other for other in sorted(every_scope) if covers({scope}, other)
            ]
        else:
            with pytest.raises(NotAllowed):
                people.accounts.issue_token(account.account_id, "wide", [scope])


def test_a_token_falls_with_its_accounts_role(people: People) -> None:
    manager = people.person(Role.MANAGER)
    wide = people.accounts.issue_token(manager.account_id, "all")
    some = people.accounts.issue_token(manager.account_id, "some", ["reviews", "shop"])
    with people.database.transaction() as repository:
        row = repository.sql.get(AccountRow, manager.account_id)
        assert row is not None
        row.role = Role.SHOPPER.value
    assert people.accounts.authenticate(wide.secret).scopes == SCOPES[Role.SHOPPER]
    assert people.accounts.authenticate(some.secret).scopes == {"shop"}


def test_nobody_gives_away_more_than_their_own_token_may_do(people: People) -> None:
    narrow = people.principal(Role.MANAGER, ("reviews", "gate:front"))
    assert people.accounts.issue_token(narrow, "same").token.scopes == ("gate:front", "reviews")
    assert people.accounts.issue_token(narrow, "less", ["reviews"]).token.scopes == ("reviews",)
    for scope in ("people", "gate:*", "gate:back"):
        with pytest.raises(NotAllowed):
            people.accounts.issue_token(narrow, "more", [scope])
    wide = people.principal(Role.MANAGER)
    assert people.accounts.issue_token(wide, "all").token.scopes is None


@pytest.mark.parametrize("scope", ["", "*", "gate:", "gate:a b", "gate:" + "x" * 65, "gate:*:x", "GATE:front", "\x00"])
def test_what_is_no_scope_is_refused(people: People, scope: str) -> None:
    with pytest.raises(NotAllowed):
        people.accounts.create_device("front", [scope])


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(seconds=-1), LONGEST_LIFETIME + timedelta(seconds=1)])
def test_a_lifetime_out_of_bounds_is_refused(people: People, lifetime: timedelta) -> None:
    with pytest.raises(AccountDetailsRefused, match="lifetime"):
        people.accounts.issue_token(people.person().account_id, "test", lifetime=lifetime)
    with pytest.raises(AccountDetailsRefused, match="scopes"):
        people.accounts.issue_token(people.person().account_id, "test", [])


def test_a_device_speaks_for_the_gate_and_the_scale_of_its_name_or_for_those_that_are_said(people: People) -> None:
    front = people.accounts.authenticate(people.accounts.create_device("front").secret)
    assert front.role is Role.DEVICE
    assert front.scopes == {"gate:front", "scale:front"}
    assert (front.may("gate:front"), front.may("gate:back"), front.may("shop")) == (True, False, False)
    shelf = people.accounts.authenticate(people.accounts.create_device("shelf", ["scale:*"]).secret)
    assert (shelf.may("scale:7"), shelf.may("gate:front")) == (True, False)
    assert people.accounts.account(front.account_id).email is None
    with pytest.raises(NotAllowed):
        people.accounts.create_device("back", ["people"])


@pytest.mark.parametrize("name", ["", "*", "a b", "-x", "x" * 65, "x:y", "\x00"])
def test_a_device_has_a_name_that_a_scope_can_hold(people: People, name: str) -> None:
    with pytest.raises(AccountDetailsRefused, match="name"):
        people.accounts.create_device(name)


# What is written down


def test_what_happens_to_an_account_is_in_the_audit_log_and_says_nothing_personal(people: People) -> None:
    owner = people.principal(Role.OWNER)
    ada = people.accounts.create("ada@example.com", PASSWORD, "Ada Lovelace")
    issued = people.accounts.sign_in("ada@example.com", PASSWORD)
    people.accounts.set_payment_method(ada.account_id, "pm_1")
    people.accounts.change(ada.account_id, name="Ada King")
    people.accounts.change_password(ada.account_id, PASSWORD, "another password")
    people.accounts.block(ada.account_id, by=owner)
    people.accounts.unblock(ada.account_id, by=owner)
    with people.database.reading() as repository:
        entries = audit.page(repository, subject=audit.account_subject(ada.account_id)).entries
    assert [(entry.action, entry.actor_id) for entry in reversed(entries)] == [
        ("account.created", ada.account_id),
        ("token.issued", ada.account_id),
        ("payment_method.set", ada.account_id),
        ("account.changed", ada.account_id),
        ("password.changed", ada.account_id),
        ("account.blocked", owner.account_id),
        ("account.unblocked", owner.account_id),
    ]
    text = str(entries)
    assert not any(word in text for word in ("ada@", "Ada", "pm_1", PASSWORD, issued.secret[3:]))


class TokenLife(RuleBasedStateMachine):
    """Tokens are handed out, narrowed, revoked and outlived, accounts blocked: none that ended ever works."""

    def __init__(self) -> None:
        super().__init__()
        self.people = People(Database.in_memory(), Clock())
        self.accounts = [self.people.person(role) for role in (Role.SHOPPER, Role.STAFF)]
        self.blocked: set[Any] = set()
        self.live: dict[str, IssuedToken] = {}
        self.dead: set[str] = set()

    def end(self, account_id: Any) -> None:
        ended = {secret for secret, issued in self.live.items() if issued.token.account_id == account_id}
        self.dead |= ended
        self.live = {secret: issued for secret, issued in self.live.items() if secret not in ended}

    @rule(which=st.integers(0, 1), minutes=st.integers(1, 90), scopes=st.sampled_from([None, ["shop"], ["account"]]))
    def issue(self, which: int, minutes: int, scopes: list[str] | None) -> None:
        account_id = self.accounts[which].account_id
        try:
            issued = self.people.accounts.issue_token(account_id, "t", scopes, timedelta(minutes=minutes))
        except AccountBlocked:
            assert account_id in self.blocked
        else:
            assert account_id not in self.blocked
            self.live[issued.secret] = issued

    @rule(pick=st.randoms(use_true_random=False))
    def revoke(self, pick: Any) -> None:
        if self.live:
            secret = pick.choice(sorted(self.live))
            self.people.accounts.revoke(self.live.pop(secret).token.token_id)
            self.dead.add(secret)

    @rule(which=st.integers(0, 1))
    def block(self, which: int) -> None:
        account_id = self.accounts[which].account_id
        self.people.accounts.block(account_id)
        self.blocked.add(account_id)
        self.end(account_id)

    @rule(which=st.integers(0, 1))
    def unblock(self, which: int) -> None:
        self.people.accounts.unblock(self.accounts[which].account_id)
        self.blocked.discard(self.accounts[which].account_id)

    @rule(which=st.integers(0, 1))
    def change_password(self, which: int) -> None:
        self.people.accounts.change_password(self.accounts[which].account_id, PASSWORD, PASSWORD)
        self.end(self.accounts[which].account_id)

    @rule(minutes=st.integers(1, 45))
    def wait(self, minutes: int) -> None:
        self.people.clock.wait(minutes=minutes)
        outlived = {s for s, issued in self.live.items() if issued.token.expires_at <= self.people.clock.at}
        self.dead |= outlived
        self.live = {secret: issued for secret, issued in self.live.items() if secret not in outlived}

    @invariant()
    def only_live_tokens_work(self) -> None:
        for secret, issued in self.live.items():
            principal = self.people.accounts.authenticate(secret)
            assert (principal.account_id, principal.token_id) == (issued.token.account_id, issued.token.token_id)
            assert principal.scopes == (
                SCOPES[principal.role] if issued.token.scopes is None else set(issued.token.scopes)
            )
        for secret in self.dead:
            with pytest.raises(TokenRefused):
                self.people.accounts.authenticate(secret)

    def teardown(self) -> None:
        self.people.database.close()


TestTokenLife = TokenLife.TestCase
TestTokenLife.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)


def test_every_refusal_is_an_error_of_the_store() -> None:
    assert issubclass(TooManyAttempts, StoreError)
    assert TooManyAttempts("x", 7).retry_after_s == 7


def test_passwords_are_hashed_at_full_cost_unless_somebody_says_otherwise(people: People) -> None:
    assert "m=8,t=1" in CHEAP_PASSWORDS.hash(PASSWORD)
    assert "m=19456,t=2,p=1" in Passwords().hash(PASSWORD)
