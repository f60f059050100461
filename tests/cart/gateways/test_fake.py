import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cart.errors import IdempotencyKeyReused, PaymentDeclined, PaymentUnknown
from cart.gateways.fake import Behaviour, main, make_gateway
from cart.gateways.journal import Journal
from cart.gateways.remote import RemoteGateway
from cart.payments import Payment, PaymentRequest, PaymentState
from tests.cart.gateways.serving import PATIENT_S, free_port, served

REQUEST = PaymentRequest("charge:1", "ada", 199, "USD")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with Journal(":memory:") as journal, served(make_gateway(journal, declined_shoppers=["bob"])) as url:
        yield url


@pytest.fixture
def gateway(address: str) -> Iterator[RemoteGateway]:
    with RemoteGateway(address, timeout_s=PATIENT_S) as remote:
        yield remote


def request(name: str, amount_minor: int = 199, shopper_id: str = "ada") -> PaymentRequest:
    return PaymentRequest(f"charge:{name}", shopper_id, amount_minor, "USD")


def order(address: str, call: str, fault: str, times: int = 1) -> None:
    """Have the next calls of a kind go wrong."""
    told = httpx.post(
        f"{address}/admin/faults",
        json={"call": call, "fault": fault, "times": times},
        trust_env=False,
        timeout=PATIENT_S,
    )
    assert told.status_code == 204


def test_a_payment_over_the_wire_is_as_one_in_memory(gateway: RemoteGateway) -> None:
    held = gateway.authorise(request("plain"))
    assert held.state is PaymentState.AUTHORISED
    assert gateway.authorise(request("plain")) == held
    taken = gateway.capture(held, 150)
    assert (taken.state, taken.captured_minor) == (PaymentState.CAPTURED, 150)
    assert gateway.capture(held, 150) == taken
    assert gateway.refund(taken, 50, "refund:plain").refunded_minor == 50
    assert gateway.refund(taken, 50, "refund:plain").refunded_minor == 50
    assert gateway.look_up("charge:plain") == gateway.authorise(request("plain"))
    assert gateway.look_up_refund("refund:plain") == 50
    assert gateway.look_up("charge:none") is None
    assert gateway.look_up_refund("refund:none") is None


def test_a_hold_is_let_go_once(gateway: RemoteGateway) -> None:
    held = gateway.authorise(request("let go"))
    assert gateway.void(held) == gateway.void(held)
    with pytest.raises(PaymentDeclined, match="no hold"):
        gateway.capture(held)


def test_a_no_is_a_no(gateway: RemoteGateway) -> None:
    for _ in range(2):
        with pytest.raises(PaymentDeclined, match="does not pay"):
            gateway.authorise(request("bob", shopper_id="bob"))
    with pytest.raises(PaymentDeclined, match="no such payment"):
        gateway.void(Payment("fake-999999", REQUEST, PaymentState.AUTHORISED))
    with pytest.raises(PaymentDeclined, match="0 is left"):
        gateway.refund(gateway.authorise(request("not captured")), 1, "refund:too much")


def test_a_wrong_address_is_no_answer_of_the_gateway(gateway: RemoteGateway) -> None:
    with pytest.raises(PaymentUnknown, match="404"):
        gateway.void(Payment("fake/../9", REQUEST, PaymentState.AUTHORISED))


def test_a_key_is_good_for_one_payment_only(gateway: RemoteGateway) -> None:
    gateway.authorise(request("reused"))
    with pytest.raises(IdempotencyKeyReused):
        gateway.authorise(request("reused", 200))


def test_an_unknown_currency_is_not_taken_for_a_decline(address: str) -> None:
    body = {"shopper_id": "ada", "amount_minor": 1, "currency": "XYZ"}
    answer = httpx.post(
        f"{address}/payments", json=body, headers={"Idempotency-Key": "k"}, trust_env=False, timeout=PATIENT_S
    )
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


