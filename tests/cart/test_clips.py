"""What is kept of an interaction: clips for reviewers, one blurred picture for its shopper, and nothing that waits."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import av
import cv2
import numpy as np
import pytest
from av.container import InputContainer

from cart.accounts import Accounts
from cart.checkout import Checkout
from cart.clips import MOST_WAITING, ClipKeeper, encoded_clip, hand_picture, is_alone
from cart.demo_store import demo_store_layout
from cart.events import ReviewFlag
from cart.evidence import Evidence, EvidenceKind, EvidencePiece
from cart.live_store import moment
from cart.payments import FakeGateway
from cart.pictures import Taken
from cart.pipeline import InteractionSeen, StorePipeline, VisitClosed
from cart.pricing import PriceBook
from cart.privacy import Privacy
from cart.repository import Database
from cart.sessions import Session
from tracking.types import Candidate, Identities, Interaction
from vision.arrays import FloatArray, ImageArray
from vision.frames import Tick
from vision.shelf import Handling

LAYOUT = demo_store_layout()
BIN = next(each for each in LAYOUT.bins if each.box is not None)
assert BIN.box is not None
HAND_M = BIN.box.corners_m.mean(axis=0)
START = datetime(2026, 5, 4, 12, tzinfo=UTC)
START_NS = round(START.timestamp()) * 1_000_000_000
SECOND_NS = 1_000_000_000
CAMERAS = tuple(camera.camera_id for camera in LAYOUT.cameras)


@dataclass
class Pictures:
    """Pictures of noise, ten a second, of some cameras."""

    camera_ids: tuple[str, ...] = CAMERAS
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hold.set()

    def latest(self, camera_id: str) -> Taken | None:
        """None: nobody asks here."""
        return None

    def between(self, camera_id: str, start_ns: int, end_ns: int, fps: float) -> Sequence[Taken]:
        """Pictures of a span."""
        self.hold.wait(120)
        self.asked.append((camera_id, start_ns, end_ns))
        rng = np.random.default_rng(start_ns % 1000)
        step_ns = round(SECOND_NS / fps)
        first_ns = -(-start_ns // step_ns) * step_ns
        return [
            Taken(camera_id, at_ns, rng.integers(0, 255, (360, 640, 3), np.uint8))
            for at_ns in range(first_ns, end_ns + 1, step_ns)
        ]


class Store:
    """A floor without sensors: what is seen in it is told."""

    def __init__(self, *, everything: bool = False) -> None:
        self.database = Database.in_memory()
        self.at = START
        now: Callable[[], datetime] = lambda: self.at  # noqa: E731
        self.accounts = Accounts(self.database, now)
        self.checkout = Checkout(self.database, PriceBook("EUR"), FakeGateway(), now=now)
        self.evidence = Evidence(self.database, now)
        self.pictures = Pictures()
        self.keeper = ClipKeeper(self.evidence, self.pictures, everything=everything)

    def visit(self, name: str = "ada") -> Session:
        """Somebody comes in."""
        return self.checkout.check_in(name, START)

    def look(self, at_s: float, *events: Any, people: Identities | None = None) -> None:
        """Let the keeper look at an instant."""
        now_ns = START_NS + round(at_s * SECOND_NS)
        pipeline = SimpleNamespace(people=people or Identities.nobody(now_ns), layout=LAYOUT)
        self.keeper.watched(Tick(now_ns), cast(StorePipeline, pipeline), events)

    def kept(self, session: Session, count: int, within_s: float = 120.0) -> list[EvidencePiece]:
        """What is kept of a visit, once it is so many pieces."""
        until = time.monotonic() + within_s
        while len(found := self.evidence.of(session.session_id)) < count and time.monotonic() < until:
            time.sleep(0.02)
        return list(found)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside other tests on every core, a thread that gives way would not get on at all."""
    monkeypatch.setattr("cart.clips.give_way", lambda: None)


def seen(at_s: float, *sessions: Session | None, sure: bool = True, shares: tuple[float, ...] = (0.9,)) -> Any:
    """Somebody took something in five seconds' time, or less."""
    at_ns = START_NS + round(at_s * SECOND_NS)
    candidates = tuple(Candidate(row, "042", 1, share) for row, share in enumerate(shares))
    interaction = Interaction(
        uuid4(),
        Handling.PICK,
        BIN.bin_id,
        (),
        "042",
        1,
        at_ns - SECOND_NS // 2,
        at_ns,
        at_ns + SECOND_NS // 2,
        candidates,
    )
    return InteractionSeen(interaction, ("ada",) * len(candidates), "ada", sure, tuple(sessions))


