"""The commands that place cameras in the store, refine where they hang, and check them from day to day."""

import itertools
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.table import Table

from cart.eyes import named_detector
from cart.terminal import ERR, OUT, UsageError, counted, one_line_errors, progress_bar
from store_sim.autocheckout import read_site
from store_sim.replay import open_recording
from tracking.body_points import body_points
from tracking.calibration_refinement import Refinement, refine
from vision.arrays import ImageArray
from vision.calibration import Calibration, calibrate_pairs, draw_calibration, read_point_pairs, write_calibration
from vision.camera_check import CameraState, check_camera, still_picture
from vision.detections import Detections
from vision.fit_drawing import beside, draw_move, layout_drawn
from vision.frames import Frame, Source
from vision.layout import StoreLayout, layout_to_yaml, read_layout
from vision.sources import CameraAddress, StreamSource

_Site = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Gondolas, shelves and plates, where the layout has none.")
]

NANOSECONDS = 1_000_000_000
LIVE_WAIT_S = 15.0
PICTURES = 9  # of each camera for a still scene: an odd number, so that a median is one of them
LOOK_S = 60.0  # over which they are spread, where there is so much
REFINE_EVERY_S = 0.5  # people have moved by then
WRONG = 1  # exit status when a camera is not as it was


def calibrate(
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="Image points and where they are in the store.")],
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Picture size, where PAIRS does not give it.")] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="[CAMERA=]FILE", help="A picture of the camera, to draw the fit into."),
    ] = None,
    layout: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Shelves, doors and floor to draw into the pictures too.")
    ] = None,
    site: _Site = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the cameras as a layout file.")] = None,
    pictures: Annotated[Path, typer.Option(metavar="DIR", help="Where drawn pictures go.")] = Path("calibration"),
    distortion: Annotated[bool, typer.Option("--distortion", help="Estimate lens distortion too.")] = False,
) -> None:
    """Place cameras in the store from image points whose place is known, and say how well they fit."""
    with one_line_errors():
        resolution_wh = None if size is None else _size(size)
        store = None if layout is None and site is None else _store(layout, site)
        found = [
            calibrate_pairs(each, resolution_wh, estimate_distortion=distortion) for each in read_point_pairs(pairs)
        ]
        for calibration in found:
            _print_calibration(calibration)
        for entry in image or []:
            camera_id, equals, name = entry.partition("=")
            file = Path(name if equals else entry)
            picture = _picture(file)
            matching = [c for c in found if not equals or c.camera.camera_id == camera_id]
            if len(matching) != 1:
                raise UsageError(f"{entry}: write CAMERA={file} with one of the cameras {_names(found)}")
            drawn = draw_calibration(picture, matching[0])
            if store is not None:
                drawn = layout_drawn(drawn, matching[0].camera, store)
            _write_picture(pictures, matching[0].camera.camera_id, drawn)
            sizes = f"{picture.shape[1]}x{picture.shape[0]}", "{}x{}".format(*matching[0].camera.resolution_wh)
            if sizes[0] != sizes[1]:
                ERR.print(f"note: {file} is {sizes[0]}, the points are taken to be of {sizes[1]}", markup=False)
        if out is not None:
            write_calibration(found, out, name=pairs.stem)
            OUT.print(f"Layout: {out}", markup=False)


