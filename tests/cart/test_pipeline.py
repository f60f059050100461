"""Tests of cart.pipeline."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cart.cart import Cart
from cart.checkout import Checkout
from cart.events import CartEvent
from cart.payments import FakeGateway
from cart.pipeline import (
    HandSeen,
    InteractionSeen,
    PipelineSettings,
    StoreEvent,
    StorePipeline,
    VisitClosed,
    VisitOpened,
    catalogue_of,
)
from cart.review_costs import ReviewCosts
from cart.sessions import SessionStatus
from store_sim.demo_shop import demo_simulation
from store_sim.shelf_pictures import RATE_HZ, ShelfSequence, shelf_sequence
from tests.cart.shopfloor import (
    BODY_HZ,
    LAYOUT,
    PRICES,
    SECOND,
    SKUS,
    START_NS,
    Oracle,
    Touch,
    make_checkout,
    make_pipeline,
    play,
    units_g,
)
from tests.vision.test_shelf import Shelf, bins
from tracking.identities import IdentityTracker
from tracking.types import Candidate, Evidence, HandContact, Interaction, MixUp
from tracking.visits import Leaving
from vision.frames import JOINT_NAMES, Frame, GateEvent, ScaleSamples, Tick, TrackedBodies
from vision.layout import ProductRecord, StoreLayout, View
from vision.shelf import Handling

BIN = LAYOUT.bins[4].bin_id  # any bin whose product has a price
SKU = LAYOUT.bins[4].sku or ""
OTHER = LAYOUT.bins[8].bin_id


def events_of(pipeline: StorePipeline, ticks: Sequence[Tick]) -> list[StoreEvent]:
    events = [event for tick in ticks for event in pipeline.step(tick)]
    return events + pipeline.finish()


def closed(events: Sequence[StoreEvent]) -> dict[str, VisitClosed]:
    found = [event for event in events if isinstance(event, VisitClosed)]
    assert len({event.shopper for event in found}) == len(found)
    return {event.shopper: event for event in found}


def seen(events: Sequence[StoreEvent]) -> list[InteractionSeen]:
    return [event for event in events if isinstance(event, InteractionSeen)]


def lines(visit: VisitClosed) -> dict[str, int]:
    return {line.sku: line.quantity for line in visit.outcome.receipt.lines}


def interaction(
    *candidates: Candidate, kind: Handling = Handling.PICK, number: int = 1, at_s: float = 0.0, bin_id: str = BIN
) -> Interaction:
    time_ns = START_NS + round(at_s * SECOND)
    best = candidates[0] if candidates else None
    return Interaction(
        UUID(int=number),
        kind,
        bin_id,
        (),
        None if best is None else best.sku,
        1 if best is None else best.quantity,
        time_ns,
        time_ns,
        time_ns,
        candidates,
    )


def peopled(
    *names: str,
    settings: PipelineSettings | None = None,
    without_account: Sequence[str] = (),
    gateway: FakeGateway | None = None,
) -> StorePipeline:
    """A store with these people in it; the first has identity 1."""
    pipeline = make_pipeline(settings=settings, without_account=without_account, gateway=gateway)
    for tick in play([], 0.2, shoppers=names, scales=False):
        pipeline.step(tick)
    return pipeline


def test_a_sure_pick_is_charged_once() -> None:
    gateway = FakeGateway()
    pipeline = make_pipeline(gateway=gateway)
    events = events_of(pipeline, list(play([Touch("ada", BIN, 6.0, units_g(BIN, -1))], 10.0)))
    assert [type(event) for event in events if not isinstance(event, HandSeen)] == [
        VisitOpened,
        InteractionSeen,
        VisitClosed,
    ]
    (pick,) = seen(events)
    assert (pick.recorded_for, pick.sure, pick.shoppers[0]) == ("ada", True, "ada")
    visit = closed(events)["ada"]
    assert visit.outcome.status is SessionStatus.CHARGED
    assert lines(visit) == {SKU: 1}
    assert visit.outcome.receipt.total_minor == PRICES[SKU]
    assert [payment.request.amount_minor for payment in gateway.payments] == [PRICES[SKU]]
    assert pipeline.finish() == []
    assert gateway.captured_minor("EUR") == PRICES[SKU]


def test_the_live_cart_and_hands_can_be_seen_while_it_happens() -> None:
    pipeline = make_pipeline()
    carts = []
    hands: set[tuple[int, str]] = set()
    for tick in play([Touch("ada", BIN, 6.0, units_g(BIN, -2))], 11.0):
        pipeline.step(tick)
        carts.append(pipeline.carts())
        hands.update(pipeline.open_contacts)
    assert (carts[20][0].shopper, carts[20][0].lines) == ("ada", ())
    assert carts[-1][0].lines == ((SKU, 2),)
    assert hands == {(1, BIN)}
    assert pipeline.shopper(1) == "ada"
    assert pipeline.shopper(2) is None


def test_what_has_just_been_taken_is_expected_until_it_is_in_the_cart() -> None:
    pipeline = make_pipeline()
    expected: list[list[tuple[str, int]]] = []
    first_s = None
    for i, tick in enumerate(play([Touch("ada", BIN, 6.0, units_g(BIN, -2))], 12.0)):
        pipeline.step(tick)
        found = pipeline.expected()
        expected.append([(each.sku, each.quantity) for each in found])
        if found and first_s is None:
            first_s = i / BODY_HZ
            (change,) = found
            assert change.session == pipeline.session(1)
            assert change.probability > 0.9
            assert (change.time_ns - START_NS) / SECOND == pytest.approx(6.0, abs=0.4)
        in_cart = bool(pipeline.carts()) and pipeline.carts()[0].lines == ((SKU, 2),)
        # Never both, and never neither once it was known.
        assert in_cart is not bool(found) or first_s is None
    assert [(SKU, 2)] in expected
    assert expected[-1] == []
    # The hand leaves the bin a second after the goods do, and a plate is at rest 0.8 s after that.
    assert first_s is not None
    assert 6.0 < first_s < 8.5


def test_a_hand_that_only_presses_leaves_no_expectation_behind() -> None:
    pipeline = make_pipeline()
    for tick in play([Touch("ada", BIN, 6.0)], 12.0):
        pipeline.step(tick)
        assert pipeline.expected() == ()


def test_what_comes_back_is_expected_off_the_cart_of_who_has_it() -> None:
    pipeline = make_pipeline()
    touches = [Touch("ada", BIN, 6.0, units_g(BIN, -1)), Touch("ben", BIN, 16.0, units_g(BIN, 1))]
    expected = set()
    for tick in play(touches, 22.0):
        pipeline.step(tick)
        expected |= {(pipeline.shopper(1), each.session.shopper_id, each.quantity) for each in pipeline.expected()}
    assert expected == {("ada", "ada", 1), ("ada", "ada", -1)}


def test_a_hand_in_a_bin_is_told_with_its_owner() -> None:
    events = events_of(make_pipeline(), list(play([Touch("ada", BIN, 6.0)], 9.0)))
    (hand,) = [event for event in events if isinstance(event, HandSeen)]
    assert (hand.shopper, hand.contact.bin_id) == ("ada", BIN)
    assert hand.contact.start_ns == pytest.approx(START_NS + 5.0 * SECOND, abs=0.1 * SECOND)
    assert hand.contact.end_ns == pytest.approx(START_NS + 7.0 * SECOND, abs=0.1 * SECOND)
    assert seen(events) == []
    assert closed(events)["ada"].outcome.status is SessionStatus.EMPTY


def test_two_hands_at_one_item_send_both_to_review_and_charge_nobody() -> None:
    gateway = FakeGateway()
    touches = [Touch("ada", BIN, 6.0, units_g(BIN, -1)), Touch("ben", BIN, 6.0)]
    events = events_of(make_pipeline(gateway=gateway), list(play(touches, 10.0, shoppers=["ada", "ben", "cleo"])))
    (pick,) = seen(events)
    assert not pick.sure
    assert {"ada", "ben"} == set(pick.shoppers[:2])
    visits = closed(events)
    assert {name: visit.outcome.status.value for name, visit in visits.items()} == {
        "ada": "needs_review",
        "ben": "needs_review",
        "cleo": "empty",
    }
    assert gateway.payments == ()
    assert all(visits[name].outcome.flags for name in ("ada", "ben"))


def test_a_weight_that_fits_no_product_sends_the_visit_to_review() -> None:
    # Neither one unit nor two, nor anything that stands near.
    events = events_of(make_pipeline(), list(play([Touch("ada", BIN, 6.0, -1.47 * units_g(BIN, 1))], 10.0)))
    visit = closed(events)["ada"]
    assert visit.outcome.status is SessionStatus.NEEDS_REVIEW
    assert visit.outcome.charge is None


def test_what_is_put_back_is_not_charged() -> None:
    touches = [Touch("ada", BIN, 6.0, units_g(BIN, -1)), Touch("ada", BIN, 12.0, units_g(BIN, 1))]
    events = events_of(make_pipeline(), list(play(touches, 16.0)))
    assert [s.interaction.kind for s in seen(events)] == [Handling.PICK, Handling.PUT_BACK]
    assert closed(events)["ada"].outcome.status is SessionStatus.EMPTY


def test_putting_back_what_was_never_taken_needs_a_look() -> None:
    events = events_of(make_pipeline(), list(play([Touch("ada", BIN, 6.0, units_g(BIN, 1))], 10.0)))
    visit = closed(events)["ada"]
    assert visit.outcome.status is SessionStatus.NEEDS_REVIEW
    assert lines(visit) == {SKU: -1}
    assert visit.outcome.charge is None


def test_an_item_that_goes_while_nobody_is_near_is_nobodys() -> None:
    events = events_of(
        make_pipeline(), list(play([Touch("ghost", BIN, 6.0, units_g(BIN, -1))], 10.0, shoppers=["ada"]))
    )
    (pick,) = seen(events)
    assert pick.recorded_for is None
    assert not pick.sure
    assert all(candidate.probability < 0.1 for candidate in pick.interaction.candidates)
    assert closed(events)["ada"].outcome.status is SessionStatus.EMPTY


def test_scales_without_anybody_tracked_give_interactions_without_candidates() -> None:
    ticks = [replace(t, bodies=None) for t in play([Touch("ghost", BIN, 6.0, units_g(BIN, -1))], 10.0)]
    events = events_of(make_pipeline(), ticks)
    (pick,) = seen(events)
    assert pick.interaction.candidates == ()
    assert pick.shoppers == ()
    assert pick.interaction.sku == SKU
    assert len(events) == 1


def test_bodies_without_scales_never_lead_to_a_charge() -> None:
    touches = [Touch("ada", BIN, 6.0, units_g(BIN, -1)), Touch("ada", OTHER, 12.0, units_g(OTHER, -1))]
    events = events_of(make_pipeline(), list(play(touches, 16.0, scales=False)))
    picks = seen(events)
    assert [p.interaction.bin_id for p in picks] == [BIN, OTHER]
    assert not any(p.sure for p in picks)
    assert closed(events)["ada"].outcome.status is SessionStatus.NEEDS_REVIEW


def test_nobody_without_an_account_is_charged() -> None:
    gateway = FakeGateway()
    pipeline = make_pipeline(without_account=["ada"], gateway=gateway)
    events = events_of(pipeline, list(play([Touch("ada", BIN, 6.0, units_g(BIN, -1))], 10.0)))
    visit = closed(events)["ada"]
    assert visit.outcome.status is SessionStatus.NO_ACCOUNT
    assert lines(visit) == {SKU: 1}
    assert gateway.payments == ()


def test_who_is_unseen_for_a_moment_keeps_the_visit() -> None:
    touches = [Touch("ada", BIN, 6.0, units_g(BIN, -1)), Touch("ada", OTHER, 16.0, units_g(OTHER, -1))]
    events = events_of(make_pipeline(), list(play(touches, 20.0, absent=[("ada", 8.5, 13.0)])))
    assert sum(isinstance(event, VisitOpened) for event in events) == 1
    assert lines(closed(events)["ada"]) == {SKU: 1, LAYOUT.bin(OTHER).sku: 1}


def test_who_comes_again_has_a_second_visit() -> None:
    gateway = FakeGateway()
    touches = [Touch("ada", BIN, 6.0, units_g(BIN, -1)), Touch("ada", BIN, 52.0, units_g(BIN, -1))]
    events = events_of(make_pipeline(gateway=gateway), list(play(touches, 56.0, absent=[("ada", 9.0, 48.0)])))
    visits = [event for event in events if isinstance(event, VisitClosed)]
    assert [visit.outcome.status for visit in visits] == [SessionStatus.CHARGED] * 2
    assert [lines(visit) for visit in visits] == [{SKU: 1}] * 2
    assert visits[0].left_ns < visits[1].entered_ns
    assert [visit.leaving for visit in visits] == [Leaving.VANISHED, Leaving.RECORDING_ENDED]
    assert visits[0].left_ns == pytest.approx(START_NS + 9.0 * SECOND, abs=0.1 * SECOND)
    assert len(gateway.payments) == 2


def test_evidence_about_somebody_who_has_left_changes_no_charge_but_is_kept() -> None:
    gateway = FakeGateway()
    checkout = make_checkout(gateway=gateway)
    pipeline = StorePipeline(LAYOUT, checkout)
    touches = [Touch("ada", BIN, 6.0, units_g(BIN, -1))]
    events = [
        event
        for tick in play(touches, 45.0, absent=[("ada", 9.0, 99.0)], shoppers=["ada", "ben"])
        for event in pipeline.step(tick)
    ]
    charge = closed(events)["ada"].outcome.charge
    assert charge is not None
    late = pipeline.record(interaction(Candidate(1, SKU, 3, 0.99), number=7, at_s=8.0))
    assert late.shoppers == ("ada",)
    assert late.recorded_for is None
    outcome = checkout.outcome(closed(events)["ada"].outcome.session.session_id)
    assert outcome is not None
    assert outcome.charge == charge
    assert lines(replace(closed(events)["ada"], outcome=outcome)) == {SKU: 1}
    assert [flag.cause_id for flag in outcome.flags] == [UUID(int=7)]
    rest = closed(pipeline.finish())
    assert list(rest) == ["ben"]
    assert gateway.captured_minor("EUR") == charge.amount_minor


def test_a_candidate_whom_nobody_knows_is_named_by_number_and_harms_nobody() -> None:
    pipeline = peopled("ada")
    stranger = pipeline.record(interaction(Candidate(77, SKU, 1, 0.95)))
    assert (stranger.shoppers, stranger.recorded_for) == (("person-77",), None)
    assert closed(pipeline.finish())["ada"].outcome.status is SessionStatus.EMPTY


def test_one_interaction_told_twice_counts_once() -> None:
    pipeline = peopled("ada")
    for _ in range(2):
        pipeline.record(interaction(Candidate(1, SKU, 1, 0.97)))
    visit = closed(pipeline.finish())["ada"]
    assert lines(visit) == {SKU: 1}
    assert visit.outcome.status is SessionStatus.CHARGED


@pytest.mark.parametrize(("share", "status"), [(None, "needs_review"), (0.05, "needs_review"), (0.97, "empty")])
def test_who_stood_where_something_went_into_an_unseen_hand_is_looked_at(share: float | None, status: str) -> None:
    pipeline = make_pipeline()
    box = LAYOUT.bin(BIN).box
    assert box is not None
    for tick in play([], 10.0, shoppers=["ada", "ben"]):
        assert tick.bodies is not None
        joints_m = tick.bodies.joints_m.copy()
        before_it_m = box.centre_m[:2] - [0, 0.7]
        joints_m[0, :, :2] += before_it_m - joints_m[0, 0, :2]  # ada stands there, ben in the middle
        pipeline.step(replace(tick, bodies=replace(tick.bodies, joints_m=joints_m)))
    pipeline.record(interaction(*([] if share is None else [Candidate(9, SKU, 1, share)]), at_s=6.0))
    visits = closed(pipeline.finish())
    assert visits["ada"].outcome.status.value == status
    assert visits["ben"].outcome.status is SessionStatus.EMPTY


@pytest.mark.parametrize(("share", "status"), [(0.14, "empty"), (0.15, "needs_review"), (0.4, "needs_review")])
def test_whoever_may_have_taken_it_is_looked_at(share: float, status: str) -> None:
    pipeline = peopled("ada", "ben")
    told = pipeline.record(interaction(Candidate(1, SKU, 1, 0.55), Candidate(2, SKU, 1, share)))
    assert not told.sure
    visits = closed(pipeline.finish())
    assert visits["ada"].outcome.status is SessionStatus.NEEDS_REVIEW
    assert visits["ben"].outcome.status.value == status


def mixed_up(since_s: float, until_s: float | None = None) -> MixUp:
    """Identities 1 and 2 came too close together."""
    until_ns = None if until_s is None else START_NS + round(until_s * SECOND)
    return MixUp((1, 2), START_NS + round(since_s * SECOND), until_ns)


@pytest.mark.parametrize("told_late", [False, True])
@pytest.mark.parametrize(
    ("picked_s", "until_s", "status"),
    [(1.0, None, "charged"), (3.0, None, "needs_review"), (3.0, 4.0, "needs_review"), (5.0, 4.0, "charged")],
)
def test_what_was_taken_after_two_may_have_been_mixed_up_is_looked_at(
    told_late: bool, picked_s: float, until_s: float | None, status: str
) -> None:
    pipeline = peopled("ada", "ben")
    if not told_late:
        pipeline.record_mix_up(mixed_up(2.0, until_s))
    pipeline.record(interaction(Candidate(1, SKU, 1, 0.97), at_s=picked_s))
    if told_late:
        pipeline.record_mix_up(mixed_up(2.0, until_s))
    visits = closed(pipeline.finish())
    assert visits["ada"].outcome.status.value == status
    # Whatever ben may owe for it is looked at as well; else there is nothing.
    assert visits["ben"].outcome.status.value == ("empty" if status == "charged" else "needs_review")


def test_two_who_took_nothing_are_not_looked_at_for_having_met() -> None:
    pipeline = peopled("ada", "ben")
    pipeline.record_mix_up(mixed_up(0.0))
    assert {visit.outcome.status for visit in closed(pipeline.finish()).values()} == {SessionStatus.EMPTY}


def test_somebody_mixed_up_with_a_stranger_is_looked_at() -> None:
    pipeline = peopled("ada")
    pipeline.record_mix_up(mixed_up(0.0))
    pipeline.record(interaction(Candidate(1, SKU, 1, 0.97), at_s=1.0))
    visit = closed(pipeline.finish())["ada"]
    assert visit.outcome.status is SessionStatus.NEEDS_REVIEW
    assert "somebody else" in visit.outcome.flags[0].reason


def test_two_who_are_still_together_when_the_recording_ends_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = peopled("ada", "ben")
    pipeline.record(interaction(Candidate(1, SKU, 1, 0.97), at_s=1.0))
    monkeypatch.setattr(IdentityTracker, "finish", lambda tracker: [mixed_up(0.5)])
    assert {visit.outcome.status for visit in closed(pipeline.finish()).values()} == {SessionStatus.NEEDS_REVIEW}


def test_what_somebody_else_brings_back_is_taken_off_the_cart_of_who_took_it() -> None:
    pipeline = peopled("ada", "ben")
    pipeline.record(interaction(Candidate(1, SKU, 1, 0.97)))
    told = pipeline.record(interaction(Candidate(2, SKU, 1, 0.97), kind=Handling.PUT_BACK, number=7))
    assert (told.recorded_for, told.sure) == ("ada", True)
    assert {visit.outcome.status for visit in closed(pipeline.finish()).values()} == {SessionStatus.EMPTY}


def test_who_brought_it_back_does_not_matter_where_only_one_has_it() -> None:
    pipeline = peopled("ada", "ben", "cleo")
    pipeline.record(interaction(Candidate(1, SKU, 1, 0.97)))
    either = Candidate(2, SKU, 1, 0.5), Candidate(3, SKU, 1, 0.45)
    pipeline.record(interaction(*either, kind=Handling.PUT_BACK, number=7))
    assert {visit.outcome.status for visit in closed(pipeline.finish()).values()} == {SessionStatus.EMPTY}


def test_who_has_what_may_have_been_brought_back_is_looked_at() -> None:
    pipeline = peopled("ada", "ben")
    pipeline.record(interaction(Candidate(1, SKU, 1, 0.97)))
    pipeline.record(interaction(Candidate(2, SKU, 1, 0.6), kind=Handling.PUT_BACK, number=7))
    assert {visit.outcome.status for visit in closed(pipeline.finish()).values()} == {SessionStatus.NEEDS_REVIEW}


def test_what_two_have_and_a_third_brings_back_needs_a_look() -> None:
    pipeline = peopled("ada", "ben", "cleo")
    for number, who in enumerate((1, 2)):
        pipeline.record(interaction(Candidate(who, SKU, 1, 0.97), number=number))
    told = pipeline.record(interaction(Candidate(3, SKU, 1, 0.97), kind=Handling.PUT_BACK, number=2))
    assert told.recorded_for == "cleo"
    visits = closed(pipeline.finish())
    assert {visit.outcome.status for visit in visits.values()} == {SessionStatus.NEEDS_REVIEW}
    for name in ("ada", "ben"):
        (question,) = visits[name].outcome.questions
        assert question.text.startswith(f"Does {name} have 1 x ")
        assert [(answer.sku, answer.quantity) for answer in question.answers] == [(SKU, -1), (None, 0)]


def test_nothing_is_asked_of_others_where_somebody_brings_back_what_they_have_themselves() -> None:
    pipeline = peopled("ada", "ben")
    for number, who in enumerate((1, 2)):
        pipeline.record(interaction(Candidate(who, SKU, 1, 0.97), number=number))
    pipeline.record(interaction(Candidate(2, SKU, 1, 0.97), kind=Handling.PUT_BACK, number=2))
    statuses = {name: visit.outcome.status for name, visit in closed(pipeline.finish()).items()}
    assert statuses == {"ada": SessionStatus.CHARGED, "ben": SessionStatus.EMPTY}


def test_a_flag_about_shares_comes_with_its_question() -> None:
    pipeline = peopled("ada", "ben")
    pipeline.record(interaction(Candidate(1, SKU, 2, 0.6), Candidate(2, SKU, 1, 0.3)))
    visits = closed(pipeline.finish())
    (ada,), (ben,) = (visits[who].outcome.questions for who in ("ada", "ben"))
    assert [(answer.quantity, round(answer.probability, 3)) for answer in ada.answers] == [(2, 0.6), (1, 0.3), (0, 0.1)]
    assert [(answer.quantity, round(answer.probability, 3)) for answer in ben.answers] == [(1, 0.3), (0, 0.7)]


def test_what_is_hardly_seen_is_asked_and_is_no_line() -> None:
    pipeline = peopled("ada")
    hand = HandContact(1, BIN, START_NS, START_NS + SECOND, 0.0)
    seen = replace(interaction(Candidate(1, SKU, 1, 0.2)), evidence=Evidence(contacts=(hand,)))
    told = pipeline.record(seen)
    assert told.recorded_for is None
    outcome = closed(pipeline.finish())["ada"].outcome
    assert (outcome.status, len(outcome.questions)) == (SessionStatus.NEEDS_REVIEW, 1)


@pytest.mark.parametrize(("quantity", "status"), [(1, "needs_review"), (6, "charged")])
def test_staff_may_restock_or_take_back_what_somebody_has(quantity: int, status: str) -> None:
    pipeline = peopled("ada", "staff:kim")
    pipeline.record(interaction(Candidate(1, SKU, 1, 0.97)))
    pipeline.record(interaction(Candidate(2, SKU, quantity, 0.97), kind=Handling.PUT_BACK, number=7))
    visit = closed(pipeline.finish())["ada"]
    assert lines(visit) == {SKU: 1}
    assert visit.outcome.status.value == status


@pytest.mark.parametrize("kind", list(Handling))
def test_what_is_only_seen_charges_nobody_however_sure_it_is(kind: Handling) -> None:
    pipeline = peopled("ada")
    pipeline.record(interaction(Candidate(1, SKU, 2, 0.99)))
    hand = HandContact(1, BIN, START_NS, START_NS + SECOND, 0.0)
    seen_only = replace(
        interaction(Candidate(1, SKU, 1, 0.99), kind=kind, number=7), evidence=Evidence(contacts=(hand,))
    )
    assert not pipeline.record(seen_only).sure
    assert closed(pipeline.finish())["ada"].outcome.status is SessionStatus.NEEDS_REVIEW


def test_shares_of_one_person_add_up() -> None:
    pipeline = peopled("ada", "ben")
    others = [Candidate(2, sku, 1, 0.09) for sku in SKUS[:2]]
    pipeline.record(interaction(Candidate(1, SKU, 1, 0.8), *others))
    assert closed(pipeline.finish())["ben"].outcome.status is SessionStatus.NEEDS_REVIEW


def set_down(pipeline: StorePipeline) -> Interaction:
    """Ada, identity 1, surely puts down something that is rather SKU than another product."""
    put = interaction(Candidate(1, SKU, 1, 0.5), Candidate(1, SKUS[0], 1, 0.45), kind=Handling.PUT_BACK, number=7)
    pipeline.record(put)
    return put


def test_who_takes_again_what_they_set_down_has_what_they_had_before_whatever_that_was() -> None:
    pipeline = peopled("ada")
    pipeline.record(interaction(Candidate(1, SKU, 2, 0.97)))
    put = set_down(pipeline)
    pick = interaction(Candidate(1, SKUS[0], 1, 0.5), Candidate(1, SKU, 1, 0.45), number=8)
    assert pipeline.record(replace(pick, again=(put.interaction_id, 0.95))).sure
    visit = closed(pipeline.finish())["ada"]
    assert lines(visit) == {SKU: 2}
    assert visit.outcome.status is SessionStatus.CHARGED


def test_what_somebody_set_down_and_left_there_is_asked_about() -> None:
    pipeline = peopled("ada")
    pipeline.record(interaction(Candidate(1, SKU, 2, 0.97)))
    set_down(pipeline)
    outcome = closed(pipeline.finish())["ada"].outcome
    assert (outcome.status, len(outcome.questions)) == (SessionStatus.NEEDS_REVIEW, 1)


def test_the_question_stays_if_the_database_is_away_when_the_thing_is_taken_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = peopled("ada")
    pipeline.record(interaction(Candidate(1, SKU, 2, 0.97)))
    pick = replace(interaction(Candidate(1, SKU, 1, 0.97), number=8), again=(set_down(pipeline).interaction_id, 0.95))

    def away(checkout: Checkout, event: CartEvent) -> Cart:
        raise ConnectionError("away")

    monkeypatch.setattr(Checkout, "record", away)
    with pytest.raises(ConnectionError):
        pipeline.record(pick)
    assert closed(pipeline.finish())["ada"].outcome.status is SessionStatus.NEEDS_REVIEW


@pytest.mark.parametrize(("who", "same"), [(2, 0.95), (1, 0.6)])
def test_only_the_very_thing_in_the_same_hands_settles_what_was_set_down(who: int, same: float) -> None:
    pipeline = peopled("ada", "ben")
    pipeline.record(interaction(Candidate(1, SKU, 2, 0.97)))
    put = set_down(pipeline)
    pipeline.record(replace(interaction(Candidate(who, SKU, 1, 0.97), number=8), again=(put.interaction_id, same)))
    assert closed(pipeline.finish())["ada"].outcome.status is SessionStatus.NEEDS_REVIEW


def test_who_is_sure_but_what_is_not() -> None:
    pipeline = peopled("ada")
    told = pipeline.record(interaction(Candidate(1, SKU, 1, 0.6), Candidate(1, SKUS[0], 1, 0.39)))
    assert not told.sure
    visit = closed(pipeline.finish())["ada"]
    assert visit.outcome.status is SessionStatus.NEEDS_REVIEW
    assert lines(visit) == {SKU: 1}
    assert "99%" in visit.outcome.flags[0].reason


def test_something_unknown_is_flagged_and_in_no_cart() -> None:
    pipeline = peopled("ada")
    told = pipeline.record(interaction(Candidate(1, None, 1, 0.95)))
    assert (told.sure, told.recorded_for) == (False, None)
    visit = closed(pipeline.finish())["ada"]
    assert visit.outcome.status is SessionStatus.NEEDS_REVIEW
    assert lines(visit) == {}


def test_a_product_that_the_shop_does_not_price_needs_a_look() -> None:
    unpriced = next(sku for sku, price in PRICES.items() if price is None)
    for sku in (unpriced, "not in the catalogue"):
        pipeline = peopled("ada")
        assert pipeline.record(interaction(Candidate(1, sku, 1, 0.99))).sure
        visit = closed(pipeline.finish())["ada"]
        assert visit.outcome.status is SessionStatus.NEEDS_REVIEW
        assert visit.outcome.receipt.total_minor is None


def test_settings_contradict() -> None:
    with pytest.raises(ValueError, match="at most half of what a mistake costs"):
        PipelineSettings(costs=ReviewCosts(wrong_charge=10, missed_item=10, review=6))


@st.composite
def told_interactions(draw: st.DrawFn) -> list[Interaction]:
    told = []
    for number in range(draw(st.integers(1, 6))):
        weights = draw(st.lists(st.floats(0.001, 1.0), min_size=0, max_size=5))
        total = sum(weights) / draw(st.sampled_from([0.3, 0.85, 0.95, 1.0])) if weights else 1.0
        people = draw(st.lists(st.integers(1, 5), min_size=len(weights), max_size=len(weights)))
        things = st.sampled_from([SKU, SKUS[0], SKUS[1], None, "0000"])
        candidates = [
            Candidate(who, draw(things), draw(st.integers(1, 2)), weight / total)
            for who, weight in zip(people, weights, strict=True)
        ]
        candidates.sort(key=lambda candidate: -candidate.probability)
        told.append(interaction(*candidates, kind=draw(st.sampled_from(list(Handling))), number=number, bin_id=BIN))
    return told


@settings(max_examples=40, deadline=None)
@given(told_interactions(), st.sampled_from([0.5, 0.9, 0.999]))
def test_only_what_is_sure_is_ever_charged(told: list[Interaction], charge_probability: float) -> None:
    names = ("ada", "ben", "cleo", "dan")  # identities 1 to 4; 5 is nobody in the shop
    gateway = FakeGateway()
    limits = PipelineSettings(costs=ReviewCosts(1.0, 10 * (1 - charge_probability), 1 - charge_probability))
    pipeline = peopled(*names, settings=limits, without_account=["dan"], gateway=gateway)
    for item in told:
        pipeline.record(item)
    visits = closed(pipeline.finish())
    assert set(visits) == set(names)
    carts: dict[str, Counter[str]] = {name: Counter() for name in names}
    doubted: set[str] = set()
    for item in told:
        if not item.candidates:
            continue
        together: dict[tuple[int, str | None, int], float] = {}  # the same may be said of somebody in several ways
        for c in item.candidates:
            key = c.identity_id, c.sku, c.quantity
            together[key] = together.get(key, 0.0) + c.probability
        best = Candidate(*max(together.items(), key=lambda entry: entry[1])[0], max(together.values()))
        actor = names[best.identity_id - 1] if best.identity_id <= len(names) else None
        shares = [sum(c.probability for c in item.candidates if c.identity_id == i + 1) for i in range(len(names))]
        sure = best.sku is not None and best.probability >= charge_probability
        target, returned = actor, False
        if item.kind is Handling.PUT_BACK and best.sku is not None and actor is not None:
            # Who took a thing pays for it no longer once it is back, whoever brings it.
            holders = [name for name in names if carts[name][best.sku] >= best.quantity]
            what = sum(c.probability for c in item.candidates if (c.sku, c.quantity) == (best.sku, best.quantity))
            if len(holders) == 1:
                target, returned = holders[0], what >= charge_probability
        if not returned:
            doubted |= {
                name
                for name, share in zip(names, shares, strict=True)
                if share >= limits.costs.suspect_probability and not (sure and name == actor)
            }
            if target is not None and target != actor:
                doubted.add(target)
        if best.sku and target and actor and shares[names.index(actor)] >= limits.costs.suspect_probability:
            carts[target][best.sku] += best.quantity if item.kind is Handling.PICK else -best.quantity
    for name in names:
        sure_cart = carts[name]
        status = visits[name].outcome.status
        if name == "dan":
            assert status is SessionStatus.NO_ACCOUNT
        elif name in doubted or min(sure_cart.values(), default=0) < 0 or sure_cart["0000"]:
            assert status is SessionStatus.NEEDS_REVIEW
        elif not +sure_cart:
            assert status is SessionStatus.EMPTY
        else:
            assert status is SessionStatus.CHARGED
            assert lines(visits[name]) == dict(+sure_cart)
    charged = [v.outcome.receipt.total_minor or 0 for v in visits.values() if v.outcome.status is SessionStatus.CHARGED]
    assert gateway.captured_minor("EUR") == sum(charged)
    assert len(gateway.payments) == len(charged)


@pytest.mark.parametrize("seed", range(4))
def test_worse_sensors_cost_reviews_and_not_wrong_charges(seed: int) -> None:
    simulation = demo_simulation(seed)
    rng = np.random.default_rng(seed)
    ticks = []
    for tick in simulation:
        bodies = tick.bodies
        if bodies is None:
            ticks.append(tick)
            continue
        joints = bodies.joints_m + rng.normal(0, 0.05, bodies.joints_m.shape)
        joints[rng.random(joints.shape[:2]) < 0.4] = np.nan
        ticks.append(replace(tick, bodies=replace(bodies, joints_m=joints)))
    visits = closed(events_of(make_pipeline(simulation.layout, has_gates=True), ticks))
    right = simulation.true_receipts
    assert set(visits) == set(right)
    for name, visit in visits.items():
        if visit.outcome.status is not SessionStatus.NEEDS_REVIEW:
            assert lines(visit) == right[name]


def standing(times_s: Sequence[float], box: Sequence[float], camera_id: str = "door") -> tuple[list[Tick], Oracle]:
    """Ticks of one empty picture each, at 10 Hz, and an oracle that sees somebody at these times."""
    picture = np.full((90, 160, 3), 90, np.uint8)
    last = round(max(times_s) * 10) + 40
    instants = [START_NS + i * SECOND // 10 for i in range(last)]
    ticks = [Tick(now_ns, (Frame(camera_id, i, now_ns, picture),)) for i, now_ns in enumerate(instants)]
    return ticks, Oracle({START_NS + round(t * 10) * SECOND // 10: np.array([box]) for t in times_s})


def test_a_person_in_the_picture_is_a_visit_from_first_to_last_sight() -> None:
    ticks, oracle = standing([i / 10 for i in range(10, 60)], (40, 20, 60, 80))
    events = events_of(make_pipeline(StoreLayout("corner"), oracle), ticks)
    visit = closed(events)["shopper-1"]
    assert visit.entered_ns == pytest.approx(START_NS + 1.0 * SECOND, abs=0.15 * SECOND)
    assert visit.left_ns == pytest.approx(START_NS + 5.9 * SECOND, abs=0.15 * SECOND)
    assert visit.outcome.status is SessionStatus.EMPTY


def test_a_camera_that_only_sees_shelves_follows_nobody() -> None:
    ticks, oracle = standing([i / 10 for i in range(10, 60)], (40, 20, 60, 80))
    near = StoreLayout("corner", views=(View("door", (160, 90), follows_people=False),))
    assert events_of(make_pipeline(near, oracle), ticks) == []


def test_a_frame_with_a_time_that_was_before_is_left_out() -> None:
    ticks, oracle = standing([i / 10 for i in range(10, 60)], (40, 20, 60, 80))
    late = replace(ticks[30], frames=ticks[20].frames)
    told = events_of(make_pipeline(StoreLayout("corner"), oracle), [*ticks[:30], late, *ticks[31:]])
    assert list(closed(told)) == ["shopper-1"]


def test_a_visit_is_not_closed_while_the_shelf_it_touched_is_still_disturbed() -> None:
    shelf = Shelf(
        items=[("A", 0.0, 4.5), ("B", 0.0, 99.0)], arms=[("A", 4.0 + i, 5.5 + i) for i in range(7)], length_s=18.0
    )
    frames = [frame for frame, _ in shelf.frames()]
    ticks = [Tick(frame.timestamp_ns, (frame,)) for frame in frames]
    oracle = Oracle(
        {t.timestamp_ns: np.array([(280, 20, 310, 80)]) for t in ticks if SECOND < t.timestamp_ns < 5 * SECOND}
    )
    visits = closed(events_of(make_pipeline(StoreLayout("corner", bins=tuple(bins())), oracle), ticks))
    assert visits["shopper-1"].outcome.status is SessionStatus.NEEDS_REVIEW


def before_a_camera(sequence: ShelfSequence, away_m: float = 0.5) -> list[Tick]:
    """Somebody takes what a shelf's pictures show to be taken, standing so far before its middle."""
    boxes = {b.bin_id: b.box for b in sequence.layout.bins if b.box is not None}
    front = next(iter(boxes.values()))
    stands = np.mean([box.centre_m for box in boxes.values()], axis=0)[:2] - away_m * front.world_from_box[:2, 1]
    ticks = []
    for frame in sequence.frames():
        joints = np.full((1, len(JOINT_NAMES), 3), np.nan)
        joints[0, :4] = [[*stands, z] for z in (1.7, 1.6, 1.5, 1.5)]
        joints[0, 6:8] = [*stands, 0.8]
        for change in sequence.changes:
            if abs(frame.timestamp_ns - change.time_ns) <= 0.8 * SECOND:
                joints[0, 7] = boxes[change.bin_id].centre_m
        now_ns = START_NS + frame.timestamp_ns
        bodies = TrackedBodies(now_ns, ("ada",), joints, np.full((1, len(JOINT_NAMES)), 0.9))
        ticks.append(Tick(now_ns, (replace(frame, timestamp_ns=now_ns),), bodies=bodies))
    return ticks


