from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.metrics import score
from tracking.mot import MotBoxes, boxes_of, frames_of, one_after_another, read_mot, read_sequence, write_mot
from tracking.tracker import Tracker


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "det.txt"
    path.write_text(text, "utf-8")
    return path


def boxes(seed: int, count: int) -> MotBoxes:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, 900, (count, 2)).round(2)
    size = rng.uniform(1, 200, (count, 2)).round(2)
    return MotBoxes.of(
        rng.integers(1, 9, count), np.arange(count), np.concatenate([corner, corner + size], axis=1), rng.random(count)
    )


def test_detections_of_ten_and_of_seven_columns_are_read_alike(tmp_path: Path) -> None:
    ten = read_mot(written(tmp_path, "1,-1,10,20,30,40,0.9,-1,-1,-1\n"))
    seven = read_mot(written(tmp_path, "1,-1,10,20,30,40,0.9\n"))
    for one in (ten, seven):
        assert one.xyxy.tolist() == [[10, 20, 40, 60]]
        assert (one.frame.tolist(), one.track_id.tolist(), one.confidence.tolist()) == ([1], [-1], [0.9])


def test_rows_out_of_order_are_sorted_by_frame_and_empty_lines_skipped(tmp_path: Path) -> None:
    read = read_mot(written(tmp_path, "7,-1,0,0,1,1,0.5\n\n2,-1,5,0,1,1,0.6\r\n7,-1,9,0,1,1,0.7\n"))
    assert read.frame.tolist() == [2, 7, 7]
    assert read.xyxy[:, 0].tolist() == [5, 0, 9]


def test_classes_are_read_from_nine_columns_only(tmp_path: Path) -> None:
    assert read_mot(written(tmp_path, "1,4,0,0,1,1,1,7,0.3\n")).class_id.tolist() == [7]
    assert read_mot(written(tmp_path, "1,4,0,0,1,1,1,-4.1,2.5,0\n")).class_id.tolist() == [1]


def test_a_comma_at_the_end_of_a_row_is_allowed(tmp_path: Path) -> None:
    assert len(read_mot(written(tmp_path, "1,-1,10,20,30,40,0.9,\n"))) == 1


def test_an_empty_file_holds_no_boxes(tmp_path: Path) -> None:
    empty = read_mot(written(tmp_path, "\n"))
    assert len(empty) == 0
    assert list(frames_of(empty, 10.0)) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2,-1,0,0,1", "line 2: expected 7 to 10 columns, got 5"),
        ("2,-1,0,0,1,x,0.5", "line 2: expected a number, got 'x'"),
        ("2,-1,0,0,1,nan,0.5", "line 2: expected finite numbers"),
        ("0,-1,0,0,1,1,0.5", "line 2: expected a frame from 1 on, got 0"),
        ("1.5,-1,0,0,1,1,0.5", "line 2: expected a frame from 1 on, got 1.5"),
        ("2,0.5,0,0,1,1,0.5", "line 2: expected a whole number as id, got 0.5"),
        ("2,-1,0,0,-1,1,0.5", "line 2: expected a width and height of 0 or more, got -1 and 1"),
        ("2,-1,0,0,1,1,0.5,-1,-1,-1", "line 2: expected 7 columns as before, got 10"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_mot(written(tmp_path, f"1,-1,0,0,1,1,0.5\n{row}\n"))


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "det.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="it is not text"):
        read_mot(path)


@given(seed=st.integers(0, 1000), count=st.integers(0, 20))
def test_results_are_read_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    path = tmp_path_factory.mktemp("mot") / "result.txt"
    made = boxes(seed, count)
    write_mot(path, made)
    assert all(len(line.split(",")) == 10 for line in path.read_text().splitlines())
    read = read_mot(path)
    assert read.frame.tolist() == made.frame.tolist()
    assert read.track_id.tolist() == made.track_id.tolist()
    np.testing.assert_allclose(read.xyxy, made.xyxy, atol=0.011)
    np.testing.assert_allclose(read.confidence, made.confidence, rtol=1e-3)


def test_frames_without_boxes_are_frames_too() -> None:
    made = MotBoxes.of(np.array([2, 4]), np.array([-1, -1]), np.array([[0.0, 0, 1, 1]] * 2), np.array([0.5, 0.6]))
    frames = list(frames_of(made, 20.0, frames=5, camera_id="door"))
    assert [len(frame) for frame in frames] == [0, 1, 0, 1, 0]
    assert [frame.timestamp_ns for frame in frames] == [0, 50_000_000, 100_000_000, 150_000_000, 200_000_000]
    assert {frame.camera_id for frame in frames} == {"door"}
    with pytest.raises(ValueError, match="expected a positive frame rate, got 0"):
        list(frames_of(made, 0))


def test_scores_that_are_no_probabilities_are_brought_into_their_range() -> None:
    def scores(confidence: list[float]) -> list[float]:
        count = len(confidence)
        made = MotBoxes.of(np.ones(count, int), np.zeros(count, int), np.ones((count, 4)), np.array(confidence))
        return [float(value) for value in next(iter(frames_of(made, 10))).confidence]

    assert scores([-1, -1]) == [1, 1]
    assert scores([-0.5, 2.5, 0.5]) == [0, 1, 0.5]


def test_tracks_become_boxes_of_their_frames() -> None:
    rows = MotBoxes.of(
        np.arange(1, 9),
        np.full(8, -1),
        np.array([[10.0 + 2 * i, 0, 50 + 2 * i, 100] for i in range(8)]),
        np.full(8, 0.9),
    )
    tracker = Tracker("camera")
    tracks = boxes_of([tracker.update(frame) for frame in frames_of(rows, 10.0)])
    assert tracks.frame.tolist() == [3, 4, 5, 6, 7, 8]
    assert set(tracks.track_id.tolist()) == {1}
    assert len(boxes_of([])) == 0


def test_a_sequence_is_read_with_its_frame_rate(tmp_path: Path) -> None:
    (tmp_path / "det").mkdir()
    (tmp_path / "det" / "det.txt").write_text("1,-1,0,0,9,9,0.9\n")
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nname=x\nframeRate=14\nseqLength=30\n")
    sequence = read_sequence(tmp_path)
    assert (sequence.frame_rate_hz, sequence.frame_count, sequence.truth) == (14, 30, None)
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nframeRate=0\nseqLength=30\n")
    with pytest.raises(ValueError, match="expected a frameRate above 0 and a seqLength from 1, got 0 and 30"):
        read_sequence(tmp_path)
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nseqLength=30\n")
    with pytest.raises(ValueError, match="expected frameRate and seqLength"):
        read_sequence(tmp_path)


def test_frames_must_rise() -> None:
    with pytest.raises(ValueError, match="in rising order"):
        MotBoxes(np.array([2, 1]), np.zeros(2, int), np.zeros((2, 4)), np.ones(2), np.ones(2, int))


def test_over_several_cameras_somebody_with_two_ids_is_two_people() -> None:
    first = boxes(1, 30)
    last = int(first.frame.max())
    renamed = MotBoxes(first.frame, first.track_id + 1000, first.xyxy, first.confidence, first.class_id)
    truth = one_after_another([first, first], last)
    assert score(truth, one_after_another([first, first], last)).idf1 == 1
    assert score(truth, one_after_another([first, renamed], last)).idf1 == pytest.approx(0.5)
    assert len(one_after_another([], 10)) == 0
    with pytest.raises(ValueError, match=f"expected at most {last - 1} frames a camera, got {last}"):
        one_after_another([first], last - 1)