CALLS: dict[str, Callable[[RemoteGateway, Payment], object]] = {
    "capture": lambda gateway, payment: gateway.capture(payment),
    "void": lambda gateway, payment: gateway.void(payment),
    "refund": lambda gateway, payment: gateway.refund(payment, 10, f"refund:{payment.request.idempotency_key}"),
    "look_up": lambda gateway, payment: gateway.look_up(payment.request.idempotency_key),
}


@pytest.mark.parametrize("fault", ["lost_request", "lost_reply", "error_before", "error_after", "garbage"])
@pytest.mark.parametrize("call", CALLS)
def test_whatever_is_no_clear_answer_leaves_the_outcome_unknown(
    address: str, gateway: RemoteGateway, call: str, fault: str
) -> None:
    payment = gateway.authorise(request(f"{call} {fault}"))
    if call == "refund":
        payment = gateway.capture(payment)
    order(address, call, fault)
    with pytest.raises(PaymentUnknown):
        CALLS[call](gateway, payment)


@pytest.mark.parametrize(
    ("fault", "carried_out"),
    [("lost_request", False), ("error_before", False), ("lost_reply", True), ("error_after", True), ("garbage", True)],
)
def test_a_look_up_tells_what_a_lost_call_did(
    address: str, gateway: RemoteGateway, fault: str, carried_out: bool
) -> None:
    order(address, "authorise", fault)
    with pytest.raises(PaymentUnknown):
        gateway.authorise(request(f"told {fault}"))
    assert (gateway.look_up(f"charge:told {fault}") is not None) is carried_out


def test_a_failure_is_replayed_under_its_key_until_the_key_is_forgotten(address: str, gateway: RemoteGateway) -> None:
    order(address, "authorise", "error_before")
    for _ in range(3):
        with pytest.raises(PaymentUnknown, match="500"):
            gateway.authorise(request("replayed"))
    assert httpx.post(f"{address}/admin/prune-keys", trust_env=False, timeout=PATIENT_S).json()["forgotten"] >= 1
    assert gateway.authorise(request("replayed")).state is PaymentState.AUTHORISED


def test_a_payment_is_still_found_when_its_key_is_forgotten(address: str, gateway: RemoteGateway) -> None:
    taken = gateway.capture(gateway.authorise(request("forgotten")))
    httpx.post(f"{address}/admin/prune-keys", trust_env=False, timeout=PATIENT_S)
    assert gateway.look_up("charge:forgotten") == taken
    gateway.authorise(request("forgotten"))  # a second hold, as a careless caller would make
    assert gateway.look_up("charge:forgotten") == taken


def test_a_silent_gateway_is_given_up_after_a_while() -> None:
    with (
        Journal(":memory:") as journal,
        served(make_gateway(journal, Behaviour(lost_replies=1.0, silence_s=600.0))) as url,
        RemoteGateway(url, timeout_s=0.2) as gateway,
    ):
        with pytest.raises(PaymentUnknown, match="ReadTimeout"):
            gateway.authorise(REQUEST)
        assert len(journal.payments()) == 1


def test_nobody_listening_is_no_answer() -> None:
    with RemoteGateway(f"http://127.0.0.1:{free_port()}") as gateway, pytest.raises(PaymentUnknown, match="no answer"):
        gateway.look_up("charge:1")


def test_another_payment_than_the_one_asked_for_is_not_believed() -> None:
    def answer(asked: httpx.Request) -> httpx.Response:
        wrong = {"reference": "fake-1", "idempotency_key": "charge:1", "shopper_id": "eve", "amount_minor": 199}
        rest = {"currency": "USD", "state": "authorised", "captured_minor": 0, "refunded_minor": 0}
        return httpx.Response(201, json=wrong | rest)

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://127.0.0.1")
    with RemoteGateway("http://127.0.0.1", client=client) as gateway, pytest.raises(PaymentUnknown, match="another"):
        gateway.authorise(REQUEST)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8700", "http://", "http://127.0.0.1:port", ""])