def refine_cameras(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="A recording with people who walk through several cameras.")
    ],
    layout: Annotated[Path, typer.Option(metavar="FILE", help="The cameras as they were calibrated, and the store.")],
    site: _Site = None,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE", help="Models that see people and their key-points.")
    ] = None,
    anchor: Annotated[
        list[str] | None, typer.Option(metavar="CAMERA", help="A camera that stays where it is; may be repeated.")
    ] = None,
    focal: Annotated[bool, typer.Option("--focal", help="Let focal lengths change too.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the refined cameras as a layout.")] = None,
    pictures: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw before and after, side by side.")] = None,
) -> None:
    """Place cameras better by the people that several of them see; refuses what is no better on the half held back."""
    with one_line_errors():
        source, store = _opened([str(path) for path in paths], layout, site)
        cameras = {camera.camera_id: camera for camera in store.cameras if camera.camera_id in source.camera_ids}
        if len(cameras) < 2:
            raise UsageError(
                f"expected two or more calibrated cameras of the recording in {layout}, got {len(cameras)}"
            )
        detector = named_detector(weights or [])
        if not detector.has_keypoints:
            raise UsageError("expected a model that gives key-points, such as blazepose beside a detector of people")
        first: dict[str, ImageArray] = {}
        instants: list[tuple[float, Sequence[Detections]]] = []
        with progress_bar() as progress:
            task = progress.add_task("looking for people", total=source.duration_s or None)
            for time_s, frames in _instants(source, REFINE_EVERY_S):
                progress.update(task, completed=time_s)
                frames = [frame for frame in frames if frame.camera_id in cameras]
                first |= {frame.camera_id: frame.image for frame in frames if frame.camera_id not in first}
                instants.append((time_s, [seen.people() for seen in detector.detect(frames)]))
        refinement = refine(cameras, body_points(cameras, instants), anchors=anchor or [], with_focal=focal)
        _print_refinement(refinement)
        if pictures is not None:
            for change in refinement.changes:
                name = change.before.camera_id
                if name in first:
                    both = [layout_drawn(first[name], camera, store) for camera in (change.before, change.after)]
                    _write_picture(pictures, name, beside(both, ("before", "after")))
        if not refinement.is_better:
            raise UsageError(f"nothing is changed: {refinement.reason}")
        if out is not None:
            refined = StoreLayout(name=store.name, cameras=refinement.cameras)
            about = f"refined by people: {refinement.before_px:.1f} px before, {refinement.after_px:.1f} px after"
            out.write_text(layout_to_yaml(refined, about=about), encoding="utf-8")
            OUT.print(f"Layout: {out}", markup=False)


def check_cameras(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="A recording of today, or live cameras (NAME=rtsp://…)."),
    ],
    layout: Annotated[Path, typer.Option(metavar="FILE", help="The cameras as they were calibrated, and the store.")],
    reference: Annotated[
        Path, typer.Option(metavar="DIR", help="Pictures of the still scene from the day of calibration.")
    ],
    site: _Site = None,
    save: Annotated[bool, typer.Option("--save", help="Write the reference pictures instead of checking.")] = False,
    pictures: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw before and today, side by side.")] = None,
) -> None:
    """Check installed cameras against the day they were calibrated; exit status 1 if one is not as it was."""
    with one_line_errors():
        source, store = _opened(paths, layout, site)
        cameras = [camera for camera in store.cameras if camera.camera_id in source.camera_ids]
        if not cameras:
            raise UsageError(f"{layout}: expected one of the cameras {', '.join(source.camera_ids)} in it, calibrated")
        images = _looked(source, [camera.camera_id for camera in cameras])
        if save:
            for camera in cameras:
                if not images[camera.camera_id]:
                    raise UsageError(f"{camera.camera_id} sends no pictures")
                _write_picture(reference, camera.camera_id, still_picture(images[camera.camera_id]))
            return
        checks = []
        for camera in cameras:
            before = _picture(reference / f"{camera.camera_id}.png")
            check = check_camera(camera, before, images[camera.camera_id], store)
            checks.append(check)
            OUT.print(check.message, markup=False)
            if pictures is not None and images[camera.camera_id]:
                today = still_picture(images[camera.camera_id])
                drawn = layout_drawn(before, camera, store), layout_drawn(today, camera, store)
                if check.move is not None:
                    drawn = drawn[0], draw_move(drawn[1], camera, store, check.move)
                _write_picture(pictures, camera.camera_id, beside(drawn, ("reference", "today")))
        wrong = [check for check in checks if check.state is not CameraState.FINE]
    if wrong:
        raise typer.Exit(WRONG)


