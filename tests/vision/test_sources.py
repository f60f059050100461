import http.server
import itertools
import math
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from hypothesis import given
from hypothesis import strategies as st

from vision.arrays import ImageArray
from vision.frames import Frame, Source, Tick
from vision.sources import (
    NANO,
    CameraAddress,
    NoticeLog,
    StreamSettings,
    StreamSource,
    Timeline,
    VideoFilesSource,
    check_resolution,
    open_stream,
    video_files,
)

QUICK = StreamSettings(
    tick_s=0.01, open_timeout_s=0.2, stall_s=0.2, first_delay_s=0.01, max_delay_s=0.05, max_hung_threads=2
)
FOREVER_S = 20.0  # a wait that only ends here if the code is broken


def write_clip(
    path: Path,
    times_s: list[float] | None = None,
    size_wh: tuple[int, int] = (64, 48),
    codec: str = "mpeg4",
    faststart: bool = False,
) -> Path:
    """A clip whose pictures get brighter, 10 frames a second unless their times are given."""
    times_s = [i / 10 for i in range(20)] if times_s is None else times_s
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.time_base = Fraction(1, 1000)
        for i, time_s in enumerate(times_s):
            shade = np.full((size_wh[1], size_wh[0], 3), 20 + 8 * (i % 25), np.uint8)
            shade[: size_wh[1] // 2, : size_wh[0] // 2] = 255  # the upper left corner is white
            frame = VideoFrame.from_ndarray(shade, format="bgr24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def codes(source: Source) -> set[str]:
    return {notice.code for notice in source.notices}


def seconds(ticks: list[Tick]) -> list[float]:
    return [round(tick.timestamp_ns / NANO, 3) for tick in ticks]


def test_a_file_gives_its_frames_with_their_times(tmp_path: Path) -> None:
    source = VideoFilesSource([write_clip(tmp_path / "door.mp4")], start_ns=5 * NANO)
    assert source.camera_ids == ("door",)
    assert source.resolutions_wh == {"door": (64, 48)}
    assert source.start_ns == 5 * NANO
    assert source.duration_s == pytest.approx(2.0, abs=0.11)
    ticks = list(source)
    assert seconds(ticks) == [5 + i / 10 for i in range(20)]
    assert [tick.frames[0].frame_idx for tick in ticks] == list(range(20))
    assert source.notices == ()
    assert list(source) == []


def test_cameras_on_one_clock_share_ticks_and_a_late_one_is_missing_at_first(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.mp4", [i / 10 for i in range(10)])
    jittered = [0.5 + i / 10 + (0.02 if i % 2 else -0.02) for i in range(10)]
    second = write_clip(tmp_path / "b.mkv", jittered)
    ticks = list(VideoFilesSource([first, second]))
    cameras = [tuple(frame.camera_id for frame in tick.frames) for tick in ticks]
    assert cameras == [("a",)] * 5 + [("a", "b")] * 5 + [("b",)] * 5
    assert all(a.timestamp_ns <= b.timestamp_ns for a, b in itertools.pairwise(ticks))
    assert sum(len(tick.frames) for tick in ticks) == 20


def test_every_frame_is_given_once_whatever_the_rates(tmp_path: Path) -> None:
    slow = write_clip(tmp_path / "slow.mp4", [i / 4 for i in range(8)])
    fast = write_clip(tmp_path / "fast.mp4", [i / 30 for i in range(60)])
    frames = [frame for tick in VideoFilesSource([slow, fast]) for frame in tick.frames]
    assert [f.frame_idx for f in frames if f.camera_id == "slow"] == list(range(8))
    assert [f.frame_idx for f in frames if f.camera_id == "fast"] == list(range(60))


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    times_s = [0, 0.1, 0.15, 0.5, 2.5, 2.6]
    source = VideoFilesSource([write_clip(tmp_path / "v.mp4", times_s)])
    assert seconds(list(source)) == times_s
    assert source.notices == ()


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "mov"])
@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "mjpeg"])
def test_whole_files_give_no_notices(tmp_path: Path, suffix: str, codec: str) -> None:
    source = VideoFilesSource([write_clip(tmp_path / f"whole.{suffix}", codec=codec)])
    assert len(list(source)) == 20
    assert source.notices == ()


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    paths = [write_clip(tmp_path / "cam1.mp4"), write_clip(tmp_path / "x" / "cam1.mp4")]
    with pytest.raises(ValueError, match="both cam1"):
        VideoFilesSource(paths)