@pytest.mark.slow
def test_a_camera_that_sees_a_face_without_a_scale_says_what_a_hand_did() -> None:
    sequence = shelf_sequence(5, changes=3)
    events = events_of(make_pipeline(sequence.layout), before_a_camera(sequence))
    seen = [e.interaction for e in events if isinstance(e, InteractionSeen)]
    assert [(i.kind, i.bin_id) for i in seen] == [(c.handling, c.bin_id) for c in sequence.changes]
    assert Handling.PUT_BACK in {i.kind for i in seen}
    assert all(i.evidence.shelf is not None for i in seen)
    # A picture alone charges nobody.
    assert closed(events)["ada"].outcome.status is SessionStatus.NEEDS_REVIEW


@pytest.mark.slow
def test_what_changes_on_a_face_with_nobody_near_is_no_interaction() -> None:
    sequence = shelf_sequence(5, changes=1)
    alone = [
        replace(tick, bodies=replace(tick.bodies, joints_m=tick.bodies.joints_m + 50.0))
        for tick in before_a_camera(sequence)
        if tick.bodies is not None
    ]
    pipeline = make_pipeline(sequence.layout)
    assert [e for e in events_of(pipeline, alone) if isinstance(e, InteractionSeen)] == []
    assert [change.bin_id for change in pipeline.changes_by_nobody] == [sequence.changes[0].bin_id]


