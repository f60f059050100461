from pathlib import Path

import numpy as np
import pytest

from tracking.metrics import TrackingScore, score
from tracking.mot import MotBoxes, read_mot

BOX = np.array([0.0, 0.0, 40.0, 100.0])


def walk(track_id: int, frames: range, x: float = 0.0) -> list[tuple[int, int, float]]:
    return [(frame, track_id, x) for frame in frames]


def boxes(rows: list[tuple[int, int, float]], class_id: int = 1, flag: float = 1.0) -> MotBoxes:
    table = np.array(rows, float).reshape(-1, 3)
    made = MotBoxes.of(table[:, 0].astype(int), table[:, 1].astype(int), BOX + table[:, 2:] * [[1, 0, 1, 0]])
    return MotBoxes(
        made.frame, made.track_id, made.xyxy, np.full(len(made), flag), np.full(len(made), class_id, np.int64)
    )


def together(*parts: MotBoxes) -> MotBoxes:
    names = ("frame", "track_id", "xyxy", "confidence", "class_id")
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    order = np.argsort(columns[0], kind="stable")
    return MotBoxes(*(column[order] for column in columns))


def test_perfect_tracks_score_everything() -> None:
    truth = boxes(walk(1, range(1, 11)) + walk(2, range(3, 8), 300))
    result = score(truth, truth)
    assert [result.hota, result.idf1, result.mota, result.ass_a, result.det_a, result.loc_a] == [1] * 6
    assert result.switches == 0


def test_an_identity_that_breaks_in_the_middle_is_half_right() -> None:
    truth = boxes(walk(1, range(1, 11)))
    broken = score(truth, boxes(walk(1, range(1, 6)) + walk(2, range(6, 11))))
    assert broken.switches == 1
    assert broken.det_a == 1
    assert broken.ass_a == pytest.approx(0.5)
    assert broken.hota == pytest.approx(0.5**0.5)
    assert broken.idf1 == pytest.approx(0.5)
    assert broken.mota == pytest.approx(0.9)


def test_missed_and_false_boxes_count_against_detection() -> None:
    truth = boxes(walk(1, range(1, 11)))
    half = score(truth, boxes(walk(1, range(1, 6)) + walk(2, range(1, 6), 500)))
    assert (half.clear_found, half.clear_missed, half.clear_false) == (5, 5, 5)
    assert half.det_a == pytest.approx(1 / 3)
    assert half.mota == 0
    assert half.idf1 == pytest.approx(0.5)


def test_rows_that_are_not_to_be_scored_are_not() -> None:
    truth = together(boxes(walk(1, range(1, 6))), boxes(walk(2, range(1, 6), 300), flag=0))
    found = score(truth, boxes(walk(1, range(1, 6))))
    assert (found.hota, found.mota) == (1, 1)


@pytest.mark.parametrize("class_id", [2, 7, 8, 12])
def test_boxes_on_distractors_are_neither_right_nor_wrong(class_id: int) -> None:
    truth = together(boxes(walk(1, range(1, 6))), boxes(walk(2, range(1, 6), 300), class_id))
    assert score(truth, boxes(walk(1, range(1, 6)) + walk(9, range(1, 6), 305))).mota == 1
    assert score(truth, boxes(walk(1, range(1, 6)) + walk(9, range(1, 6), 600))).mota == 0


def test_nothing_found_and_nothing_there_are_no_errors() -> None:
    nothing, somebody = boxes([]), boxes(walk(1, range(1, 4)))
    assert score(somebody, nothing).hota == 0
    assert score(nothing, somebody).mota == -3
    assert score(nothing, nothing).idf1 == 0


def test_scores_of_sequences_add_up() -> None:
    truth = boxes(walk(1, range(1, 11)))
    good, bad = score(truth, truth), score(truth, boxes([]))
    both = TrackingScore.combined([good, bad])
    assert both.det_a == pytest.approx(0.5)
    assert both.idf1 == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="at least one score"):
        TrackingScore.combined([])


def test_an_id_twice_in_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="result: id 1 comes twice in frame 3"):
        score(boxes([]), boxes([(3, 1, 0.0), (3, 1, 50.0)]))


def spoilt(truth: MotBoxes) -> MotBoxes:
    """Every third box left out, the others shifted by a tenth of their width, and new ids from frame 70 on."""
    kept = np.arange(len(truth)) % 3 != 0
    shift = 0.1 * (truth.xyxy[:, 2:3] - truth.xyxy[:, :1]) * [[1, 0, 1, 0]]
    ids = truth.track_id + 1000 * (truth.frame >= 70)
    return MotBoxes(truth.frame, ids, truth.xyxy + shift, truth.confidence, truth.class_id)[kept]


def test_scores_equal_trackeval(shared: Path) -> None:
    truth = read_mot(shared / "mot" / "KITTI-17" / "gt" / "gt.txt")
    found = score(truth, spoilt(truth))
    shares = [found.hota, found.det_a, found.ass_a, found.loc_a, found.mota, found.idf1]
    # What the metric classes of TrackEval 1.3.0 give for these boxes.
    expected = [
        0.4583858495481655,
        0.5116723790083936,
        0.41064887539869577,
        0.8468051209331392,
        0.5636896046852123,
        0.5730897009966778,
    ]
    assert shares == pytest.approx(expected, abs=1e-12)
    assert found.switches == 4
