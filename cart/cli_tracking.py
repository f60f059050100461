"""The commands around tracking alone: ``track`` and ``track-bench``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.box import HORIZONTALS
from rich.table import Column, Table

from cart.terminal import OUT, UsageError, check_outputs, counted, one_line_errors, progress_bar
from cart.tracking_bench import CROWDS, TrackingBench, read_sequences, tracking_bench, write_tracking_bench
from tracking.fusion import PlaneCamera, fuse, read_homographies
from tracking.metrics import TrackingScore, score
from tracking.mot import MotBoxes, boxes_of, frames_of, one_after_another, read_mot, write_mot
from tracking.tracker import Tracker


def track(
    detections: Annotated[
        list[Path], typer.Argument(metavar="DET.txt", help="Detections in MOTChallenge's format, one file a camera.")
    ],
    fps: Annotated[float, typer.Option(min=0.1, max=1000, help="Frames a second.")],
    out: Annotated[
        Path, typer.Option(metavar="RESULT.txt", help="Where the tracks go; a folder, with several cameras.")
    ],
    gt: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="GT.txt",
            help="The truth: score the tracks with it. One for each camera, in the order of the detections.",
            show_default=False,
        ),
    ] = None,
    homography: Annotated[
        Path | None,
        typer.Option(
            metavar="H.json",
            help="How the pictures of several cameras lie on one floor: gives one set of ids over all of them.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Follow people through detections in MOTChallenge's format, and score it where the truth is known."""
    with one_line_errors():
        if homography is not None or len(detections) > 1:
            _track_together(detections, fps, out, homography, gt or [])
            return
        check_outputs([out], None)
        if len(gt or []) > 1:
            raise UsageError(f"expected one --gt with one file of detections, got {len(gt or [])}")
        seen = read_mot(detections[0])
        truth = read_mot(gt[0]) if gt else None
        tracks = follow(seen, fps, detections[0].name)
        write_mot(out, tracks)
        people = len(set(tracks.track_id.tolist()))
        frames = int(seen.frame.max(initial=0))
        OUT.print(f"{counted(people, 'track')} in {counted(frames, 'frame')}: {out}", markup=False)
        if truth is not None:
            OUT.print(score_table([(detections[0].stem, score(truth, tracks))]))


def _track_together(
    detections: Sequence[Path], fps: float, out: Path, homography: Path | None, gt: Sequence[Path]
) -> None:
    """Follow people through several cameras that look at one floor; one file of tracks a camera."""
    if homography is None:
        raise UsageError(f"expected --homography with {len(detections)} files of detections")
    if gt and len(gt) != len(detections):
        raise UsageError(f"expected a --gt for each of {counted(len(detections), 'camera')}, got {len(gt)}")
    truth = [read_mot(path) for path in gt]
    names = camera_names(detections)
    homographies = read_homographies(homography, names)
    seen = [read_mot(path) for path in detections]
    if out.exists() and not out.is_dir():
        raise UsageError(f"expected --out to be a folder with several cameras, {out} is a file")
    cameras = [
        PlaneCamera(name, follow(boxes, fps, name), matrix)
        for name, boxes, matrix in zip(names, seen, homographies, strict=True)
    ]
    fused = fuse(cameras, fps)
    out.mkdir(parents=True, exist_ok=True)
    for name, boxes in zip(names, fused, strict=True):
        write_mot(out / f"{name}.txt", boxes)
    people = len({track_id for boxes in fused for track_id in boxes.track_id.tolist()})
    files = ", ".join(f"{name}.txt" for name in names)
    OUT.print(
        f"{people} {'person' if people == 1 else 'people'} in {counted(len(names), 'camera')}: {out}/{files}",
        markup=False,
    )
    if truth:
        frames = max(int(boxes.frame.max(initial=0)) for boxes in (*truth, *fused))
        each = [(name, score(true, own)) for name, true, own in zip(names, truth, fused, strict=True)]
        over_all = score(one_after_another(truth, frames), one_after_another(fused, frames))
        OUT.print(score_table(each, ("one set of ids", over_all)))


def camera_names(detections: Sequence[Path]) -> list[str]:
    """Name cameras after their files, or after the nearest folders that differ where the files are all called alike.

    >>> camera_names([Path("hall/north.txt"), Path("hall/south.txt")])
    ['north', 'south']
    >>> camera_names([Path("north/det/det.txt"), Path("south/det/det.txt")])
    ['north', 'south']
    """
    resolved = [path.resolve().with_suffix("") for path in detections]
    for depth in range(1, max(len(path.parts) for path in resolved)):
        names = [path.parts[-depth] if depth <= len(path.parts) else "" for path in resolved]
        if len(set(names)) == len(names):
            return names
    raise UsageError("expected different files of detections, got one twice")