@pytest.mark.slow
def test_faces_are_not_watched_where_scales_speak_or_nobody_wants_it() -> None:
    sequence = shelf_sequence(5, changes=1)
    ticks = before_a_camera(sequence)
    plates = tuple(plate.plate_id for plate in sequence.layout.plates)
    period_ns = SECOND // 60
    steady = [
        replace(
            tick,
            scales=(
                ScaleSamples(
                    tick.timestamp_ns - period_ns * np.arange(round(60 / RATE_HZ))[::-1],
                    plates,
                    np.full((round(60 / RATE_HZ), len(plates)), 3000, np.float32),
                    60.0,
                ),
            ),
        )
        for tick in ticks
    ]
    spoken = events_of(make_pipeline(sequence.layout), steady)
    assert [e for e in spoken if isinstance(e, InteractionSeen)] == []
    unwatched = make_pipeline(sequence.layout, settings=PipelineSettings(watches_faces=False))
    seen = [e.interaction for e in events_of(unwatched, ticks) if isinstance(e, InteractionSeen)]
    assert [i.evidence.shelf for i in seen] == [None]


def test_a_camera_that_stops_is_no_error() -> None:
    ticks, oracle = standing([i / 10 for i in range(10, 60)], (40, 20, 60, 80))
    holed = [replace(tick, frames=()) if 30 <= i < 40 else tick for i, tick in enumerate(ticks)]
    assert list(closed(events_of(make_pipeline(StoreLayout("corner"), oracle), holed))) == ["shopper-1"]


