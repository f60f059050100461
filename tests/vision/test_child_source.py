"""Video is decoded in a limited child: what it does to itself costs pictures, and never this process."""

import contextlib
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
import pytest

from vision import child_source
from vision.child_source import MEBIBYTE, ChildLimits, ChildReader, open_child_stream
from vision.sources import CameraAddress, NoticeLog, StreamSettings, VideoFilesSource, VideoReader


def a_video(path: Path, pictures: int = 12, width: int = 64, height: int = 48) -> Path:
    """Write a short video whose pictures get brighter."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(pictures):
            image = np.full((height, width, 3), 20 * number % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_video(tmp_path_factory.mktemp("video") / "clip.mp4")


def children() -> set[int]:
    """Processes that this one has started and not yet buried."""
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # other tests' threads end as we look
            found |= {int(pid) for pid in (thread / "children").read_text("ascii").split()}
    return found


def test_a_child_gives_the_very_pictures_that_a_reader_gives(video: Path) -> None:
    log = NoticeLog()
    reader = ChildReader(video, log)
    seen = list(reader)
    expected = list(VideoReader(video, NoticeLog()))
    assert [picture.pts_ns for picture in seen] == [picture.pts_ns for picture in expected]
    assert all(np.array_equal(one.image, other.image) for one, other in zip(seen, expected, strict=True))
    assert (reader.resolution_wh, reader.period_ns) == ((64, 48), 100_000_000)
    assert reader.duration_s == pytest.approx(1.2)
    assert log.notices == ()


def test_files_are_read_through_children_and_these_end(video: Path) -> None:
    before = children()
    source = VideoFilesSource([video], opener=ChildReader)
    assert children() - before
    assert sum(len(tick.frames) for tick in source) == 12
    assert not children() - before


def test_a_reader_that_is_closed_early_leaves_nobody_behind(video: Path) -> None:
    before = children()
    reader = ChildReader(video, NoticeLog())
    next(iter(reader))
    reader.close()
    assert not children() - before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_dies_costs_pictures_and_gives_a_notice(tmp_path: Path, number: int) -> None:
    log = NoticeLog()
    reader = ChildReader(a_video(tmp_path / "long.mp4", 120, 320, 240), log)
    pictures = iter(reader)
    next(pictures)
    reader._child._process.send_signal(number)
    rest = list(pictures)
    assert len(rest) < 119
    assert [(notice.stream, notice.code) for notice in log.notices] == [("long.mp4", "decoder-died")]
    assert f"signal {int(number)}" in log.notices[0].message


def test_a_child_that_hangs_is_ended_and_gives_a_notice(tmp_path: Path) -> None:
    log = NoticeLog()
    reader = ChildReader(a_video(tmp_path / "long.mp4", 200, 640, 480), log, ChildLimits(stall_s=0.3))
    before_s = time.monotonic()
    pictures = iter(reader)
    next(pictures)
    reader._child._process.send_signal(signal.SIGSTOP)
    assert len(list(pictures)) < 199
    assert time.monotonic() - before_s < 60
    assert [notice.code for notice in log.notices] == ["decoder-hung"]
    assert reader._child._process.returncode == -signal.SIGKILL


def test_a_bomb_does_not_get_the_memory_that_it_wants(tmp_path: Path) -> None:
    bomb = a_video(tmp_path / "bomb.mp4", 3, 2048, 2048)
    assert bomb.stat().st_size < 200_000
    log = NoticeLog()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="expected a video"):
        VideoFilesSource([bomb], opener=lambda path, notices: ChildReader(path, log, ChildLimits(6 * MEBIBYTE)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 64 * 1024
    # With enough of it, it is an ordinary video.
    assert len(list(ChildReader(bomb, NoticeLog()))) == 3


def test_a_child_knows_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLFREE_STRIPE_SECRET_KEY", "sk_test_1")
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    kept = child_source._environment()
    assert not {"TILLFREE_STRIPE_SECRET_KEY", "DATABASE_PASSWORD"} & kept.keys()
    assert "secret" not in " ".join(kept.values())


def in_child(work: str) -> subprocess.CompletedProcess[bytes]:
    """Do something in a process that has the limits of a decoder."""
    code = f"from vision.child_source import ChildLimits, _limit\n_limit(ChildLimits(64 << 20, cpu_s=1))\n{work}"
    return subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, env=child_source._environment()
    )


@pytest.mark.parametrize(
    ("work", "statuses"),
    [
        ("pass", {0}),
        ("bytearray(1 << 30)", {1}),
        # Python turns a write beyond the limit into an error, where it is told to ignore the signal.
        ("import os, tempfile; os.write(tempfile.mkstemp()[0], b'x')", {1, -signal.SIGXFSZ}),
        ("kept = [open('/dev/null') for _ in range(100)]", {1}),
        ("while True: pass", {-signal.SIGXCPU, -signal.SIGKILL}),
    ],
)
def test_a_decoder_is_held_to_its_limits(work: str, statuses: set[int]) -> None:
    assert in_child(work).returncode in statuses


def hostile_files(video: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of files that are no good videos."""
    good = video.read_bytes()
    yield "empty", b""
    yield "one-byte", b"\x00"
    yield "zeros", bytes(10_000)
    yield "noise", np.random.default_rng(1).bytes(20_000)
    yield "text", b"not a video\n" * 100
    yield "playlist", b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:1/x.ts\n#EXTINF:10,\nfile:///etc/passwd\n"
    yield "concat", b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield "sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    yield "dash", b'<?xml version="1.0"?><MPD><BaseURL>http://127.0.0.1:1/</BaseURL></MPD>'
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "zip", b"PK\x03\x04" + bytes(1000)
    yield "gzip", b"\x1f\x8b\x08" + bytes(1000)
    yield "huge-box", struct.pack(">I4sQ", 1, b"moov", 2**62) + bytes(100)
    yield "endless-boxes", struct.pack(">I4s", 0, b"free") * 5000
    yield "deep-boxes", b"".join(struct.pack(">I4s", 8 * (2000 - n), b"moov") for n in range(2000))
    yield "matroska-header", b"\x1aE\xdf\xa3\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(500)
    yield "avi-header", b"RIFF\xff\xff\xff\xffAVI LIST\xff\xff\xff\xffhdrlavih" + b"\xff" * 500
    yield "flv-header", b"FLV\x01\x05\x00\x00\x00\x09" + b"\xff" * 500
    yield "mpegts", (b"G" + b"\xff" * 187) * 50
    yield "jpeg-header", b"\xff\xd8\xff\xe0" + b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff" + bytes(500)
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        yield f"cut-{share}", good[: int(share * len(good))]
    rng = np.random.default_rng(2)
    for count in (1, 10, 100, 1000):
        spoiled = bytearray(good)
        for place in rng.integers(0, len(good), count).tolist():
            spoiled[place] ^= 0xFF
        yield f"flipped-{count}", bytes(spoiled)
    yield "doubled-header", good[:200] + good
    yield "reversed", good[::-1]


