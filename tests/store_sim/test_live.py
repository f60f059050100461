"""The store that goes on: who is sent in comes, what they carried out is told, and nothing grows."""

import numpy as np
import pytest

from store_sim.demo_shop import DEMO_LAYOUT
from store_sim.figures import Whereabouts
from store_sim.live import MOST_OF_ONE, MOST_WISHES, WAITING_LINE, Departure, LiveStore, Wish, random_wishes
from store_sim.scenarios import Action
from vision.frames import Tick
from vision.layout import StoreLayout, read_layout

NANOSECONDS = 1_000_000_000
OATS, JUICE, JAM = "2000000001012", "2000000001029", "2000000001050"


@pytest.fixture(scope="module")
def layout() -> StoreLayout:
    return read_layout(DEMO_LAYOUT)


def played(live: LiveStore, seconds: float) -> list[Tick]:
    """Let a store run for a while."""
    end_ns = live.now_ns + round(seconds * NANOSECONDS)
    ticks: list[Tick] = []
    while live.now_ns < end_ns:
        ticks += live.ticks()
    return ticks


def until_empty(live: LiveStore, seconds: float = 120.0) -> list[Departure]:
    """Let a store run until everybody has left, and give who did."""
    end_ns = live.now_ns + round(seconds * NANOSECONDS)
    gone: list[Departure] = []
    while live.people_inside or live.people_coming:
        live.ticks()
        gone += live.departures()
        assert live.now_ns < end_ns, "somebody does not leave"
    return gone


def told(ticks: list[Tick]) -> list[object]:
    """Everything in ticks, comparable."""
    return [
        (
            tick.timestamp_ns,
            [(block.plate_id, block.timestamp_ns.tolist(), block.grams.tolist()) for block in tick.scales],
            None if tick.bodies is None else (tick.bodies.target_id, repr(tick.bodies.joints_m.tolist())),
            tick.gates,
        )
        for tick in ticks
    ]


def test_one_seed_and_the_same_people_give_the_same_ticks(layout: StoreLayout) -> None:
    runs = []
    for seed in (3, 3, 4):
        live = LiveStore(layout, seed)
        ticks = played(live, 1.0)
        live.come_in("one", [Wish(OATS, 2)])
        ticks += played(live, 4.0)
        live.come_in("two", [Wish(JAM)])
        runs.append(told(ticks + played(live, 5.0)))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_time_rises_and_begins_where_it_is_told(layout: StoreLayout) -> None:
    live = LiveStore(layout, 1, start_ns=1_800_000_000 * NANOSECONDS)
    live.come_in("one", [])
    ticks = played(live, 3.0)
    times_ns = [tick.timestamp_ns for tick in ticks]
    assert times_ns == sorted(times_ns)
    assert 0 < times_ns[0] - 1_800_000_000 * NANOSECONDS < NANOSECONDS
    assert all(block.timestamp_ns[-1] <= tick.timestamp_ns for tick in ticks for block in tick.scales)


def test_what_somebody_carried_out_is_told_once(layout: StoreLayout) -> None:
    live = LiveStore(layout, 1)
    wishes = [
        Wish(OATS, 2),
        Wish(JUICE),
        Wish(JAM),
        Wish(JUICE, action=Action.PUT_BACK),
        Wish(JAM, action=Action.TOUCH),
    ]
    live.come_in("one", wishes)
    gone = until_empty(live)
    assert [(left.code, dict(left.lines), left.inside) for left in gone] == [("one", {OATS: 2, JAM: 1}, 0)]
    assert live.departures() == ()


def test_what_hands_did_is_known_with_when_and_how_many(layout: StoreLayout) -> None:
    live = LiveStore(layout, 3)
    live.come_in("ada", [Wish(OATS, 2), Wish(JAM), Wish(JAM, action=Action.PUT_BACK), Wish(OATS, action=Action.TOUCH)])
    began_ns = live.now_ns
    until_empty(live)
    grips = live.grips()
    assert [(grip.sku, grip.quantity) for grip in grips] == [(OATS, 2), (JAM, 1), (JAM, -1)]
    times_ns = [began_ns, *(grip.time_ns for grip in grips), live.now_ns]
    assert times_ns == sorted(times_ns)
    assert live.grips() == ()