def test_bodies_that_come_later_than_pictures_begin_visits_of_their_own() -> None:
    ticks, oracle = standing([i / 10 for i in range(50)], (40, 20, 60, 80))
    joints = np.full((1, 8, 3), 1.0)
    bodies = [TrackedBodies(t.timestamp_ns, ("ada",), joints, np.ones((1, 8))) for t in ticks]
    mixed = [replace(t, bodies=b) if i >= 20 else t for i, (t, b) in enumerate(zip(ticks, bodies, strict=True))]
    visits = closed(events_of(make_pipeline(StoreLayout("corner"), oracle), mixed))
    assert list(visits) == ["shopper-1", "ada"]
    assert visits["shopper-1"].left_ns < visits["ada"].entered_ns


def record(sku: str, currency: str = "EUR", price: int | None = 100, mass_g: float = 10.0) -> ProductRecord:
    return ProductRecord(sku, "Jam", mass_g, price, currency)


def let_in(ticks: Sequence[Tick], words: Sequence[tuple[float, str | None]]) -> tuple[StorePipeline, list[StoreEvent]]:
    """A store with gates that said these codes at these seconds, in the shop without a line, and what happened."""
    pipeline = make_pipeline(NO_LINES, has_gates=True)
    waiting = list(words)
    events: list[StoreEvent] = []
    for tick in ticks:
        gates = []
        while waiting and START_NS + waiting[0][0] * SECOND <= tick.timestamp_ns:
            at_s, code = waiting.pop(0)
            gates.append(GateEvent(START_NS + round(at_s * SECOND), "entrance", "passed-in", code))
        events += pipeline.step(replace(tick, gates=tuple(gates)))
    return pipeline, events