def test_no_files_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        VideoFilesSource([])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp4", b""),
        ("text.mp4", b"this is no video\n" * 100),
        ("noise.mp4", random.Random(1).randbytes(5000)),
        ("list.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n"),
        ("picture.mp4", b"\x89PNG\r\n\x1a\n" + b"\0" * 100),
    ],
)
def test_what_is_no_video_is_refused_in_one_line_that_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=name) as caught:
        VideoFilesSource([path])
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.mp4"):
        VideoFilesSource([tmp_path / "none.mp4"])
    with pytest.raises(ValueError, match="not a regular file"):
        VideoFilesSource([tmp_path])


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without a video stream"):
        VideoFilesSource([write_sound(tmp_path / "sound.mp4")])


def test_a_bad_file_among_good_ones_is_named(tmp_path: Path) -> None:
    good, bad = write_clip(tmp_path / "good.mp4"), tmp_path / "bad.mp4"
    bad.write_bytes(b"")
    with pytest.raises(ValueError, match=r"bad\.mp4"):
        VideoFilesSource([good, bad])


@pytest.mark.parametrize("size_wh", [(8193, 2), (8192, 8192), (0, 10)])
def test_absurd_picture_sizes_are_refused(size_wh: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cam1"):
        check_resolution("cam1", size_wh)


def test_an_absurdly_large_video_is_refused_before_decoding(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "wide.mkv", [0.0], size_wh=(8208, 16), codec="mjpeg")
    with pytest.raises(ValueError, match="8208x16"):
        VideoFilesSource([path])


def test_a_video_cut_off_in_the_middle_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", [i / 10 for i in range(100)], size_wh=(320, 240), faststart=True)
    content = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: len(content) * 2 // 3])
    source = VideoFilesSource([cut])
    ticks = list(source)
    assert 10 < len(ticks) < 90
    assert "truncated-video" in codes(source)


def test_a_video_cut_off_before_its_index_is_refused(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4")
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"whole\.mp4"):
        VideoFilesSource([whole])


def test_other_cameras_go_on_when_one_file_ends_early(tmp_path: Path) -> None:
    source = VideoFilesSource(
        [write_clip(tmp_path / "a.mp4", [i / 10 for i in range(5)]), write_clip(tmp_path / "b.mp4")]
    )
    ticks = list(source)
    assert len(ticks) == 20
    assert {frame.camera_id for frame in ticks[-1].frames} == {"b"}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("seed", range(8))
def test_damaged_files_never_do_worse_than_an_error_in_one_line(tmp_path: Path, suffix: str, seed: int) -> None:
    rng = random.Random(seed)
    codec = rng.choice(["mpeg4", "libx264", "mjpeg"])
    content = bytearray(write_clip(tmp_path / f"x.{suffix}", codec=codec, faststart=suffix == "mp4").read_bytes())
    complaints: list[tuple[str, str]] = []
    for attempt in range(12):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 5, 50])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if rng.random() < 0.5:
            del damaged[rng.randrange(len(damaged)) :]
        path = tmp_path / f"damaged{attempt}.{suffix}"
        path.write_bytes(damaged)
        try:
            source = VideoFilesSource([path])
            ticks = list(source)
        except (OSError, ValueError) as error:
            complaints.append((path.name, str(error)))
        else:
            assert 0 < len(ticks) <= 200
            assert all(a.timestamp_ns < b.timestamp_ns for a, b in itertools.pairwise(ticks))
            assert not source.duration_s < 0
    assert all(name in complaint and "\n" not in complaint for name, complaint in complaints)


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "phone.mp4")
    content = bytearray(path.read_bytes())
    matrix_at = content.index(b"tkhd") + 4 + 40
    one = 1 << 16
    content[matrix_at : matrix_at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)  # a quarter turn
    path.write_bytes(content)
    source = VideoFilesSource([path])
    assert source.resolutions_wh == {"phone": (48, 64)}
    image = next(iter(source)).frames[0].image
    assert image.shape == (64, 48, 3)
    # The white corner was in the upper left; turned clockwise it is in the upper right.
    assert image[10, 40].mean() > 200
    assert image[10, 8].mean() < 100