def test_a_gate_tells_the_code_of_whoever_comes_in_and_nothing_of_whoever_has_none(layout: StoreLayout) -> None:
    live = LiveStore(layout, 2)
    live.come_in("one", [])
    live.come_in(None, [])
    codes = [gate.code for tick in played(live, 6.0) for gate in tick.gates if gate.event == "passed-in"]
    assert codes == ["one", None]


def test_two_on_one_code_are_told_together_when_the_last_has_left(layout: StoreLayout) -> None:
    live = LiveStore(layout, 2)
    live.come_in("family", [Wish(OATS)])
    live.come_in("family", [Wish(JAM), Wish(JUICE)], after_s=2.0)
    gone = until_empty(live)
    assert [left.inside for left in gone] == [1, 0]
    assert dict(gone[-1].lines) == {OATS: 1, JAM: 1, JUICE: 1}


def test_a_body_is_somebody_elses_later_and_shelves_are_full_again(layout: StoreLayout) -> None:
    live = LiveStore(layout, 3, bodies=1)
    stock = live._world.stock
    standing = int((stock.whereabouts == Whereabouts.SHELF).sum())
    looks = set()
    for number in range(2):
        live.come_in(f"visit {number}", [Wish(OATS, 4), Wish(JAM, 2)])
        gone: list[Departure] = []
        while not gone:
            live.ticks()
            looks |= {int(outfit) for outfit in live._world.figures.outfit}
            gone += live.departures()
        assert dict(gone[0].lines) == {OATS: 4, JAM: 2}
        assert int((stock.whereabouts == Whereabouts.SHELF).sum()) == standing
    assert len(looks) == 2


def test_nothing_is_remembered_of_those_who_have_left(layout: StoreLayout) -> None:
    live = LiveStore(layout, 4, bodies=2)
    for number in range(3):
        live.come_in(f"visit {number}", [Wish(OATS)])
    until_empty(live, 400.0)
    truth = live._world.truth
    assert (truth.visits, live._carried) == ((), {})
    assert len(truth.interactions) <= 1
    assert not any(len(receipt.lines) for receipt in truth.receipts)


def test_whoever_finds_no_body_waits_and_too_many_are_refused(layout: StoreLayout) -> None:
    live = LiveStore(layout, 5, bodies=1)
    for number in range(WAITING_LINE):
        live.come_in(f"visit {number}", [])
    with pytest.raises(ValueError, match="wait before the door"):
        live.come_in("one more", [])
    live.ticks()
    assert live.people_coming == WAITING_LINE


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ([Wish("nothing")], "no product nothing"),
        ([Wish(OATS, 4), Wish(OATS, 3)], f"at most {MOST_OF_ONE} units"),
        ([Wish(OATS)] * 3 + [Wish(JAM, action=Action.TOUCH)] * MOST_WISHES, "at most 12 things"),
    ],
)
def test_what_the_store_cannot_give_is_refused_at_once(layout: StoreLayout, wishes: list[Wish], reason: str) -> None:
    live = LiveStore(layout, 1)
    with pytest.raises(ValueError, match=reason):
        live.come_in("one", wishes)
    assert live.people_coming == 0


@pytest.mark.parametrize(("quantity", "action"), [(0, Action.PICK), (5, Action.PICK), (1, Action.CONSUME)])
def test_a_wish_is_one_grip_of_something_one_does_alone(quantity: int, action: Action) -> None:
    with pytest.raises(ValueError, match="Wish: expected"):
        Wish(OATS, quantity, action)


def test_random_wishes_are_of_this_store_and_can_be_fulfilled(layout: StoreLayout) -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        wishes = random_wishes(layout, rng)
        assert 1 <= len(wishes) <= 5
        taken = [wish.sku for wish in wishes if wish.action is Action.PICK]
        back = [wish.sku for wish in wishes if wish.action is Action.PUT_BACK]
        assert set(back) <= set(taken)


@pytest.mark.slow
def test_somebody_who_cannot_do_what_they_want_goes_on_without(layout: StoreLayout) -> None:
    live = LiveStore(layout, 6)
    # Nobody has a unit in hand that they never took: after a while they let it be.
    live.come_in("one", [Wish(OATS, action=Action.PUT_BACK), Wish(JAM)])
    gone = until_empty(live, 200.0)
    assert dict(gone[0].lines) == {JAM: 1}