def gated(ticks: Sequence[Tick], words: Sequence[tuple[float, str | None]]) -> list[StoreEvent]:
    """What happens in such a store to the end."""
    pipeline, events = let_in(ticks, words)
    return events + pipeline.finish()


NO_LINES = replace(LAYOUT, entrance_m=None, exit_m=None)


def test_a_visit_is_on_the_account_whose_code_the_gate_read() -> None:
    ticks = list(play([Touch("target-7", BIN, 6.0, units_g(BIN, -1))], 12.0))
    events = gated(ticks, [(0.1, "ada")])
    assert [(e.shopper, e.identity_id) for e in events if isinstance(e, VisitOpened)] == [("ada", 1)]
    assert lines(closed(events)["ada"]) == {SKU: 1}
    assert closed(events)["ada"].outcome.status is SessionStatus.CHARGED


def test_a_group_on_one_code_has_one_visit_that_ends_with_its_last_member() -> None:
    touches = [Touch("a", BIN, 6.0, units_g(BIN, -1)), Touch("b", OTHER, 14.0, units_g(OTHER, -2))]
    absent = [("b", 0.0, 3.0), ("a", 8.0, 99.0), ("b", 17.0, 99.0)]
    ticks = list(play(touches, 40.0, absent=absent))
    events = gated(ticks, [(0.1, "ada"), (3.1, "ada")])
    visit = closed(events)["ada"]
    assert lines(visit) == {SKU: 1, LAYOUT.bin(OTHER).sku or "": 2}
    assert abs(visit.left_ns - START_NS - 17 * SECOND) < SECOND
    assert len([e for e in events if isinstance(e, VisitOpened | VisitClosed)]) == 2


