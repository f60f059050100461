"""What shoppers may see of what the store saw: their own, and never anybody else."""

from datetime import timedelta
from uuid import UUID, uuid4

from cart.accounts import Role
from cart.events import CartEvent
from cart.evidence import EvidenceKind, InteractionFacts, WeightCurve
from cart.sessions import Session
from tests.cart.api.shops import NOON, ApiStore

CURVE = WeightCurve((-0.5, 0.0, 1.5), (0.0, -3.5, -120.0))
HAND = b"\xff\xd8hand"


def shown(store: ApiStore, session: Session, interaction: UUID) -> None:
    """Keep a picture of an interaction."""
    facts = InteractionFacts("pick", "b1", "shelf 3", NOON, NOON, camera_id="north")
    store.evidence.add(session.session_id, interaction, EvidenceKind.HAND, facts, HAND, "image/jpeg")


def test_a_shopper_sees_what_was_seen_of_their_own_visit() -> None:
    store = ApiStore()
    ada, client = store.signed_in("ada")
    eve = store.account("eve")
    visit = store.paid_visit(ada)
    interaction = uuid4()
    facts = store.facts_of(ada, eve, weight=CURVE)
    piece = store.evidence.add(visit.session_id, interaction, EvidenceKind.INTERACTION, facts)
    shown(store, visit, interaction)
    answer = client.get(f"/v1/receipts/{visit.session_id}-1/evidence")
    assert answer.status_code == 200
    picture_url = f"/v1/receipts/{visit.session_id}-1/evidence/{piece}/picture"
    assert answer.json() == {
        "items": [
            {
                "evidence_id": str(piece),
                "interaction_id": str(interaction),
                "sku": "042",
                "name": "Oat bar",
                "kind": "pick",
                "quantity": 2,
                "probability": 0.9,
                "place": "gondola 1, shelf 3",
                "started_at": "2026-05-04T12:00:00Z",
                "ended_at": "2026-05-04T12:00:02Z",
                "cameras": ["north"],
                "curve": {"times_s": [-0.5, 0.0, 1.5], "grams": [0.0, -3.5, -120.0]},
                "picture_url": picture_url,
            }
        ]
    }
    assert str(eve.account_id) not in answer.text
    picture = client.get(picture_url)
    assert (picture.content, picture.headers["content-type"]) == (HAND, "image/jpeg")
    assert picture.headers["cache-control"] == "private, no-cache"


def test_what_went_into_the_cart_counts_and_what_was_somebody_elses_is_not_told() -> None:
    store = ApiStore()
    ada, client = store.signed_in("ada")
    eve = store.account("eve")
    visit = store.visit(ada)
    booked, eves = uuid4(), uuid4()
    store.checkout.record(CartEvent(uuid4(), visit.session_id, store.at, "043", 1, booked, 0.7))
    store.checkout.close(visit.session_id, store.at)
    # A hand-over: whose hand it was is not who pays for it.
    store.evidence.add(visit.session_id, booked, EvidenceKind.INTERACTION, store.facts_of(eve, ada))
    hidden = store.evidence.add(
        visit.session_id, eves, EvidenceKind.INTERACTION, store.facts_of(eve, ada, weight=CURVE)
    )
    shown(store, visit, eves)
    (item,) = client.get(f"/v1/receipts/{visit.session_id}/evidence").json()["items"]
    assert (item["interaction_id"], item["sku"], item["name"], item["quantity"], item["probability"]) == (
        str(booked),
        "043",
        "Cola",
        1,
        0.7,
    )
    assert (item["picture_url"], item["curve"]) == (None, None)
    assert client.get(f"/v1/receipts/{visit.session_id}/evidence/{hidden}/picture").status_code == 404


def test_clips_and_whole_pictures_are_for_reviewers_alone() -> None:
    store = ApiStore()
    ada, client = store.signed_in("ada")
    visit = store.paid_visit(ada)
    interaction = uuid4()
    seen = store.evidence.add(visit.session_id, interaction, EvidenceKind.INTERACTION, store.facts_of(ada))
    facts = InteractionFacts("pick", "b1", "shelf 3", NOON, NOON, camera_id="north")
    clip = store.evidence.add(visit.session_id, interaction, EvidenceKind.CLIP, facts, b"film", "video/mp4")
    whole = store.evidence.add(visit.session_id, interaction, EvidenceKind.PICTURE, facts, b"face", "image/jpeg")
    (item,) = client.get(f"/v1/receipts/{visit.session_id}/evidence").json()["items"]
    assert item["picture_url"] is None
    for piece in (seen, clip, whole):
        assert client.get(f"/v1/receipts/{visit.session_id}/evidence/{piece}/picture").status_code == 404
    _, reviewer = store.signed_in("rita", Role.REVIEWER)
    case = reviewer.get(f"/v1/reviews/{visit.session_id}").json()
    (told,) = [each for each in case["evidence"] if each["kind"] == "clip"]
    assert told["facts"]["camera_id"] == "north"
    assert reviewer.get(told["media_url"]).content == b"film"


def test_others_evidence_does_not_exist_and_whoever_may_look_is_written_down() -> None:
    store = ApiStore()
    ada, _ = store.signed_in("ada")
    _, eve = store.signed_in("eve")
    staff, sam = store.signed_in("sam", Role.STAFF)
    _, owner = store.signed_in("boss", Role.OWNER)
    visit = store.paid_visit(ada)
    store.evidence.add(visit.session_id, uuid4(), EvidenceKind.INTERACTION, store.facts_of(ada))
    assert eve.get(f"/v1/receipts/{visit.session_id}/evidence").status_code == 404
    assert len(sam.get(f"/v1/receipts/{visit.session_id}/evidence").json()["items"]) == 1
    (look,) = owner.get("/v1/audit", params={"action": "looked", "actor_id": str(staff.account_id)}).json()["items"]
    assert look["detail"]["what"] == f"evidence:{visit.session_id}"


def test_evidence_ends_with_its_time() -> None:
    store = ApiStore()
    ada = store.account("ada")
    visit = store.paid_visit(ada)
    store.evidence.add(visit.session_id, uuid4(), EvidenceKind.INTERACTION, store.facts_of(ada))
    store.at += timedelta(days=31)
    client = store.client(store.token_of(ada))
    assert client.get(f"/v1/receipts/{visit.session_id}/evidence").json() == {"items": []}
