"""The measurement of the live pages: what is reckoned up is what arrived, and nothing that did not."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from uuid import uuid4

import av
import numpy as np
import pytest
from sqlalchemy import Engine, event

from cart.bench import measure_pages
from cart.events import CartEvent
from cart.pages_bench import (
    CartChange,
    ConsoleSpeed,
    Ledger,
    PagesLoad,
    PhoneSpeed,
    PictureSeen,
    console_speed,
    film_clips,
    grip_of,
    measure_console,
    measure_phones,
    phone_speed,
    records,
    rows_of_console,
    rows_of_phones,
)
from cart.seeing_bench import CAMERA_FPS, CAMERA_WH, shop_film
from store_sim.live import Grip
from tests.cart.test_live_store import NOON, OATS, Store
from vision.arrays import ImageArray

SECOND = 1_000_000_000
ADA = "ada's visit"


def seen(
    camera_id: str, captured_s: float, late_s: float, *, age_s: float | None = 0.0, people: int = 1
) -> PictureSeen:
    marked_s = None if age_s is None else captured_s - age_s
    return PictureSeen(camera_id, captured_s, marked_s, captured_s + late_s, people)


def change(number: int, known_s: float, *, occurred_s: float = 0.0, sku: str = OATS, quantity: int = 1) -> CartChange:
    return CartChange(ADA, number, known_s, round(occurred_s * SECOND), sku, quantity)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_stream_is_cut_into_its_records_wherever_its_chunks_end(size: int) -> None:
    sent = [({"camera_id": "a"}, b"\xff\xd8one"), ({"camera_id": "b"}, b""), ({"camera_id": "a"}, b"\xff\xd8three")]
    texts = [(b'{"camera_id": "%s"}' % said["camera_id"].encode(), jpeg) for said, jpeg in sent]
    stream = b"".join(struct.pack(">I", len(part)) + part for both in texts for part in both)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(stream) - 1, size):
            yield stream[start : min(start + size, len(stream) - 1)]
        yield stream[-1:]

    async def cut() -> list[tuple[dict[str, str], bytes]]:
        return [record async for record in records(chunks())]

    assert asyncio.run(cut()) == sent


def test_every_picture_counts_once_models_are_warm() -> None:
    pictures = [seen(camera_id, number / 10, 0.2) for number in range(30) for camera_id in "ab"]
    pictures += [seen("a", 3.0, 0.9, age_s=0.1, people=3), seen("b", 3.0, 0.2, age_s=None, people=0)]
    speed = console_speed(pictures, "ab", warm_s=1.0)
    assert len(speed.late_s) == 2 * 21
    assert max(speed.late_s) == pytest.approx(0.9)
    assert max(speed.overlay_age_s) == pytest.approx(0.1)
    assert (len(speed.overlay_age_s), speed.bare) == (41, 1)
    assert speed.per_second == pytest.approx({"a": 10, "b": 10})
    assert speed.people == pytest.approx((2 * 20 + 3) / 42)


def test_a_camera_that_gave_half_of_its_pictures_is_the_slowest() -> None:
    pictures = [seen("a", n / 10, 0.1) for n in range(20)] + [seen("b", n / 5, 0.1) for n in range(10)]
    for cameras, expected in (("ab", 5), ("abc", 0)):
        rows = {what: value for what, value, *_ in rows_of_console(console_speed(pictures, cameras), 2)}
        (slowest,) = [value for what, value in rows.items() if "slowest" in what]
        assert slowest == pytest.approx(expected)


def test_no_picture_is_no_measurement() -> None:
    with pytest.raises(OSError, match="no picture"):
        console_speed([], [])
    with pytest.raises(OSError, match="no picture"):
        console_speed([seen("a", 1.0, 0.1)], "a", warm_s=5.0)


def test_a_change_has_arrived_with_the_first_state_that_holds_it() -> None:
    changes = [change(1, 10.0), change(2, 10.1), change(3, 20.0), change(4, 30.0)]
    arrivals = {(ADA, 0): 9.0, (ADA, 2): 10.3, (ADA, 3): 20.5, ("ben's visit", 9): 30.1}
    speed = phone_speed("SQLite", changes, [], arrivals, {}, 0)
    assert speed.known_s == pytest.approx((0.3, 0.2, 0.5))
    assert (speed.hand_s, speed.unseen) == ((), 1)


def test_a_hand_is_dated_by_the_clock_that_phones_have() -> None:
    changes = [change(1, 100.0, occurred_s=52.1), change(2, 101.0, occurred_s=90.0)]
    speed = phone_speed(
        "SQLite", changes, [Grip(52 * SECOND, OATS, 1)], {(ADA, 2): 102.0}, {(ADA, OATS): 100.5}, 47 * SECOND
    )
    assert speed.hand_s == pytest.approx([102.0 - (52 + 47)])
    assert speed.shown_s == pytest.approx([100.5 - (52 + 47)])


def test_no_change_is_no_measurement() -> None:
    with pytest.raises(OSError, match="no cart"):
        phone_speed("SQLite", [], [], {}, {}, 0)


@pytest.mark.parametrize(
    ("grips", "expected"),
    [
        ([Grip(4 * SECOND, OATS, 1), Grip(5 * SECOND, OATS, 2), Grip(7 * SECOND, OATS, 1)], 1),
        ([Grip(5 * SECOND, OATS, -1), Grip(5 * SECOND, "another", 1)], None),
        ([Grip(1 * SECOND, OATS, 1)], None),
        ([], None),
    ],
)
def test_a_change_is_of_the_nearest_hand_that_did_such_a_thing(grips: list[Grip], expected: int | None) -> None:
    found = grip_of(change(1, 0.0, occurred_s=5.2), grips)
    assert found == (None if expected is None else grips[expected])


def test_what_goes_into_carts_is_taken_down_before_it_is_written() -> None:
    store, ledger = Store(), Ledger()
    ada, ben = store.admitted(), store.admitted()
    event.listen(Engine, "before_execute", ledger.hear)
    try:
        for session, quantity in ((ada, 2), (ben, 1), (ada, -1)):
            at = NOON + timedelta(seconds=quantity)
            store.checkout.record(CartEvent(uuid4(), session.session_id, at, OATS, quantity))
        store.checkout.flag(ada.session_id, "a reason", None, NOON)
    finally:
        event.remove(Engine, "before_execute", ledger.hear)
    noted = [(each.session_id, each.number, each.quantity) for each in ledger.changes]
    assert noted == [(str(ada.session_id), 1, 2), (str(ben.session_id), 1, 1), (str(ada.session_id), 2, -1)]
    assert ledger.changes[0].occurred_ns == round((NOON.timestamp() + 2) * SECOND)
    assert ledger.changes[-1].known_s <= time.monotonic()


def test_one_clip_is_four_cameras_of_a_cameras_size_and_frame_rate(tmp_path: Path) -> None:
    def bright() -> Iterator[ImageArray]:
        for number in range(12):
            yield np.full((90, 160, 3), 20 * number, np.uint8)

    clip = shop_film(tmp_path / "clip.mp4", bright, 12)
    films = film_clips([clip], tmp_path, 2.0)
    firsts = []
    assert [film.stem for film in films] == ["camera-1", "camera-2", "camera-3", "camera-4"]
    for film in films:
        with av.open(str(film)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == CAMERA_WH
            assert stream.average_rate is not None
            assert float(stream.average_rate) == CAMERA_FPS
            means = [float(frame.to_ndarray(format="gray").mean()) for frame in container.decode(stream)]
            assert len(means) == 2 * CAMERA_FPS  # of a clip of little more than a second
            firsts.append(round(means[0]))
    assert len(set(firsts)) == 4
    with pytest.raises(ValueError, match="expected a video"):
        film_clips([Path(__file__)], tmp_path, 2.0)


def test_a_faster_clip_is_slowed_by_leaving_pictures_out(tmp_path: Path) -> None:
    source = tmp_path / "fast.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(60):
            image = np.full((48, 64, 3), 4 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    film = film_clips([source], tmp_path, 2.0)[0]
    with av.open(str(film)) as container:
        means = [float(frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]
    steps = np.diff(list(islice(means, 20)))
    assert steps == pytest.approx(np.full(19, 12 * 219 / 255), abs=4)


@pytest.mark.parametrize("wrong", [{"shoppers": 0}, {"picks": 0}, {"console_s": 0}, {"warm_s": -1}])
def test_a_load_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        PagesLoad(**wrong)


def test_rows_say_what_was_measured() -> None:
    console = ConsoleSpeed((0.1, 0.2), (0.0, 0.0), {"a": 10.0, "b": 9.5}, 0, 1.5)
    assert [(round(value), unit) for _, value, unit, _ in rows_of_console(console, 2)] == [
        *((150, "ms"), (195, "ms"), (199, "ms"), (0, "ms"), (0, "ms")),
        *((10, "pictures/s"), (0, "pictures")),
    ]
    phones = PhoneSpeed("SQLite", (0.1,), (0.9,), (1.5,), 0)
    shown = [(what, text) for what, _, _, text in rows_of_phones(phones, PagesLoad(shoppers=7))]
    assert len(shown) == 9
    name = "cart on the phone, 7 shoppers connected, SQLite"
    assert shown[0] == (f"{name}: after the store knew, median (1 change)", "100 ms")
    assert shown[-1] == (f"{name}: after the hand, 99th percentile", "1500 ms")


@pytest.mark.slow
def test_pictures_of_four_served_cameras_arrive_with_their_overlay() -> None:
    speed = measure_console(PagesLoad(console_s=2.0, warm_s=0.5))
    assert len(speed.per_second) == 4
    assert len(speed.overlay_age_s) + speed.bare == len(speed.late_s) > 0
    assert min(speed.late_s) > 0


@pytest.mark.slow
def test_what_bodies_take_reaches_the_phones_of_those_they_shop_for() -> None:
    speed = measure_phones(PagesLoad(shoppers=2, picks=2, shopping_s=60.0, arriving_s=0.0))
    assert (len(speed.known_s), len(speed.hand_s), speed.unseen) == (4, 4, 0)
    assert 0 < min(speed.known_s) < min(speed.hand_s)
    assert speed.database == "SQLite"


def test_a_store_that_cannot_start_is_told() -> None:
    with pytest.raises(OSError, match="broke down"):
        measure_phones(PagesLoad(shoppers=1), "sqlite:////no/such/folder/shop.db")


def test_a_clip_that_is_none_is_refused_before_a_store_is_started() -> None:
    with pytest.raises((OSError, ValueError)):
        next(measure_pages(PagesLoad(console_s=1.0), [Path("/no/such/clip.mp4")]))