def test_it_does_not_matter_who_of_those_on_one_code_took_it() -> None:
    ticks = list(play([], 8.0, shoppers=("a", "b"), absent=[("b", 0.0, 3.0)], scales=False))
    store, _ = let_in(ticks, [(0.1, "ada"), (3.1, "ada")])
    told = store.record(interaction(Candidate(1, SKU, 1, 0.5), Candidate(2, SKU, 1, 0.48)))
    assert (told.sure, told.recorded_for) == (True, "ada")
    (visit,) = closed(store.finish()).values()
    assert (visit.outcome.status, lines(visit)) == (SessionStatus.CHARGED, {SKU: 1})


def test_a_code_that_may_have_been_anothers_charges_nobody() -> None:
    ticks = list(play([Touch("a", BIN, 6.0, units_g(BIN, -1))], 12.0, shoppers=["a", "b"]))
    visits = closed(gated(ticks, [(0.1, "ada"), (0.2, "ben")]))
    assert {visit.outcome.status for visit in visits.values()} == {SessionStatus.NEEDS_REVIEW}


def test_what_somebody_without_a_code_takes_is_charged_to_nobody() -> None:
    ticks = list(play([Touch("a", BIN, 6.0, units_g(BIN, -1))], 12.0))
    (visit,) = closed(gated(ticks, [(0.1, None)])).values()
    assert (visit.outcome.status, lines(visit)) == (SessionStatus.NO_ACCOUNT, {SKU: 1})


