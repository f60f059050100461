from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.errors import EvidenceNotFound, SessionNotFound
from cart.evidence import (
    LARGEST_MEDIA,
    MOST_PIECES,
    Evidence,
    EvidenceCandidate,
    EvidenceKind,
    InteractionFacts,
    WeightCurve,
)
from tests.cart.aftercare import NOON, Shop, facts, shop
from tests.cart.databases import KINDS

FACTS = facts([EvidenceCandidate("ada", "bar", 1, 0.9), EvidenceCandidate("grace", None, 2, 0.05)])
TAKEN = UUID(int=5)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with shop(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Shop]:
    """For what has nothing to do with the kind of database."""
    with shop("sqlite", tmp_path) as opened:
        yield opened


def visit(store: Shop) -> UUID:
    return store.checkout.check_in("ada", NOON).session_id


def test_what_was_seen_comes_back_in_the_order_in_which_it_happened(store: Shop) -> None:
    session_id, other_id = visit(store), visit(store)
    later = replace(FACTS, started_at=NOON + timedelta(minutes=1), ended_at=NOON + timedelta(minutes=2))
    store.evidence.add(session_id, uuid4(), EvidenceKind.INTERACTION, later)
    clip_id = store.evidence.add(session_id, TAKEN, EvidenceKind.CLIP, FACTS, b"moving", "video/mp4")
    store.evidence.add(session_id, TAKEN, "interaction", FACTS.as_json())
    store.evidence.add(other_id, TAKEN, EvidenceKind.INTERACTION, FACTS)
    first, second, third = store.evidence.of(session_id)
    assert (first.evidence_id, first.media_type, first.media_bytes) == (clip_id, "video/mp4", 6)
    assert (second.kind, second.facts, second.media_type, second.media_bytes) == ("interaction", FACTS, None, 0)
    assert third.facts == later
    assert store.evidence.media(clip_id) == ("video/mp4", b"moving")


def test_the_same_evidence_again_changes_nothing(store: Shop) -> None:
    session_id = visit(store)
    ids = {store.evidence.add(session_id, TAKEN, EvidenceKind.INTERACTION, FACTS) for _ in range(3)}
    assert len(ids) == len(store.evidence.of(session_id)) == 1


def test_evidence_is_gone_when_its_time_is_over(store: Shop) -> None:
    session_id = visit(store)
    picture_id = store.evidence.add(session_id, TAKEN, EvidenceKind.PICTURE, FACTS, b"still", "image/jpeg")
    store.later(days=30)
    # Before anybody has thrown it away, nobody sees it any more.
    assert store.evidence.of(session_id) == ()
    with pytest.raises(EvidenceNotFound):
        store.evidence.media(picture_id)
    store.evidence.add(session_id, TAKEN, EvidenceKind.INTERACTION, FACTS)
    assert (store.evidence.expire(), store.evidence.expire()) == (1, 0)
    assert len(store.evidence.of(session_id)) == 1


def test_what_has_no_picture_has_none(small: Shop) -> None:
    evidence_id = small.evidence.add(visit(small), TAKEN, EvidenceKind.INTERACTION, FACTS)
    for unknown in (evidence_id, uuid4()):
        with pytest.raises(EvidenceNotFound):
            small.evidence.media(unknown)


def test_evidence_belongs_to_a_visit(small: Shop) -> None:
    with pytest.raises(SessionNotFound):
        small.evidence.add(uuid4(), TAKEN, EvidenceKind.INTERACTION, FACTS)