def track_bench(
    folder: Annotated[
        Path, typer.Argument(metavar="MOT", help="A folder of MOTChallenge's sequences, with detections and truth.")
    ],
    norfair_python: Annotated[
        Path | None,
        typer.Option(
            metavar="PYTHON",
            help="A Python of its own that has norfair, which wants an old numpy.",
            show_default=False,
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the numbers, too.", show_default=False),
    ] = None,
    crowds: Annotated[bool, typer.Option(help="Measure the speed with 10 to 1,000 people, too.")] = True,
) -> None:
    """Compare tracking in one camera with other people's trackers, on the same boxes in the same run."""
    with one_line_errors():
        check_outputs([json_file], None)
        sequences = read_sequences(folder)
        with progress_bar() as progress:
            task = progress.add_task("reading", total=None)
            bench = tracking_bench(
                sequences,
                norfair_python=norfair_python,
                crowds=CROWDS if crowds else (),
                step=lambda name: progress.update(task, description=name),
            )
        for table in bench_tables(bench):
            OUT.print(table)
        for said in bench.missing:
            OUT.print(f"left out: {said}", markup=False)
        OUT.print(f"scored by {bench.scored_by}; frames a CPU second", markup=False)
        if json_file is not None:
            write_tracking_bench(bench, json_file)


def bench_tables(bench: TrackingBench) -> list[Table]:
    """Show a comparison: one table of how right and, where it was measured, one of how fast.

    Args:
        bench: What was measured.
    """
    names = ("HOTA", "IDF1", "AssA", "DetA", "switches", "frames/s")
    right = Table("group", "tracker", *(Column(name, justify="right") for name in names), box=HORIZONTALS)
    before = ""
    for row in bench.accuracy:
        if before not in ("", row.group):
            right.add_section()
        shares = (f"{100 * share:.1f}" for share in (row.hota, row.idf1, row.ass_a, row.det_a))
        name = "" if row.group == before else row.group
        right.add_row(name, row.tracker, *shares, str(row.switches), f"{row.frames_per_s:,.0f}")
        before = row.group
    if not bench.speed:
        return [right]
    people = list(dict.fromkeys(row.people for row in bench.speed))
    headers = (Column(f"{count:,} people", justify="right") for count in people)
    fast = Table("frames/s", *headers, box=HORIZONTALS)
    for tracker in dict.fromkeys(row.tracker for row in bench.speed):
        of_mine = {row.people: row for row in bench.speed if row.tracker == tracker}
        cells = (
            f"{of_mine[count].frames_per_s:,.0f} ({of_mine[count].ratio:.1f})" if count in of_mine else ""
            for count in people
        )
        fast.add_row(tracker, *cells)
    fast.caption = "in brackets: how many times as fast ours is"
    return [right, fast]


def follow(seen: MotBoxes, fps: float, name: str) -> MotBoxes:
    """Follow the people of one camera's detections, with a progress bar.

    Args:
        seen: Its detections.
        fps: Frames a second.
        name: What the bar says.

    Returns:
        The tracks.
    """
    tracker = Tracker("camera")
    frames = list(frames_of(seen, fps))
    with progress_bar() as progress:
        return boxes_of([tracker.update(frame) for frame in progress.track(frames, description=f"following {name}")])


def score_table(
    scores: Sequence[tuple[str, TrackingScore]], together: tuple[str, TrackingScore] | None = None
) -> Table:
    """Show scores as percentages, one row each, and all of them together below.

    Args:
        scores: Name and score of each sequence.
        together: Name and score of all of them; combined of theirs, in which ids hold for one sequence, if left out.
    """
    table = Table(
        "sequence",
        *(Column(name, justify="right") for name in ("HOTA", "IDF1", "AssA", "DetA", "MOTA", "switches")),
        box=HORIZONTALS,
        show_footer=False,
    )
    rows = list(scores)
    if together is not None:
        rows.append(together)
    elif len(rows) > 1:
        rows.append(("together", TrackingScore.combined(one for _, one in scores)))
    for name, one in rows:
        shares = (one.hota, one.idf1, one.ass_a, one.det_a, one.mota)
        table.add_row(name, *(f"{100 * share:.1f}" for share in shares), str(one.switches))
    return table