def evaluate_calibration(
    shops: Annotated[int, typer.Option(min=1, max=500, help="Random shops to render.")] = 10,
    seed: Annotated[int, typer.Option(help="Number of the first.")] = 5000,
    refine_too: Annotated[bool, typer.Option("--refine/--no-refine", help="Measure refinement by people too.")] = True,
) -> None:
    """Measure on rendered random shops how well cameras are checked and placed."""
    from cart.calibration_evaluation import check_trials, refinement_trial  # the renderer takes a second to import

    with one_line_errors(), progress_bar() as progress:
        task = progress.add_task("cameras", total=shops)
        trials = []
        for number in range(seed, seed + shops):
            trials += list(check_trials(number))
            progress.advance(task)
        table = Table("camera was", "checked", "said to be", "shift off by, median cm", "turn off by, median degrees")
        for kind in dict.fromkeys(trial.kind for trial in trials):
            own = [trial for trial in trials if trial.kind == kind]
            said = [trial.check.state.value for trial in own]
            moved = [trial for trial in own if trial.shift_error_m == trial.shift_error_m]
            table.add_row(
                kind,
                str(len(own)),
                ", ".join(f"{word} {said.count(word)}" for word in sorted(set(said))),
                f"{100 * np.median([t.shift_error_m for t in moved]):.1f}" if moved else "",
                f"{np.rad2deg(np.median([t.turn_error_rad for t in moved])):.2f}" if moved else "",
            )
        OUT.print(table)
        if refine_too:
            placed, before_px, after_px, refused = [], [], [], 0
            for number in range(seed, seed + shops):
                refinement, cameras = refinement_trial(number)
                placed += cameras
                before_px.append(refinement.before_px)
                after_px.append(refinement.after_px)
                refused += not refinement.is_better
            table = Table("refinement by people", "before, median", "after, median", "after, 9 of 10 within")
            for what, unit, values in (
                ("place, cm", 100.0, [camera.place_m for camera in placed]),
                ("turn, degrees", 180 / np.pi, [camera.turn_rad for camera in placed]),
                ("floor, cm", 100.0, [camera.floor_m for camera in placed]),
            ):
                both = unit * np.array(values)
                most = np.nanquantile(both[:, 1], 0.9)
                table.add_row(what, *(f"{each:.1f}" for each in (*np.nanmedian(both, axis=0), most)))
            table.add_row("held back, px", f"{np.median(before_px):.2f}", f"{np.median(after_px):.2f}", "")
            OUT.print(table)
            OUT.print(f"{counted(len(placed), 'camera')}, {counted(refused, 'shop')} refused", markup=False)


def _store(layout: Path | None, site: Path | None) -> StoreLayout:
    """The store by a site's files, a layout over them, or both."""
    layers = [] if site is None else [read_site(site)]
    if layout is not None:
        layers.append(read_layout(layout))
    return reduce(StoreLayout.overlaid, layers)


def _opened(paths: Sequence[str], layout: Path, site: Path | None) -> tuple[Source, StoreLayout]:
    """Open a recording or live cameras, and the store for pictures of their size."""
    store = _store(layout, site)
    live = [path for path in paths if "://" in path or path.startswith("/dev/video")]
    if live and len(live) != len(paths):
        raise UsageError("live cameras and recorded files cannot be looked at together")
    source: Source
    if live:
        source = stream = StreamSource([CameraAddress.parse(path) for path in paths])
        stream.open(LIVE_WAIT_S)
    else:
        source = open_recording([Path(path) for path in paths])
    return source, store.for_pictures(source.resolutions_wh)