def people(at_s: float, *standing_m: tuple[float, float], hands_m: FloatArray = HAND_M) -> Identities:
    """People, the first of whom has a hand at the bin."""
    count = len(standing_m)
    at_ns = START_NS + round(at_s * SECOND_NS)
    hands = np.full((count, 2, 3), np.nan)
    hands[0, 1] = hands_m
    return Identities(
        at_ns,
        np.arange(count),
        np.array(standing_m),
        np.zeros((count, 2)),
        np.zeros((count, 2, 2)),
        hands,
        np.full((count, 2), np.nan),
        np.full(count, at_ns),
        np.full(count, at_ns),
    )


@pytest.fixture
def store() -> Any:
    made = Store()
    made.keeper.start()
    yield made
    made.keeper.close()


def test_an_unsure_interaction_is_kept_as_a_clip_of_each_camera_that_sees_it(store: Store) -> None:
    ada = store.visit()
    event = seen(10.0, ada, sure=False)
    store.look(11.0, event)
    assert store.evidence.of(ada.session_id) == ()
    store.look(12.6)
    found = store.kept(ada, 3)
    clips = [piece for piece in found if piece.kind is EvidenceKind.CLIP]
    cameras = {piece.facts.camera_id for piece in clips}
    assert len(clips) == len(cameras) >= 2
    assert cameras <= set(CAMERAS)
    for clip in clips:
        assert clip.interaction_id == event.interaction.interaction_id
        assert clip.facts.candidates == ()
        # Two seconds before hands came to two seconds after they left.
        assert abs(clip.facts.started_at - moment(START_NS + round(7.5 * SECOND_NS))) <= timedelta(seconds=0.1)
        assert abs(clip.facts.ended_at - moment(START_NS + round(12.5 * SECOND_NS))) <= timedelta(seconds=0.1)
    media_type, media = store.evidence.media(clips[0].evidence_id)
    assert media_type == "video/mp4"
    with cast(InputContainer, av.open(BytesIO(media))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width) == ("h264", 640)
        assert abs(sum(1 for _ in container.decode(stream)) - 51) <= 1


def test_what_is_sure_is_kept_as_a_picture_for_its_shopper_alone(store: Store) -> None:
    ada, eve = store.visit("ada"), store.visit("eve")
    store.look(10.0, people=people(10.0, (HAND_M[0], HAND_M[1])))
    store.look(11.0, seen(10.0, ada, eve, shares=(0.9, 0.05)))
    store.look(12.6)
    (piece,) = store.kept(ada, 1)
    assert (piece.kind, piece.media_type) == (EvidenceKind.HAND, "image/jpeg")
    assert store.evidence.of(eve.session_id) == ()


def test_nobody_gets_a_picture_of_whose_hand_may_be_another_ones(store: Store) -> None:
    ada, eve = store.visit("ada"), store.visit("eve")
    store.look(11.0, seen(10.0, ada, eve, sure=False, shares=(0.5, 0.45)))
    store.look(12.6)
    found = store.kept(eve, 2)
    assert {piece.kind for piece in [*found, *store.kept(ada, 2)]} == {EvidenceKind.CLIP}


def test_where_somebody_else_stands_there_is_no_picture_for_the_shopper(store: Store) -> None:
    ada, ben = store.visit(), store.visit("ben")
    crowd = [(HAND_M[0] + 0.4 * np.cos(turn), HAND_M[1] + 0.4 * np.sin(turn)) for turn in np.arange(0, 6.28, 0.4)]
    store.look(10.0, people=people(10.0, (HAND_M[0], HAND_M[1]), *crowd))
    store.look(11.0, seen(10.0, ada))
    store.look(13.0, seen(12.0, ben))
    store.look(15.0)
    assert [piece.kind for piece in store.kept(ben, 1)] == [EvidenceKind.HAND]
    assert store.evidence.of(ada.session_id) == ()


def test_a_visit_that_turns_out_to_need_a_look_gets_the_clips_of_what_seemed_sure(store: Store) -> None:
    ada = store.visit()
    store.look(11.0, seen(10.0, ada))
    store.look(12.6)
    assert [piece.kind for piece in store.kept(ada, 1)] == [EvidenceKind.HAND]
    flag = ReviewFlag(ada.session_id, "somebody was lost sight of", None, START)
    outcome = SimpleNamespace(session=ada, flags=(flag,))
    store.look(20.0, VisitClosed("ada", 0, 1, cast(Any, None), cast(Any, outcome)))
    kinds = [piece.kind for piece in store.kept(ada, 3)]
    assert kinds.count(EvidenceKind.HAND) == 1
    assert kinds.count(EvidenceKind.CLIP) >= 2


