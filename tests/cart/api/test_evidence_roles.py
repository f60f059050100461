"""Changing what somebody is to the store."""

from cart.accounts import Role
from tests.cart.api.shops import ApiStore


def test_a_manager_makes_a_shopper_staff_who_has_to_sign_in_anew() -> None:
    store = ApiStore()
    store.account("first-owner", Role.OWNER)
    boss, manager = store.signed_in("mona", Role.MANAGER)
    _, owner = store.signed_in("olga", Role.OWNER)
    ada, before = store.signed_in("ada")
    answer = manager.put(f"/v1/accounts/{ada.account_id}/role", json={"role": "staff"})
    assert (answer.status_code, answer.json()["role"]) == (200, "staff")
    assert before.get("/v1/account").status_code == 401
    assert store.client(store.token_of(ada)).get("/v1/cameras").status_code == 200
    (entry,) = owner.get("/v1/audit", params={"action": "account.role_changed"}).json()["items"]
    assert (entry["actor_id"], entry["subject"]) == (str(boss.account_id), f"account:{ada.account_id}")
    assert entry["detail"] == {"from": "shopper", "to": "staff"}


def test_the_role_that_somebody_has_changes_nothing() -> None:
    store = ApiStore()
    _, owner = store.signed_in("olga", Role.OWNER)
    ada, client = store.signed_in("ada")
    assert owner.put(f"/v1/accounts/{ada.account_id}/role", json={"role": "shopper"}).status_code == 200
    assert client.get("/v1/account").status_code == 200
    assert owner.get("/v1/audit", params={"action": "account.role_changed"}).json()["items"] == []


def test_nobody_makes_more_of_anybody_than_they_could_open_nor_touches_who_is_above_them() -> None:
    store = ApiStore()
    olga, owner = store.signed_in("olga", Role.OWNER)
    mona, manager = store.signed_in("mona", Role.MANAGER)
    max_, _ = store.signed_in("max", Role.MANAGER)
    ada = store.account("ada")
    gate, _ = store.signed_in("front", Role.DEVICE)
    tries = [
        (manager, ada, "owner"),
        (manager, ada, "manager"),
        (manager, max_, "shopper"),
        (manager, olga, "viewer"),
        (manager, mona, "staff"),
        (owner, olga, "manager"),
        (owner, ada, "device"),
        (owner, gate, "staff"),
    ]
    for client, account, role in tries:
        answer = client.put(f"/v1/accounts/{account.account_id}/role", json={"role": role})
        assert answer.status_code == 403, (account.name, role, answer.text)
        assert store.accounts.account(account.account_id).role is account.role


def test_an_erased_account_has_no_role_to_change() -> None:
    store = ApiStore()
    _, owner = store.signed_in("olga", Role.OWNER)
    ada = store.account("ada")
    assert owner.delete(f"/v1/accounts/{ada.account_id}").status_code == 204
    assert owner.put(f"/v1/accounts/{ada.account_id}/role", json={"role": "staff"}).status_code == 404