def _instants(source: Source, every_s: float) -> Iterator[tuple[float, list[Frame]]]:
    """Frames of all cameras together, every so often: seconds since the start, and each camera's latest frame."""
    latest: dict[str, Frame] = {}
    first_ns: int | None = None
    due_ns = 0
    for tick in source:
        latest |= {frame.camera_id: frame for frame in tick.frames}
        if not tick.frames:
            continue
        now_ns = max(frame.timestamp_ns for frame in tick.frames)
        if first_ns is None:
            first_ns = due_ns = now_ns
        if now_ns >= due_ns:
            due_ns = now_ns + round(every_s * NANOSECONDS)
            # A camera that is silent has nothing to say about this instant; one frame of 10 a second may be late.
            fresh = [frame for frame in latest.values() if now_ns - frame.timestamp_ns < 0.06 * NANOSECONDS]
            yield (now_ns - first_ns) / NANOSECONDS, fresh


def _looked(source: Source, names: Sequence[str]) -> dict[str, list[ImageArray]]:
    """Some pictures of each camera, spread over a minute or over all there is of it."""
    over_s = min(source.duration_s, LOOK_S) if source.duration_s == source.duration_s else LOOK_S
    images: dict[str, list[ImageArray]] = {name: [] for name in names}
    for time_s, frames in itertools.takewhile(lambda item: item[0] <= over_s, _instants(source, over_s / PICTURES)):
        del time_s
        for frame in frames:
            if frame.camera_id in images:
                images[frame.camera_id].append(frame.image)
    return images


def _picture(file: Path) -> ImageArray:
    # Not cv2.imread: it complains on standard error by itself.
    pixels = np.frombuffer(file.read_bytes(), np.uint8)
    picture = cv2.imdecode(pixels, cv2.IMREAD_COLOR) if len(pixels) else None
    if picture is None:
        raise UsageError(f"{file}: expected a picture, it cannot be read")
    return np.asarray(picture, np.uint8)


def _write_picture(folder: Path, name: str, image: ImageArray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.png"
    if not cv2.imwrite(str(file), image):
        raise OSError(f"{file}: cannot be written")
    OUT.print(f"Picture: {file}", markup=False)


def _print_refinement(refinement: Refinement) -> None:
    table = Table("camera", "sightings", "shift cm", "turn degrees")
    for change in refinement.changes:
        shift = 100 * float(np.linalg.norm(change.shift_m))
        row = change.before.camera_id, str(change.bodies)
        if not change.is_placed:
            table.add_row(*row, "as it was", "as it was")
            continue
        table.add_row(
            *row,
            f"{shift:.1f} ± {100 * change.shift_sd_m:.1f}",
            f"{np.rad2deg(change.turn_rad):.2f} ± {np.rad2deg(change.turn_sd_rad):.2f}",
        )
    OUT.print(table)
    OUT.print(
        f"{refinement.points} key-points; on the half held back the cameras miss by {refinement.before_px:.2f} px "
        f"before, {refinement.after_px:.2f} px after",
        markup=False,
    )


def _size(text: str) -> tuple[int, int]:
    width, x, height = text.lower().partition("x")
    if not (x and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UsageError(f"--size: expected WIDTHxHEIGHT such as 640x360, got {text}")
    return int(width), int(height)


def _names(found: Sequence[Calibration]) -> str:
    return ", ".join(calibration.camera.camera_id for calibration in found)


def _print_calibration(calibration: Calibration) -> None:
    table = Table("pair", "error px", "floor error cm", "")
    for name, error, floor, out in zip(
        calibration.pairs.names, calibration.errors_px, calibration.floor_errors_m, calibration.is_outlier, strict=True
    ):
        table.add_row(name, f"{error:.1f}", "" if floor != floor else f"{floor * 100:.1f}", "left out" if out else "")
    camera = calibration.camera
    x, y, z = camera.position_m.tolist()
    OUT.print(
        f"{camera.camera_id}: reprojection error {calibration.rms_px:.2f} px; "
        f"hangs at x {x:.2f}, y {y:.2f}, z {z:.2f} m (± {calibration.position_sd_m * 100:.0f} cm); "
        f"focal length {camera.intrinsics[0, 0]:.0f} px (± {calibration.focal_sd_px:.0f})",
        markup=False,
    )
    OUT.print(table)