def test_where_pictures_are_there_anyway_everything_is_kept_while_nothing_waits() -> None:
    store = Store(everything=True)
    store.keeper.start()
    ada = store.visit()
    store.look(11.0, seen(10.0, ada))
    store.look(12.6)
    assert EvidenceKind.CLIP in {piece.kind for piece in store.kept(ada, 3)}
    store.keeper.close()


def test_a_floor_never_waits_and_what_cannot_be_kept_up_with_is_left_out(store: Store) -> None:
    ada = store.visit()
    store.pictures.hold.clear()
    for number in range(3 * MOST_WAITING):
        store.look(20.0 + number * 0.01, seen(10.0, ada, sure=False))
    assert store.pictures.asked == [], "the floor went on while the first pictures were still waited for"
    assert store.keeper.left_out >= 2 * MOST_WAITING - 2
    store.pictures.hold.set()


def test_a_camera_that_fails_costs_its_clips_and_nothing_else(store: Store) -> None:
    ada = store.visit()
    whole = store.pictures.between

    def broken(camera_id: str, start_ns: int, end_ns: int, fps: float) -> Sequence[Taken]:
        if not store.pictures.asked:
            store.pictures.asked.append((camera_id, start_ns, end_ns))
            raise OSError("no pictures")
        return whole(camera_id, start_ns, end_ns, fps)

    store.pictures.between = broken  # type: ignore[method-assign]
    store.look(11.0, seen(10.0, ada, sure=False), seen(10.0, ada, sure=False))
    store.look(12.6)
    assert store.kept(ada, 3)


def test_nothing_is_kept_of_who_was_forgotten_meanwhile() -> None:
    store = Store()
    ada = store.accounts.create("ada@example.com", "correct horse", "Ada")
    visit = store.visit(str(ada.account_id))
    store.checkout.close(visit.session_id, START)
    Privacy(store.database, lambda: START).erase(ada.account_id)
    store.keeper.start()
    store.look(11.0, seen(10.0, visit, sure=False))
    store.look(12.6)
    until = time.monotonic() + 120
    while len(store.pictures.asked) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    store.keeper.close()
    assert len(store.pictures.asked) >= 2
    assert store.evidence.of(visit.session_id) == ()


def test_all_but_the_surroundings_of_the_hand_is_beyond_recognition() -> None:
    camera = next(each for each in LAYOUT.cameras if _shows(each.camera_id))
    width, height = camera.resolution_wh
    checks: ImageArray = np.asarray(((np.indices((height, width)).sum(axis=0) // 4) % 2 * 255), np.uint8)
    picture = cv2.imdecode(
        np.frombuffer(hand_picture(np.dstack([checks] * 3), camera, HAND_M), np.uint8), cv2.IMREAD_COLOR
    )
    assert picture is not None
    assert picture.shape == (height, width, 3)
    x, y = camera.image_points(HAND_M[None])[0].astype(int)
    rows, columns = np.mgrid[:height, :width]
    far = np.hypot(columns - x, rows - y) > 0.17 * width
    assert float(picture[far].std()) < 6
    assert float(picture[max(0, y - 4) : y + 5, max(0, x - 4) : x + 5].std()) > 60


def test_a_head_near_the_hand_in_a_picture_is_noticed() -> None:
    camera = next(each for each in LAYOUT.cameras if _shows(each.camera_id))
    assert is_alone(camera, HAND_M, np.zeros((0, 2)))
    # Whoever stands between the camera and the hand.
    between = camera.position_m + 0.95 * (HAND_M - camera.position_m)
    assert not is_alone(camera, HAND_M, between[None, :2])
    assert is_alone(camera, HAND_M, 2 * HAND_M[None, :2] - 40)


def test_a_clip_that_is_too_large_is_made_smaller_or_left_out() -> None:
    taken = Pictures().between("cam1", START_NS, START_NS + SECOND_NS, 10.0)
    whole, small = encoded_clip(taken), encoded_clip(taken, (64,))
    assert whole is not None
    assert small is not None
    fitting = encoded_clip(taken, (640, 64), len(small))
    assert fitting is not None
    assert len(fitting) <= len(small) < len(whole)
    assert encoded_clip(taken, (640, 64), len(small) // 2) is None
    assert encoded_clip(taken[:1]) is None
    assert encoded_clip([]) is None


def _shows(camera_id: str) -> bool:
    camera = next(each for each in LAYOUT.cameras if each.camera_id == camera_id)
    x, y = camera.image_points(HAND_M[None])[0]
    return bool(0.2 < x / camera.resolution_wh[0] < 0.8 and 0.2 < y / camera.resolution_wh[1] < 0.8)
