"""Replays that engineers ask for, in a process of their own."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from cart.errors import RecordingNotFound, ReplayNotFound
from cart.replays import DEMO_RECORDING, Replays, ReplayState, picture_folder, write_json

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def finished(replays: Replays, state: ReplayState) -> ReplayState:
    """Wait until a replay is over."""
    replay_id = UUID(state.replay_id)
    for _ in range(1200):
        found = replays.state(replay_id)
        if found.ended_at is not None:
            return found
        time.sleep(0.1)
    raise AssertionError("it never ended")


def test_the_demo_day_is_made_and_replayed_and_every_moment_can_be_read(tmp_path: Path) -> None:
    replays = Replays(tmp_path / "replays", None, lambda: NOON, offers_demo=True)
    assert replays.recordings() == (DEMO_RECORDING,)
    state = finished(replays, replays.ask(DEMO_RECORDING, label="as it is"))
    assert (state.status, state.detail, state.progress) == ("done", "", 1.0)
    replay_id = UUID(state.replay_id)
    result = replays.result(replay_id)
    assert result is not None
    assert result["document"]["receipts"]
    assert result["floor"]["bins"]
    assert all(len(each["outline_m"]) == 4 for each in result["floor"]["bins"])
    interaction = result["interactions"][0]
    assert interaction["weight"]["delta_g"] < 0
    assert 0 < interaction["candidates"][0]["probability"] <= 1
    moments = replays.moments(replay_id, interaction["t_s"] - 5, interaction["t_s"] + 5)
    assert len(moments) > 30
    assert moments == sorted(moments, key=lambda each: each["t_s"])
    assert any(moment["people"] for moment in moments)
    assert any(contact["bin_id"] == interaction["bin_id"] for moment in moments for contact in moment["contacts"])
    assert replays.picture(replay_id, "../moments", 1.0) is None
    blind = finished(replays, replays.ask(DEMO_RECORDING, without=["scales"]))
    assert blind.status == "done"
    without = replays.result(UUID(blind.replay_id))
    assert without is not None
    assert all(each["weight"] is None for each in without["interactions"])
    replays.delete(replay_id)
    with pytest.raises(ReplayNotFound):
        replays.state(replay_id)
    replays.close()


@pytest.mark.parametrize("camera_id", ["north", "hall/door", "..", "50% dark", "back\\slash", "דלת", "a/../../b"])
def test_pictures_of_a_camera_of_any_name_are_found_and_lie_within_the_replay(tmp_path: Path, camera_id: str) -> None:
    replay_id = uuid4()
    folder = tmp_path / str(replay_id)
    place = picture_folder(folder, camera_id)
    assert place.resolve().parent == (folder / "pictures").resolve()
    place.mkdir(parents=True)
    (place / "0000000500.jpg").write_bytes(camera_id.encode())
    write_json(folder / "state.json", asdict(ReplayState(str(replay_id), "x", "", (), "done", 1.0, 9.0, "", "")))
    replays = Replays(tmp_path, None, lambda: NOON)
    assert replays.picture(replay_id, camera_id, 1.0) == camera_id.encode()
    assert replays.picture(replay_id, f"{camera_id}2", 1.0) is None
    replays.close()


def test_what_cannot_be_replayed_is_refused_at_once(tmp_path: Path) -> None:
    replays = Replays(tmp_path, None, lambda: NOON)
    with pytest.raises(RecordingNotFound):
        replays.ask(DEMO_RECORDING)
    with pytest.raises(ReplayNotFound):
        replays.moments(uuid4(), 0, 1)
    replays.close()