def test_staff_pay_for_nothing_and_are_no_shoppers_to_review() -> None:
    ticks = list(play([Touch("a", BIN, 6.0, units_g(BIN, 2))], 12.0))
    visit = closed(gated(ticks, [(0.1, "staff:kim")]))["staff:kim"]
    assert visit.outcome.status is SessionStatus.NO_ACCOUNT


def test_who_comes_back_on_their_code_after_leaving_has_a_second_visit() -> None:
    touches = [Touch("a", BIN, 6.0, units_g(BIN, -1)), Touch("a2", OTHER, 66.0, units_g(OTHER, -1))]
    absent = [("a", 8.0, 99.0), ("a2", 0.0, 60.0)]
    events = gated(list(play(touches, 80.0, absent=absent)), [(0.1, "ada"), (60.1, "ada")])
    visits = [e for e in events if isinstance(e, VisitClosed)]
    assert [(v.shopper, lines(v)) for v in visits] == [("ada", {SKU: 1}), ("ada", {LAYOUT.bin(OTHER).sku: 1})]


def test_a_catalogue_takes_what_a_site_publishes() -> None:
    catalogue = catalogue_of([record("4006381333931"), record("X1", price=None, mass_g=float("nan"))], "USD")
    assert catalogue.currency == "EUR"
    gtin, loose = catalogue.get("4006381333931"), catalogue.get("X1")
    assert gtin is not None
    assert loose is not None
    assert (gtin.gtin, gtin.mass_g) == ("4006381333931", 10.0)
    assert (loose.gtin, loose.mass_g, loose.unit_price_minor) == (None, None, None)
    assert catalogue_of([], "GBP").currency == "GBP"


def test_a_site_has_one_currency() -> None:
    with pytest.raises(ValueError, match="several currencies: EUR, USD"):
        catalogue_of([record("1"), record("2", "USD")], "EUR")
