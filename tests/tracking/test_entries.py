"""Tests of tracking.entries."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.entries import Entry, EntryBinder
from tracking.types import Identities, MixUp
from vision.frames import GateEvent
from vision.layout import StoreLayout

SECOND = 1_000_000_000
STEP_S = 1 / 15
LAYOUT = StoreLayout(
    name="a door at y = 0, the store above it",
    entrance_m=np.array([[0.0, 0.0], [1.5, 0.0]]),
    walkable_m=np.array([[-2.0, 0.0], [4.0, 0.0], [4.0, 6.0], [-2.0, 6.0]]),
)


def people(now_s: float, ys: dict[int, float | None], first_s: dict[int, float]) -> Identities:
    """Everybody who has a place (metres inwards of the line) at this moment."""
    here = [identity_id for identity_id, y in ys.items() if y is not None]
    nobody = Identities.nobody(round(now_s * SECOND))
    n = len(here)
    return replace(
        nobody,
        identity_id=np.array(here, np.int64),
        position_m=np.array([[0.7, ys[i] or 0.0] for i in here]).reshape(-1, 2),
        velocity_mps=np.zeros((n, 2)),
        position_cov_m2=np.zeros((n, 2, 2)),
        hands_m=np.full((n, 2, 3), np.nan),
        hand_miss_m=np.full((n, 2), np.nan),
        first_seen_ns=np.array([round(first_s[i] * SECOND) for i in here], np.int64),
        last_seen_ns=np.full(n, nobody.timestamp_ns, np.int64),
    )


def walked_in(
    crossings_s: dict[int, float],
    words: list[tuple[float, str | None]],
    seen_from_m: float = -0.8,
    until_s: float = 12.0,
    layout: StoreLayout = LAYOUT,
) -> list[Entry]:
    """People who walk in at 1.2 m/s, crossing the line at these seconds, and what the gate says when."""
    binder = EntryBinder(layout)
    entries: list[Entry] = []
    first_s: dict[int, float] = {}
    heard = sorted(words, key=lambda word: word[0])
    for step in range(int(until_s / STEP_S)):
        now_s = step * STEP_S
        while heard and heard[0][0] <= now_s:
            at_s, code = heard.pop(0)
            binder.hear([GateEvent(round(at_s * SECOND), "entrance", "passed-in", code)])
        ys: dict[int, float | None] = {}
        for identity_id, crossed_s in crossings_s.items():
            y = (now_s - crossed_s) * 1.2
            ys[identity_id] = min(y, 3.0) if y >= seen_from_m else None
            if ys[identity_id] is not None:
                first_s.setdefault(identity_id, now_s)
        entries += binder.update(people(now_s, ys, first_s))
    return entries


def codes(entries: list[Entry]) -> dict[int, str | None]:
    assert len({entry.identity_id for entry in entries}) == len(entries)
    return {entry.identity_id: entry.code for entry in entries}


@pytest.mark.parametrize("seen_from_m", [-0.8, 0.3, 1.4])
def test_who_crosses_when_the_gate_speaks_has_its_code(seen_from_m: float) -> None:
    assert codes(walked_in({1: 3.0, 2: 6.5}, [(3.0, "ada"), (6.5, "ben")], seen_from_m)) == {1: "ada", 2: "ben"}


def test_two_who_come_in_close_together_are_told_apart_by_their_order() -> None:
    assert codes(walked_in({1: 3.0, 2: 3.6}, [(3.05, "ada"), (3.5, "ben")])) == {1: "ada", 2: "ben"}


def test_somebody_found_late_keeps_the_code_that_the_next_one_would_have_taken() -> None:
    binder = EntryBinder(LAYOUT)
    entries = []
    for step in range(int(8 / STEP_S)):
        now_s = step * STEP_S
        if step in (45, 54):  # at 3.0 and 3.6 s
            binder.hear([GateEvent(round(now_s * SECOND), "entrance", "passed-in", {45: "ada", 54: "ben"}[step])])
        ada = (now_s - 3.0) * 1.2 if now_s >= 3.9 else None  # hidden behind Ben until then
        ben = (now_s - 3.6) * 1.2 if now_s >= 3.0 else None
        entries += binder.update(people(now_s, {1: ada, 2: ben}, {1: 3.9, 2: 3.0}))
    assert codes(entries) == {1: "ada", 2: "ben"}


def test_two_who_may_have_each_others_code_are_said_to_be_unsure() -> None:
    far_apart = walked_in({1: 3.0, 2: 6.5}, [(3.0, "ada"), (6.5, "ben")], seen_from_m=1.2)
    together = walked_in({1: 3.0, 2: 3.4}, [(3.0, "ada"), (3.4, "ben")], seen_from_m=1.2)
    seen_crossing = walked_in({1: 3.0, 2: 3.9}, [(3.0, "ada"), (3.9, "ben")])
    one_code = walked_in({1: 3.0, 2: 3.4}, [(3.0, "ada"), (3.4, "ada")], seen_from_m=1.2)
    assert [entry.is_sure for entry in far_apart] == [True, True]
    assert [entry.is_sure for entry in together] == [False, False]
    assert [entry.is_sure for entry in seen_crossing] == [True, True]
    assert [entry.is_sure for entry in one_code] == [True, True]


def test_who_follows_through_without_a_code_has_none() -> None:
    assert codes(walked_in({1: 3.0, 2: 3.7}, [(3.0, "ada"), (3.7, None)])) == {1: "ada", 2: None}


def test_who_comes_in_without_a_word_of_the_gate_has_no_code() -> None:
    entered = walked_in({1: 3.0, 2: 9.0}, [(3.0, "ada")])
    assert codes(entered) == {1: "ada", 2: None}
    assert all(entry.came_in for entry in entered)


def test_who_only_stands_outside_never_comes_in() -> None:
    binder = EntryBinder(LAYOUT)
    for step in range(150):
        binder.hear([GateEvent(step, "entrance", "code-shown", "ada")] if step == 20 else [])
        assert binder.update(people(step * STEP_S, {1: -0.5}, {1: 0.0})) == []


def test_a_word_about_nobody_is_not_given_to_somebody_who_comes_later() -> None:
    assert codes(walked_in({1: 9.0}, [(3.0, "ada"), (9.1, "ben")])) == {1: "ben"}


def test_somebody_first_seen_deep_inside_has_the_code_that_nobody_was_found_for() -> None:
    (ada,) = walked_in({1: 3.0}, [(3.0, "ada")], seen_from_m=2.5, until_s=14)
    assert (ada.code, ada.is_sure) == ("ada", True)


def test_of_two_first_seen_deep_inside_neither_is_surely_who_came_in() -> None:
    one, two = walked_in({1: 3.0, 2: 3.0}, [(3.0, "ada")], seen_from_m=2.5, until_s=14)
    assert (one.code, one.is_sure, two.code) == ("ada", False, None)
    assert (one.came_in, two.came_in) == (True, False)


def test_somebody_deep_inside_does_not_take_the_code_of_who_was_seen_coming_in() -> None:
    binder = EntryBinder(LAYOUT)
    entries: list[Entry] = []
    for step in range(int(14 / STEP_S)):
        now_s = step * STEP_S
        if step == 45:  # at 3.0 s
            binder.hear([GateEvent(round(now_s * SECOND), "entrance", "passed-in", "ada")])
        ada = min((now_s - 3.0) * 1.2, 3.0) if now_s >= 2.5 else None
        stranger = 2.8 if now_s >= 6.0 else None
        entries += binder.update(people(now_s, {1: ada, 2: stranger}, {1: 2.5, 2: 6.0}))
    assert codes(entries) == {1: "ada", 2: None}


def test_who_is_lost_soon_after_coming_in_was_there() -> None:
    binder = EntryBinder(LAYOUT)
    entries: list[Entry] = []
    for step in range(int(8 / STEP_S)):
        now_s = step * STEP_S
        here = (now_s - 3.0) * 1.2 if 2.5 <= now_s <= 4.6 else None
        entries += binder.update(people(now_s, {1: here}, {1: 2.5}))
    assert codes(entries) == {1: None}


def test_without_a_line_people_count_from_when_they_are_first_seen() -> None:
    layout = StoreLayout(name="no line")
    assert codes(walked_in({1: 3.0, 2: 7.0}, [(2.5, "ada"), (6.5, "ben")], layout=layout)) == {1: "ada", 2: "ben"}


def test_the_line_works_in_both_directions_of_drawing() -> None:
    turned = replace(LAYOUT, entrance_m=np.asarray(LAYOUT.entrance_m)[::-1])
    assert codes(walked_in({1: 3.0}, [(3.0, "ada")], layout=turned)) == {1: "ada"}


@given(
    st.lists(st.floats(1.0, 8.0), min_size=1, max_size=6),
    st.lists(st.sampled_from(["ada", "ben", None]), min_size=0, max_size=6),
)
def test_everybody_who_comes_in_is_told_once_and_no_word_is_used_twice(
    crossings_s: list[float], spoken: list[str | None]
) -> None:
    words = [(1.0 + 1.1 * i, code) for i, code in enumerate(spoken)]
    found = codes(walked_in(dict(enumerate(crossings_s, start=1)), words, until_s=14.0))
    assert sorted(found) == list(range(1, len(crossings_s) + 1))
    for code in ("ada", "ben"):
        assert list(found.values()).count(code) <= spoken.count(code)


def at_the_door(
    places_m: Callable[[float], dict[int, float | None]], words: dict[float, str], until_s: float = 10.0
) -> tuple[dict[int, str | None], list[MixUp]]:
    """Who has which code, and who may be whom, of people who are so far inside at each second."""
    binder = EntryBinder(LAYOUT)
    entries: list[Entry] = []
    mix_ups: list[MixUp] = []
    first_s: dict[int, float] = {}
    waiting = dict(words)
    for step in range(int(until_s / STEP_S)):
        now_s = step * STEP_S
        for at_s in [at_s for at_s in waiting if at_s <= now_s]:
            binder.hear([GateEvent(round(at_s * SECOND), "entrance", "passed-in", waiting.pop(at_s))])
        ys = places_m(now_s)
        for identity_id in [identity_id for identity_id, y in ys.items() if y is not None]:
            first_s.setdefault(identity_id, now_s)
        entries += binder.update(people(now_s, ys, first_s))
        mix_ups += binder.take_mix_ups()
    assert binder.take_mix_ups() == []
    return codes(entries), mix_ups


def test_an_identity_that_goes_back_to_the_next_one_before_the_line_has_not_come_in() -> None:
    # The tracker's 1 is Ben until he is beyond the line, then Cleo behind him; Ben is found again as 2.
    def places_m(now_s: float) -> dict[int, float | None]:
        ben, cleo = (now_s - 2.5) * 1.2, (now_s - 4.0) * 1.2
        taken_for_cleo = now_s >= 2.9
        return {
            1: min(cleo if taken_for_cleo else ben, 3.0) if now_s >= 1.9 else None,
            2: min(ben, 3.0) if now_s >= 3.6 else None,
        }

    found, _ = at_the_door(places_m, {2.5: "ben", 4.0: "cleo"})
    assert found == {1: "cleo", 2: "ben"}


@pytest.mark.parametrize(
    ("found_s", "ahead_m", "told"),
    [
        (3.9, 0.5, [(1, 2)]),  # found late beside somebody: either may be either
        (3.9, 1.8, []),  # nobody was near enough to have been taken for them
        (2.6, 0.5, []),  # seen crossing
    ],
)
def test_who_is_first_seen_inside_beside_somebody_may_be_either(
    found_s: float, ahead_m: float, told: list[tuple[int, int]]
) -> None:
    def places_m(now_s: float) -> dict[int, float | None]:
        second = (now_s - 3.2) * 1.2
        return {1: min(second + ahead_m, 3.0), 2: min(second, 3.0 - ahead_m) if now_s >= found_s else None}

    first_crossed_s = 3.2 - ahead_m / 1.2
    found, mix_ups = at_the_door(places_m, {first_crossed_s: "ada", 3.2: "ben"})
    assert found == {1: "ada", 2: "ben"}
    assert [each.identity_ids for each in mix_ups] == told
    assert all(each.since_ns <= 3.9 * SECOND and each.until_ns is None for each in mix_ups)


@pytest.mark.parametrize(("apart_m", "came_in"), [(0.1, False), (1.6, True)])
def test_who_turns_up_beside_somebody_while_no_gate_speaks_is_rather_a_second_look_at_them(
    apart_m: float, came_in: bool
) -> None:
    binder = EntryBinder(LAYOUT)
    entries: list[Entry] = []
    for step in range(int(10 / STEP_S)):
        now_s = step * STEP_S
        if step == 15:
            binder.hear([GateEvent(SECOND, "entrance", "passed-in", "ada")])
        ada = min((now_s - 1.0) * 1.2, 0.5 + apart_m)
        entries += binder.update(people(now_s, {1: ada, 2: 0.5 if now_s > 5.0 else None}, {1: 0.0, 2: 5.0}))
    assert [(entry.identity_id, entry.code, entry.came_in) for entry in entries] == [
        (1, "ada", True),
        (2, None, came_in),
    ]
