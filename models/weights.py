"""Model files by name: which there are, bringing them here, and making sure they are what they should be.

Names, addresses and checksums stand in ``manifest.json``. Files lie in one folder (``TILLFREE_MODELS``, else the user's
cache); a file there is used only if its SHA-256 is the manifest's, each time anew.
"""

import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_log = logging.getLogger(__name__)

MANIFEST = Path(__file__).with_name("manifest.json")
FOLDER_VARIABLE = "TILLFREE_MODELS"
CHUNK_BYTES = 1 << 18
TIMEOUT_S = 30.0  # of silence, not for the whole file
MAX_TRIES = 5  # connections in a row; each goes on where the last one broke
MAX_SIZE_BYTES = 1 << 30  # a manifest that says more is a mistake

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes there will be."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that the manifest knows.

    Attributes:
        name: What to call it.
        about: What it sees, for people.
        url: Where it is published, or None where nobody publishes it.
        sha256: Checksum of the file, 64 hexadecimal digits.
        size_bytes: Length of the file.
        licence: SPDX name of the licence of the weights.
        input: Shape, colours and range of the input, for people.
        head: Kind of output, a name of ``vision.detector.Head``.
        made_by: How the file was made.
    """

    name: str
    about: str
    url: str | None
    sha256: str
    size_bytes: int
    licence: str
    input: str
    head: str
    made_by: str

    @property
    def file_name(self) -> str:
        """What the file is called in the models folder."""
        return f"{self.name}.onnx"


class ModelState(Enum):
    """How a model's file stands in the models folder."""

    GOOD = "good"
    MISSING = "missing"
    DAMAGED = "damaged"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Row(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    about: str
    url: str | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(gt=0, le=MAX_SIZE_BYTES)]
    licence: Annotated[str, Field(min_length=1)]
    input: str
    head: Literal["yolo", "yolo-pose", "end-to-end", "end-to-end-pose", "yolox"]
    made_by: str


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
            row.sha256,
            row.size_bytes,
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


def model_state(entry: ModelEntry, folder: Path | None = None) -> ModelState:
    """Say how a model's file stands.

    Args:
        entry: The model.
        folder: Where to look; None for ``models_folder()``.

    Raises:
        OSError: The file is there but cannot be read.
    """
    path = (folder or models_folder()) / entry.file_name
    if not path.is_file():
        return ModelState.MISSING
    if path.stat().st_size != entry.size_bytes or _sha256(path) != entry.sha256:
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
    return [(entry, model_state(entry, folder)) for entry in entries]


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
    if path.suffix == ".onnx" or len(path.parts) != 1:
        raise FileNotFoundError(f"{text}: there is no such model file")
    entry = _entry(text, manifest)
    state = model_state(entry, folder)
    wanted = (folder or models_folder()) / entry.file_name
    if state is ModelState.MISSING:
        how = f"run: tillfree models pull {entry.name}" if entry.url else f"it has no public address: {entry.made_by}"
        raise FileNotFoundError(f"{entry.name}: expected its file at {wanted}, which is not there; {how}")
    if state is ModelState.DAMAGED:
        raise ValueError(
            f"{wanted}: expected SHA-256 {entry.sha256} and {entry.size_bytes} bytes, got another file; "
            "delete it and pull it again"
        )
    return wanted


def pull(name: str, into: Path | None = None, progress: Progress | None = None, *, manifest: Path = MANIFEST) -> Path:
    """Bring a model's file here.

    A broken download is kept beside as ``….part`` and gone on with, now and by a later call. The file takes its name
    only when its length and SHA-256 are the manifest's.

    Args:
        name: A name of the manifest.
        into: The folder for it; None for ``models_folder()``.
        progress: Told how far it is.
        manifest: The list of names.

    Returns:
        The file. One that is already there and good is left alone.

    Raises:
        ValueError: There is no such name, it has no public address, or what came is not what the manifest says.
        OSError: The server or the disk failed; what has come so far is kept.
    """
    entry = _entry(name, manifest)
    folder = into or models_folder()
    target = folder / entry.file_name
    if model_state(entry, folder) is ModelState.GOOD:
        return target
    if entry.url is None:
        raise ValueError(f"{name}: it has no public address to pull from: {entry.made_by}")
    _check_address(entry.url)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{entry.file_name}.part"
    if part.exists() and part.stat().st_size > entry.size_bytes:
        part.unlink()
    _download(entry, part, progress)
    digest = _sha256(part)
    if digest != entry.sha256:
        part.unlink()
        raise ValueError(f"{entry.url}: expected SHA-256 {entry.sha256}, got {digest}; nothing was kept")
    os.replace(part, target)
    _log.info("pulled %s, %d bytes", entry.name, entry.size_bytes)
    return target


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
    """Fill the part file up to the entry's length, going on after breaks for as long as each try brings something."""
    assert entry.url is not None
    tell = progress or (lambda done, total: None)
    have = part.stat().st_size if part.exists() else 0
    tell(have, entry.size_bytes)
    reason = "the server sent nothing"
    farthest, tries = have, 0
    while have < entry.size_bytes and tries < MAX_TRIES:
        tries += 1
        try:
            _fetch_from(entry, part, have, tell)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
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
    if have < entry.size_bytes:
        raise OSError(
            f"{entry.url}: expected {entry.size_bytes} bytes, got {have}: {reason}; the next pull goes on from there"
        )


def _fetch_from(entry: ModelEntry, part: Path, have: int, tell: Progress) -> None:
    """Ask for what is missing once, and append what comes."""
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
        with part.open("ab" if goes_on else "wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                have += len(chunk)
                if have > entry.size_bytes:
                    file.close()
                    part.unlink()
                    raise ValueError(f"{entry.url}: expected {entry.size_bytes} bytes, got more; nothing was kept")
                file.write(chunk)
                tell(have, entry.size_bytes)
            file.flush()
            os.fsync(file.fileno())
