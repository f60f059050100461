"""A whole trip through the API, from opening an account to money back."""

from uuid import UUID

from cart.accounts import Role
from tests.cart.api.shops import PASSWORD, ApiStore


def test_a_trip_from_account_to_refund_goes_through_the_api_alone() -> None:
    store = ApiStore(demo=True)
    anybody = store.client()
    opened = anybody.post("/v1/accounts", json={"email": "ada@example.com", "password": PASSWORD, "name": "Ada"})
    assert (opened.status_code, opened.json()["has_payment_method"]) == (201, True)
    token = anybody.post("/v1/tokens", json={"email": "ada@example.com", "password": PASSWORD}).json()["token"]
    ada = store.client(token)
    code = ada.post("/v1/entry-codes").json()["code"]
    assert anybody.post("/v1/gates/side/scans", json={"code": code}).status_code == 404
    scan = anybody.post("/v1/gates/front/scans", json={"code": code}).json()
    assert (scan["decision"], scan["reason"]) == ("open", "welcome")
    visit = scan["session_id"]
    assert anybody.post("/v1/gates/front/scans", json={"code": code}).json()["reason"] == "already_used"
    assert ada.get(f"/v1/sessions/{visit}").json()["status"] == "open"

    store.take(UUID(visit), quantity=2)
    cart = ada.get(f"/v1/sessions/{visit}/cart").json()
    assert [(line["name"], line["quantity"]) for line in cart["lines"]] == [("Oat bar", 2)]
    assert cart["total_minor"] == 398
    store.checkout.close(UUID(visit), store.at)

    (head,) = ada.get("/v1/receipts").json()["items"]
    assert (head["receipt_number"], head["total_minor"], head["status"]) == (1, 398, "charged")
    receipt = ada.get(f"/v1/receipts/{visit}")
    assert receipt.json()["total_minor"] == 398
    page = ada.get(f"/v1/receipts/{visit}", headers={"Accept": "text/html"})
    assert "Oat bar" in page.text
    pdf = ada.get(f"/v1/receipts/{visit}-1", headers={"Accept": "application/pdf"})
    assert pdf.content.startswith(b"%PDF-")
    assert "Oat bar" in ada.get(f"/v1/receipts/{visit}", headers={"Accept": "text/plain"}).text

    asked = ada.post(f"/v1/receipts/{visit}/disputes", json={"sku": "042", "claimed_quantity": 1, "message": "one"})
    assert asked.status_code == 201
    assert asked.json()["status"] == "settled"
    assert ada.get(f"/v1/receipts/{visit}").json()["total_minor"] == 199

    _, manager = store.signed_in("boss", Role.MANAGER)
    refund = manager.post(
        f"/v1/sessions/{visit}/refunds",
        json={"amount_minor": 99, "reason": "a kind word"},
        headers={"Idempotency-Key": "kind"},
    )
    assert (refund.status_code, refund.json()["status"]) == (201, "posted")
    assert store.gateway.captured_minor("EUR") - store.gateway.refunded_minor("EUR") == 100


def test_a_doubtful_visit_is_decided_through_the_api_and_then_charged() -> None:
    store = ApiStore()
    ada, ada_client = store.signed_in("ada")
    visit = store.doubtful_visit(ada)
    _, reviewer = store.signed_in("grace", Role.REVIEWER)
    (waiting,) = reviewer.get("/v1/reviews").json()["items"]
    assert (waiting["session_id"], waiting["open_questions"]) == (str(visit.session_id), 1)
    case = reviewer.get(f"/v1/reviews/{visit.session_id}").json()
    assert [answer["quantity"] for answer in case["questions"][0]["answers"]] == [1, 2]
    decided = reviewer.post(
        f"/v1/reviews/{visit.session_id}/decision", json={"answers": [{"question": 0, "answer": 1}]}
    )
    assert (decided.json()["status"], decided.json()["paid_minor"]) == ("charged", 398)
    assert reviewer.get("/v1/reviews").json()["items"] == []
    assert ada_client.get(f"/v1/receipts/{visit.session_id}").json()["total_minor"] == 398
