from pathlib import Path

import numpy as np
import pytest

from store_sim.autocheckout import AutoCheckoutSource
from store_sim.recording import RecordingSource, RecordingWriter
from store_sim.replay import find_site, open_recording
from vision.frames import Frame, Tick
from vision.sources import VideoFilesSource

PLATE_LINE = (
    '{"timestamp": 1600000000.0, "gondola_id": 1, "document": {"header": {}, "plate_data": {"freq_samp": 60.0, '
    '"values": {"data": "AACAPw==", "shape": [1, 1, 1], "type": "DATATYPE_FLOAT32"}}}}\n'
)


def recording(folder: Path, *cameras: str) -> Path:
    with RecordingWriter(folder) as writer:
        for i in range(3):
            image = np.full((48, 64, 3), 60 * i, np.uint8)
            writer.write(Tick(i * 10**8, tuple(Frame(camera, i, i * 10**8, image) for camera in cameras)))
    return folder


def videos(folder: Path, *cameras: str) -> Path:
    made = recording(folder.parent / f"{folder.name}-made", *cameras)
    folder.mkdir()
    for camera in cameras:
        (made / "cameras" / f"{camera}.mp4").rename(folder / f"{camera}.mp4")
    return folder


def site(folder: Path) -> Path:
    folder.mkdir()
    for name in ("Gondolas", "Shelves", "Plates"):
        (folder / f"{name}.json").write_text(f'{{"{name.lower()}": []}}')
    return folder


def test_each_kind_of_recording_is_known(tmp_path: Path) -> None:
    assert isinstance(open_recording([recording(tmp_path / "own", "a")]), RecordingSource)
    folder = videos(tmp_path / "videos", "cam2", "cam10")
    source = open_recording([folder])
    assert isinstance(source, VideoFilesSource)
    assert source.camera_ids == ("cam2", "cam10")
    assert open_recording([folder / "cam10.mp4"]).camera_ids == ("cam10",)
    (tmp_path / "plates").mkdir()
    (tmp_path / "plates" / "plate_data.jsonl").write_text(PLATE_LINE)
    assert isinstance(open_recording([tmp_path / "plates"]), AutoCheckoutSource)


def test_plates_of_the_site_beside_a_recording_are_the_only_ones_kept(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "plate_data.jsonl").write_text(PLATE_LINE)
    site(tmp_path / "site")
    source = open_recording([folder])
    assert list(source) == []
    assert {notice.code for notice in source.notices} == {"unknown-gondola"}


def test_what_is_no_recording_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no path"):
        open_recording([])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_recording([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="found none of them"):
        open_recording([tmp_path / "empty"])
    with pytest.raises(ValueError, match="got a site"):
        open_recording([site(tmp_path / "shop")])
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(ValueError, match=r"notes\.txt: expected a video"):
        open_recording([text])


def test_mixtures_are_refused(tmp_path: Path) -> None:
    own, folder = recording(tmp_path / "own", "a"), videos(tmp_path / "videos", "cam1")
    with pytest.raises(ValueError, match="folders mixed with files"):
        open_recording([own, folder / "cam1.mp4"])
    with pytest.raises(ValueError, match="several folders"):
        open_recording([own, folder])
    with pytest.raises(ValueError, match="give the folder"):
        open_recording([own / "recording.json"])


def test_the_site_is_inside_the_recording_or_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "day" / "r"
    folder.mkdir(parents=True)
    assert find_site([folder]) is None
    beside = site(tmp_path / "day" / "site")
    assert find_site([folder]) == beside
    assert find_site([folder / "cam1.mp4", folder / "cam2.mp4"]) == beside
    inside = site(folder / "site")
    assert find_site([folder]) == inside
    assert find_site([folder / "cam1.mp4"]) == inside


def test_a_folder_that_is_only_named_site_is_none(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    assert find_site([tmp_path]) is None


def test_the_shared_recordings_are_known_and_find_their_site(shared: Path) -> None:
    store = shared / "nanostore"
    assert isinstance(open_recording([store / "BENCHMARK-1"]), AutoCheckoutSource)
    source = open_recording([store / "cps-test-01"])
    assert source.camera_ids == ("cam1", "cam3", "cam5", "cam7")
    for name in ("BENCHMARK-1", "cps-test-01", "cps-test-01/cam3.mp4"):
        assert find_site([store / name]) == (store / "site").resolve()
    assert find_site([shared / "footage" / "bottle-detection.mp4"]) is None