@pytest.mark.slow
def test_no_file_does_anything_to_this_process(tmp_path: Path, video: Path) -> None:
    before, before_kb = children(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = ChildLimits(256 * MEBIBYTE, cpu_s=20, open_s=40, stall_s=20)
    results: dict[str, str] = {}
    named = 0
    for name, content in hostile_files(video):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(content)
        try:
            source = VideoFilesSource([path], opener=partial(ChildReader, limits=limits))
            results[name] = f"{sum(len(tick.frames) for tick in source)} pictures"
        except (ValueError, OSError) as error:
            results[name] = str(error)
            named += str(path) in str(error)
        assert "Traceback" not in results[name]
    assert len(results) == 33
    assert sum("pictures" not in result for result in results.values()) == named >= 20
    assert not children() - before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 100 * 1024


def speaking(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let children be something else than decoders: ``pipe`` is where they speak, ``HEAD`` packs a picture's head."""
    popen = subprocess.Popen
    code = (
        "import sys, json, os, time, struct\nfrom multiprocessing.connection import Connection\n"
        "pipe = Connection(int(sys.argv[1]), readable=False)\n"
        "HEAD = struct.Struct('<?qII')\n"
        "good = b'o' + json.dumps(dict(width=4, height=2, period_ns=1, duration_s=None)).encode()\n"
    )

    def other(words: list[str], **options: object) -> "subprocess.Popen[bytes]":
        return popen([words[0], "-c", code + script, words[3]], **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(subprocess, "Popen", other)


@pytest.mark.parametrize(
    "script",
    [
        "pass",
        "os._exit(3)",
        "os.kill(os.getpid(), 11)",
        "pipe.send_bytes(b'')",
        "pipe.send_bytes(b'x')",
        "pipe.send_bytes(b'o')",
        "pipe.send_bytes(b'onot json')",
        "pipe.send_bytes(b'o[]')",
        "pipe.send_bytes(b'o{}')",
        "pipe.send_bytes(b'o' + b'[' * 60000)",
        "pipe.send_bytes(good.replace(b'4', b'\"4\"'))",
        "pipe.send_bytes(good.replace(b'4', b'1e400'))",
        "pipe.send_bytes(good.replace(b'4', b'99999'))",
        "pipe.send_bytes(good.replace(b'4', b'-4'))",
        "pipe.send_bytes(b'f{\"reason\": [1]}')",
        "os.write(int(sys.argv[1]), b'\\x7f\\xff\\xff\\xff')",
        "os.write(int(sys.argv[1]), b'\\xff\\xff\\xff\\xff')",
        "os.write(int(sys.argv[1]), b'\\x00\\x00')",
    ],
)
def test_a_child_that_lies_when_it_opens_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    speaking(monkeypatch, script)
    (tmp_path / "x.mp4").write_bytes(b"x")
    with pytest.raises((ValueError, OSError)):
        ChildReader(tmp_path / "x.mp4", NoticeLog(), ChildLimits(open_s=20))


@pytest.mark.parametrize(
    "script",
    [
        "pipe.send_bytes(b'p')",
        "pipe.send_bytes(b'p' + HEAD.pack(True, 1, 4, 2))",
        "pipe.send_bytes(b'p' + HEAD.pack(True, 1, 4, 2) + bytes(25))",
        "pipe.send_bytes(b'p' + HEAD.pack(True, 1, 0, 2))",
        "pipe.send_bytes(b'p' + HEAD.pack(True, 1, 2**31, 2**31) + bytes(24))",
        "pipe.send_bytes(b'n{')",
        "[pipe.send_bytes(b'n{}') for _ in range(2000)]",
        "pipe.send_bytes(b'o{}')",
        "os.write(int(sys.argv[1]), b'\\x7f\\xff\\xff\\xff')",
    ],
)
def test_a_child_that_lies_later_costs_pictures_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    picture = "pipe.send_bytes(b'p' + HEAD.pack(True, 7, 4, 2) + bytes(24))\n"
    speaking(monkeypatch, f"pipe.send_bytes(good)\n{picture}{script}")
    (tmp_path / "x.mp4").write_bytes(b"x")
    log = NoticeLog()
    pictures = list(ChildReader(tmp_path / "x.mp4", log, ChildLimits(open_s=20, stall_s=20)))
    assert [(shown.pts_ns, shown.image.shape) for shown in pictures] == [(7, (2, 4, 3))]
    assert "decoder-died" in {notice.code for notice in log.notices}


def test_a_camera_is_read_through_a_child_and_its_end_is_an_error_of_the_stream(video: Path) -> None:
    address = CameraAddress("door", "http://127.0.0.1:1/nobody")
    with pytest.raises(OSError, match="cannot be opened"):
        open_child_stream(address, StreamSettings(open_timeout_s=2.0))


def test_the_child_says_what_it_decodes(tmp_path: Path) -> None:
    video = a_video(tmp_path / "short.mp4", 3)  # all of it fits into a pipe that nobody reads yet
    ours, theirs = os.pipe()
    near, far = Connection(ours, writable=False), Connection(theirs, readable=False)
    child_source._decode_file(video, far)
    assert near.recv_bytes()[:1] == b"o"
    sizes = [len(near.recv_bytes()) for _ in range(3)]
    assert sizes == [1 + 17 + 64 * 48 * 3] * 3
    near.close()
    far.close()


def test_a_limit_below_what_is_sensible_is_refused() -> None:
    wrong: list[Callable[[], ChildLimits]] = [lambda: ChildLimits(1), lambda: ChildLimits(stall_s=0)]
    for make in wrong:
        with pytest.raises(ValueError, match="ChildLimits"):
            make()