def test_files_whose_clocks_have_nothing_in_common_start_together(tmp_path: Path) -> None:
    near = write_clip(tmp_path / "near.ts", [i / 10 for i in range(5)], codec="libx264")
    far = write_clip(tmp_path / "far.ts", [5000 + i / 10 for i in range(5)], codec="libx264")
    source = VideoFilesSource([near, far])
    ticks = list(source)
    assert "unsynchronised-video" in codes(source)
    assert ticks[0].timestamp_ns == 0
    assert len(ticks[0].frames) == 2
    assert ticks[-1].timestamp_ns < NANO


def test_leaping_time_stamps_are_mended_with_a_notice(tmp_path: Path) -> None:
    times_s = [0, 0.1, 0.2, 4000.0, 4000.1, 4000.2]
    source = VideoFilesSource([write_clip(tmp_path / "leap.mkv", times_s)])
    assert seconds(list(source))[:3] == [0, 0.1, 0.2]
    ticks_end_s = max(tick.timestamp_ns for tick in VideoFilesSource([tmp_path / "leap.mkv"])) / NANO
    assert ticks_end_s < 10
    assert "retimed-video" in codes(source)


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63)), max_size=50))
def test_a_timeline_rises_whatever_the_stamps(stamps: list[int | None]) -> None:
    timeline = Timeline(NANO // 10)
    placed = [timeline.place(stamp)[0] for stamp in stamps]
    assert all(0 < b - a <= 60 * NANO for a, b in itertools.pairwise(placed))


@given(st.lists(st.integers(1, 59 * NANO), max_size=30))
def test_a_timeline_leaves_sane_stamps_alone(steps: list[int]) -> None:
    timeline = Timeline(NANO // 10)
    stamps = [0, *itertools.accumulate(steps)]
    assert [timeline.place(stamp) for stamp in stamps] == [(stamp, "") for stamp in stamps]


def test_notices_are_counted_and_stay_few() -> None:
    log = NoticeLog()
    for _ in range(1000):
        log.add("cam1", "late", "it was late")
    log.add("cam2", "late", "it was late")
    assert [(n.stream, n.message) for n in log.notices] == [
        ("cam1", "it was late (1000 times)"),
        ("cam2", "it was late"),
    ]


def test_video_files_of_a_folder_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("cam10.mp4", "cam2.MP4", "notes.txt", "a.avi"):
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert [path.name for path in video_files(tmp_path)] == ["a.avi", "cam2.MP4", "cam10.mp4"]


def test_the_shared_clips_are_read_as_announced(shared: Path) -> None:
    folder = shared / "nanostore" / "cps-test-01"
    source = VideoFilesSource(video_files(folder))
    assert source.camera_ids == ("cam1", "cam3", "cam5", "cam7")
    first = list(itertools.islice(source, 30))
    assert all(len(tick.frames) == 4 for tick in first)
    assert source.duration_s == pytest.approx(33.9, abs=0.2)
    source.close()


# Live cameras


class FakeCamera:
    """A camera that gives a number of pictures, then ends, breaks or hangs."""

    def __init__(self, pictures: int, then: str, hung: threading.Event) -> None:
        self._pictures, self._then, self._hung = pictures, then, hung

    def __iter__(self) -> Iterator[ImageArray]:
        for i in range(self._pictures):
            yield np.zeros((8 if i > 1 and self._then == "grow" else 4, 6, 3), np.uint8)
            time.sleep(0.001)
        if self._then == "break":
            raise OSError("connection reset")
        if self._then == "hang":
            self._hung.wait(FOREVER_S)

    def close(self) -> None:
        pass


class FakeStreet:
    """Opens fake cameras, one after the other, and counts how often it was asked."""

    def __init__(self, *turns: tuple[int, str]) -> None:
        self.turns = itertools.chain(turns, itertools.repeat(turns[-1]))
        self.opened = 0
        self.hung = threading.Event()

    def __call__(self, address: CameraAddress, settings: StreamSettings) -> FakeCamera:
        self.opened += 1
        pictures, then = next(self.turns)
        if then == "refuse":
            raise OSError("connection refused")
        return FakeCamera(pictures, then, self.hung)


DOOR = CameraAddress("door", "rtsp://127.0.0.1/door")


def ticks_until(source: StreamSource, enough: Callable[[list[Tick]], bool]) -> list[Tick]:
    ticks: list[Tick] = []
    deadline = time.monotonic() + FOREVER_S
    for tick in source:
        ticks.append(tick)
        if enough(ticks):
            return ticks
        assert time.monotonic() < deadline, f"never came to it: {source.notices}"
    raise AssertionError("the source ended by itself")


def frames_of(ticks: list[Tick]) -> list[Frame]:
    return [frame for tick in ticks for frame in tick.frames]


@pytest.mark.parametrize("then", ["end", "break", "hang"])
def test_a_camera_that_ends_breaks_or_hangs_is_connected_anew(then: str) -> None:
    street = FakeStreet((3, then))
    with StreamSource([DOOR], QUICK, street) as source:
        ticks_until(source, lambda ticks: street.opened >= 3 and len(frames_of(ticks)) >= 3)
        expected = "camera-stalled" if then == "hang" else "camera-lost"
        assert expected in codes(source)
        assert source.resolutions_wh == {"door": (6, 4)}
        street.hung.set()


def test_a_camera_that_never_answers_costs_nobody_else_a_frame() -> None:
    good, bad = FakeStreet((10**9, "end")), FakeStreet((0, "refuse"))

    def opener(address: CameraAddress, settings: StreamSettings) -> FakeCamera:
        return (good if address.camera_id == "door" else bad)(address, settings)

    patient = replace(QUICK, stall_s=FOREVER_S)
    with StreamSource([DOOR, CameraAddress("till", "rtsp://127.0.0.1/till")], patient, opener) as source:
        ticks = ticks_until(source, lambda ticks: len(ticks) > 20 and bad.opened > 2)
        assert {frame.camera_id for frame in frames_of(ticks)} == {"door"}
        assert [notice.stream for notice in source.notices] == ["till"]


def test_a_camera_that_hangs_is_missing_from_the_ticks() -> None:
    street = FakeStreet((3, "hang"))
    with StreamSource([DOOR], replace(QUICK, stall_s=FOREVER_S), street) as source:
        ticks = ticks_until(source, lambda ticks: bool(frames_of(ticks)) and not ticks[-1].frames)
        assert ticks[-1].timestamp_ns > ticks[0].timestamp_ns
        street.hung.set()


def test_only_the_newest_picture_is_kept() -> None:
    with StreamSource([DOOR], QUICK, FakeStreet((1000, "hang"))) as source:
        source.open(wait_s=FOREVER_S)
        time.sleep(0.05)
        frames = frames_of(ticks_until(source, lambda ticks: bool(frames_of(ticks))))
        assert len(frames) == 1
        assert frames[0].frame_idx > 0


def test_hanging_decoders_are_not_started_without_end() -> None:
    street = FakeStreet((1, "hang"))
    with StreamSource([DOOR], QUICK, street) as source:
        ticks_until(source, lambda ticks: "camera-hung" in codes(source))
        assert street.opened <= QUICK.max_hung_threads + 1
        street.hung.set()


def test_ticks_never_run_backwards_when_the_clock_is_set_back() -> None:
    clock = itertools.chain([100, 90, 80, 120], itertools.count(130))
    with StreamSource([DOOR], QUICK, FakeStreet((0, "refuse")), clock_ns=lambda: next(clock)) as source:
        ticks = ticks_until(source, lambda ticks: len(ticks) == 4)
        assert [tick.timestamp_ns for tick in ticks][:3] == [100, 100, 120]


def test_frames_rise_and_keep_their_size_whatever_clock_and_camera_do() -> None:
    clock = itertools.chain([100, 200, 90, 80], itertools.repeat(70))
    street = FakeStreet((1000, "grow"))
    with StreamSource([DOOR], QUICK, street, clock_ns=lambda: next(clock)) as source:
        frames = frames_of(ticks_until(source, lambda ticks: len(frames_of(ticks)) == 5))
        assert {frame.image.shape for frame in frames} == {(4, 6, 3)}
        times_ns = [frame.timestamp_ns for frame in frames]
        assert times_ns == sorted(set(times_ns))
        assert [notice.code for notice in source.notices] == ["resolution-changed"]


def test_a_closed_source_ends() -> None:
    source = StreamSource([DOOR], QUICK, FakeStreet((5, "hang")))
    ticks = iter(source)
    next(ticks)
    source.close()
    assert list(ticks) == []
    assert math.isnan(source.duration_s)


@pytest.mark.parametrize("text", ["file:///etc/passwd", "/etc/passwd", "ftp://x/y", "concat:a|b", "=", "", "/dev/sda"])
def test_addresses_of_other_kinds_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        CameraAddress.parse(text)


def test_passwords_are_not_shown() -> None:
    assert "secret" not in CameraAddress.parse("rtsp://me:secret@10.0.0.1/x").shown


def test_settings_and_cameras_are_checked() -> None:
    with pytest.raises(ValueError, match="stall_s"):
        StreamSettings(stall_s=0)
    with pytest.raises(ValueError, match="first_delay_s"):
        StreamSettings(first_delay_s=50)
    with pytest.raises(ValueError, match="listed twice"):
        StreamSource([DOOR, DOOR])
    with pytest.raises(ValueError, match="at least one"):
        StreamSource([])


def test_a_port_where_nobody_listens_is_an_error_not_a_hang() -> None:
    with pytest.raises(OSError, match="cannot be opened"):
        open_stream(CameraAddress("x", "http://127.0.0.1:9/x"), QUICK)


class MotionJpeg(http.server.BaseHTTPRequestHandler):
    """Serves one picture again and again until the server is told to stop."""

    picture = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    stop = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            while not self.stop.wait(0.01):
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(self.picture)}\r\n\r\n"
                self.wfile.write(head.encode() + self.picture + b"\r\n")
        except OSError:
            pass

    def log_message(self, *args: object) -> None:
        pass


def test_a_real_server_that_dies_and_comes_back_is_found_again() -> None:
    def serve(port: int) -> http.server.ThreadingHTTPServer:
        MotionJpeg.stop.clear()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), MotionJpeg)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def kill(server: http.server.ThreadingHTTPServer) -> None:
        MotionJpeg.stop.set()
        server.shutdown()
        server.server_close()

    settings = StreamSettings(tick_s=0.02, open_timeout_s=5.0, stall_s=2.0, first_delay_s=0.05, max_delay_s=0.2)
    server = serve(0)
    port = server.server_address[1]
    with StreamSource([CameraAddress.parse(f"door=http://127.0.0.1:{port}/live.mjpg")], settings) as source:
        frames = frames_of(ticks_until(source, lambda ticks: len(frames_of(ticks)) >= 3))
        assert frames[-1].image.shape == (48, 64, 3)
        kill(server)
        ticks_until(source, lambda ticks: bool(codes(source) & {"camera-lost", "camera-stalled"}))
        server = serve(port)
        ticks_until(source, lambda ticks: len(frames_of(ticks)) >= 3)
    kill(server)