@pytest.mark.parametrize(
    ("kind", "media", "media_type"),
    [
        ("clip", None, None),
        ("clip", b"x", None),
        ("clip", None, "video/mp4"),
        ("clip", b"", "video/mp4"),
        ("clip", b"x", "text/html"),
        ("picture", b"x", "image/svg+xml"),
        ("picture", b"x" * (LARGEST_MEDIA + 1), "image/png"),
        ("interaction", b"x", "image/png"),
        ("film", b"x", "video/mp4"),
    ],
)
def test_media_have_bounds(small: Shop, kind: str, media: bytes | None, media_type: str | None) -> None:
    session_id = visit(small)
    with pytest.raises(ValueError, match=r"media|EvidenceKind"):
        small.evidence.add(session_id, TAKEN, kind, FACTS, media, media_type)
    assert small.evidence.of(session_id) == ()


def test_a_visit_has_only_so_much_evidence(small: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_PIECES == 500
    monkeypatch.setattr("cart.evidence.MOST_PIECES", 3)
    session_id = visit(small)
    for number in range(3):
        small.evidence.add(session_id, UUID(int=number), EvidenceKind.INTERACTION, FACTS)
    with pytest.raises(ValueError, match="already"):
        small.evidence.add(session_id, UUID(int=3), EvidenceKind.INTERACTION, FACTS)
    # What is there already is no more of it.
    small.evidence.add(session_id, UUID(int=0), EvidenceKind.INTERACTION, FACTS)


def test_a_long_curve_is_thinned_and_keeps_its_ends(small: Shop) -> None:
    long = WeightCurve(tuple(map(float, range(50_000))), tuple(-float(g) for g in range(50_000)))
    session_id = visit(small)
    small.evidence.add(session_id, TAKEN, EvidenceKind.INTERACTION, replace(FACTS, weight=long))
    (piece,) = small.evidence.of(session_id)
    weight = piece.facts.weight
    assert weight is not None
    assert (len(weight.times_s), weight.times_s[0], weight.times_s[-1], weight.grams[-1]) == (1000, 0, 49_999, -49_999)


def test_facts_that_are_too_large_are_refused(small: Shop) -> None:
    large = replace(FACTS, cameras=tuple("x" * 200 for _ in range(400)))
    with pytest.raises(ValueError, match="65536 bytes"):
        small.evidence.add(visit(small), TAKEN, EvidenceKind.INTERACTION, large)


@pytest.mark.parametrize(
    "changes",
    [
        {"interaction_kind": "stare"},
        {"started_at": "2026-01-01T12:00:00"},
        {"ended_at": "2025-01-01T12:00:00+00:00"},
        {"candidates": [{"shopper": "ada", "sku": "bar", "quantity": 0, "probability": 0.5}]},
        {"candidates": [{"shopper": "ada", "sku": "bar", "quantity": 1, "probability": 0.6}] * 2},
        {"candidates": [{"shopper": "ada", "sku": "bar", "quantity": 1, "probability": 0.0}] * 51},
        {"candidates": [{"sku": "bar"}]},
        {"weight": {"times_s": [0.0], "grams": []}},
        {"weight": {"times_s": [float("nan")], "grams": [1.0]}},
        {"place": "x" * 201},
        {"place": None},
    ],
)
def test_facts_of_another_shape_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        InteractionFacts.from_json(FACTS.as_json() | changes)


names = st.text(max_size=20)


@given(
    st.builds(
        InteractionFacts,
        st.sampled_from(["pick", "put_back"]),
        names,
        names,
        st.just(NOON),
        st.just(NOON + timedelta(seconds=1)),
        st.lists(names, max_size=3).map(tuple),
        st.lists(
            st.builds(EvidenceCandidate, names, st.none() | names, st.integers(1, 9), st.floats(0, 0.2)), max_size=5
        ).map(tuple),
        st.none()
        | st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9).map(lambda g: WeightCurve(tuple(g), tuple(g))),
    )
)
def test_facts_come_back_as_they_were(found: InteractionFacts) -> None:
    assert InteractionFacts.from_json(found.as_json()) == found


def test_evidence_is_kept_for_some_time(small: Shop) -> None:
    with pytest.raises(ValueError, match="keep"):
        Evidence(small.database, small.now, timedelta(0))