def test_an_address_must_be_one(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        RemoteGateway(url)


def test_chance_plays_faults_in_their_share_and_differently_after_a_restart() -> None:
    with Journal(":memory:") as journal:
        outcomes: list[list[bool]] = []
        for run in range(2):
            app = make_gateway(journal, Behaviour(errors_before=0.3), seed=5)
            with served(app) as url, RemoteGateway(url) as gateway:
                outcomes.append([_is_held(gateway, request(f"{run}.{number}")) for number in range(60)])
        assert all(30 <= sum(run) <= 54 for run in outcomes)
        assert outcomes[0] != outcomes[1]
        assert sum(journal.faults().values()) == 120 - sum(map(sum, outcomes))


def _is_held(gateway: RemoteGateway, wanted: PaymentRequest) -> bool:
    try:
        gateway.authorise(wanted)
    except PaymentUnknown:
        return False
    return True


def test_behaviour_is_read_and_changed_while_it_runs(address: str, gateway: RemoteGateway) -> None:
    with httpx.Client(base_url=address, trust_env=False, timeout=PATIENT_S) as admin:
        before = admin.get("/admin/behaviour").json()
        assert admin.put("/admin/behaviour", json={"declines": 1.0}).json()["declines"] == 1.0
        with pytest.raises(PaymentDeclined):
            gateway.authorise(request("declined by order"))
        assert admin.put("/admin/behaviour", json=before).status_code == 200
        assert admin.put("/admin/behaviour", json={"declines": 1.5}).status_code == 422
        assert admin.put("/admin/behaviour", json={"decline": 0.5}).status_code == 422


def test_a_page_that_came_by_another_name_is_refused(address: str) -> None:
    answer = httpx.get(f"{address}/admin/journal", headers={"Host": "evil.example"}, trust_env=False, timeout=PATIENT_S)
    assert answer.status_code == 400


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(f"{url}/healthz", trust_env=False, timeout=1.0)
        except httpx.HTTPError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"the gateway did not come up, its status is {process.poll()}")


@pytest.mark.slow
def test_as_a_process_it_may_be_killed_and_forgets_nothing(tmp_path: Path) -> None:
    port = free_port()
    url, books = f"http://127.0.0.1:{port}", tmp_path / "gateway.db"
    words = [sys.executable, "-m", "cart.gateways.fake", "--port", str(port), "--journal", str(books)]
    with RemoteGateway(url, timeout_s=PATIENT_S) as gateway:
        for run in range(2):
            with subprocess.Popen(words) as process:
                _wait_for(url, process)
                payment = gateway.capture(gateway.authorise(request("killed")))
                assert payment.reference == "fake-1"
                process.kill()
            assert process.returncode == -9, run
    with Journal(books) as journal:
        assert journal.captured_minor("USD") == 199
        assert len(journal.payments()) == 1


@pytest.mark.parametrize(
    "wrong", [["--lost-replies", "2"], ["--webhook-url", "http://127.0.0.1:1"], ["--delay-s", "-1"], []]
)
def test_wrong_options_are_said_in_one_line(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--port", "1", "--journal", str(tmp_path / "x.db")] if wrong else []
    with pytest.raises(SystemExit) as ended:
        main([*place, *wrong])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_webhooks_tell_what_happened_until_somebody_listens() -> None:
    heard: list[dict[str, Any]] = []
    deaf = [True]

    async def listener(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        message = await receive()
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if not deaf[0]:
            heard.append({"body": message["body"], "headers": headers})
        status = 503 if deaf[0] else 204
        deaf[0] = False
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})

    with Journal(":memory:") as journal, served(listener) as shop:
        app = make_gateway(journal, Behaviour(webhooks_doubled=1.0), webhook_url=shop, webhook_secret="whsec_c2VjcmV0")
        with served(app) as url, RemoteGateway(url) as gateway:
            gateway.capture(gateway.authorise(REQUEST))
            until = time.monotonic() + 20
            while journal.events(unsent=True) and time.monotonic() < until:
                time.sleep(0.01)
        assert not journal.events(unsent=True)
    ids = [told["headers"]["webhook-id"] for told in heard]
    assert set(ids) == {"evt_1", "evt_2"}
    assert len(ids) > 2
