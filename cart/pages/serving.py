"""Gives out the pages: our own files as they stand, the libraries they use, and what tells a browser how to load them.

Everything comes from this process, and the content security policy lets a page ask nobody else. Pages name libraries by
their bare names; an import map, written into each page as it goes out, says where they are. A file is read when it is
asked for and kept in memory, compressed, for as long as it does not change on the disk.
"""

import base64
import gzip
import hashlib
import json
import mimetypes
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

HERE = Path(__file__).parent
STATIC, LIBRARIES = HERE / "static", HERE / "node_modules"
TEMPLATE = "page.html"
"""What all pages are but for their own modules: ``{folder}``, ``{element}`` and the two marks are filled in."""
STYLES, IMPORT_MAP = "<!-- styles -->", "<!-- import map -->"

IMPORTS = {
    "lit": "/vendor/lit/index.js",
    "lit/": "/vendor/lit/",
    "lit-html": "/vendor/lit-html/lit-html.js",
    "lit-html/": "/vendor/lit-html/",
    "lit-element/lit-element.js": "/vendor/lit-element/lit-element.js",
    "@lit/reactive-element": "/vendor/@lit/reactive-element/reactive-element.js",
    "@lit/reactive-element/": "/vendor/@lit/reactive-element/",
    "konva": "/static/common/konva.js",
    "uplot": "/vendor/uplot/dist/uPlot.esm.js",
    "uqr": "/vendor/uqr/dist/index.mjs",
    "zxing-wasm/reader": "/vendor/zxing-wasm/dist/es/reader/index.js",
}
"""What pages may import by name."""

VENDORED = (
    "lit/*.js",
    "lit/directives/*.js",
    "lit-html/*.js",
    "lit-html/directives/*.js",
    "lit-element/*.js",
    "@lit/reactive-element/*.js",
    "@lit/reactive-element/decorators/*.js",
    "konva/konva.min.js",
    "uplot/dist/uPlot.esm.js",
    "uplot/dist/uPlot.min.css",
    "uqr/dist/index.mjs",
    "zxing-wasm/dist/es/*.js",
    "zxing-wasm/dist/es/reader/*.js",
    "zxing-wasm/dist/reader/zxing_reader.wasm",
)
"""Which files of the libraries are given out, by patterns relative to ``node_modules``; nothing else is."""

COMPRESSED = frozenset({".html", ".js", ".mjs", ".css", ".json", ".svg", ".wasm", ".webmanifest"})
_KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        path: Where it is.
        folder: Its modules, and its stylesheet of the same name, in the static files.
        element: The element that draws it.
        uses_camera: Whether it may ask for the device's camera.
        runs_wasm: Whether it may compile WebAssembly.
        styles: Stylesheets of libraries.
    """

    path: str
    folder: str
    element: str
    uses_camera: bool = False
    runs_wasm: bool = False
    styles: tuple[str, ...] = ()


PAGES = (
    Page("/", "shopper", "shopper-app"),
    Page("/gate", "gate", "gate-screen", uses_camera=True, runs_wasm=True),
    Page("/staff", "staff", "staff-console"),
    Page("/office", "office", "back-office", styles=("/vendor/uplot/dist/uPlot.min.css",)),
    Page("/engineer", "engineer", "engineer-view"),
)
"""The shopper's app, what a gate shows, the floor's console, the office behind it, and recordings."""


@dataclass(frozen=True, slots=True)
class _File:
    changed_ns: int
    body: bytes
    packed: bytes | None
    tag: str


Answer = Callable[[Request], Awaitable[Response]]


def page_routes() -> list[Route]:
    """The routes that give out the pages; put them behind those of the API."""
    return [
        *(Route(page.path, _page(page), methods=["GET"]) for page in PAGES),
        Route("/static/{path:path}", _static, methods=["GET"]),
        Route("/vendor/{path:path}", _vendored, methods=["GET"]),
        # A worker controls what lies below its own address; a manifest beside it keeps relative names the same.
        Route("/sw.js", _at_root("sw.js"), methods=["GET"]),
        Route("/manifest.webmanifest", _at_root("manifest.webmanifest"), methods=["GET"]),
        Route("/shell.json", _shell, methods=["GET"]),
        Route("/favicon.ico", _at_root("icons/icon.svg"), methods=["GET"]),
    ]


def policy_of(page: Page) -> str:
    """The content security policy of a page: everything from here, nothing inline but the import map."""
    scripts = f"'self' 'sha256-{_digest(import_map())}'"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {scripts}" + (" 'wasm-unsafe-eval'" if page.runs_wasm else ""),
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "media-src 'self' blob:",
            "connect-src 'self'",
            "font-src 'self'",
            "manifest-src 'self'",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def import_map() -> str:
    """The text of the import map, as it stands in every page."""
    return json.dumps({"imports": IMPORTS}, separators=(",", ":"))


def html_of(page: Page) -> str:
    """The text of a page."""
    styles = "".join(f'<link rel="stylesheet" href="{style}" />' for style in page.styles)
    text = _read(STATIC / TEMPLATE).body.decode()
    text = text.replace("{folder}", page.folder).replace("{element}", page.element)
    return text.replace(STYLES, styles).replace(IMPORT_MAP, f'<script type="importmap">{import_map()}</script>')


@lru_cache
def vendored_files() -> frozenset[str]:
    """Files of the libraries that are given out, relative to ``node_modules``.

    Raises:
        FileNotFoundError: The libraries are not there.
    """
    found = frozenset(
        path.relative_to(LIBRARIES).as_posix() for pattern in VENDORED for path in LIBRARIES.glob(pattern)
    )
    if not found:
        raise FileNotFoundError(f"{LIBRARIES}: the libraries of the pages are not there, run: make setup")
    return found


def shell_files() -> dict[str, str]:
    """What the shopper's app needs without a network: address to a digest of its content."""
    ours = [
        *(path for path in sorted((STATIC / "common").glob("*")) if path.suffix in {".js", ".css"}),
        *(path for path in sorted((STATIC / "shopper").rglob("*")) if path.suffix in {".js", ".css"}),
        *(path for part in ("common", "shopper") for path in sorted((STATIC / "locales").glob(f"*/{part}.json"))),
        *sorted((STATIC / "icons").glob("*")),
    ]
    found = {"/": _digest(html_of(PAGES[0]))}
    found |= {f"/static/{path.relative_to(STATIC).as_posix()}": _read(path).tag for path in ours}
    for name in sorted(vendored_files()):
        if name.startswith(("lit", "@lit", "uqr")):
            found[f"/vendor/{name}"] = _read(LIBRARIES / name).tag
    return found


def _page(page: Page) -> Answer:
    async def answer(request: Request) -> Response:
        _libraries()
        text = html_of(page)
        body = text.encode()
        headers = {
            "content-security-policy": policy_of(page),
            "cross-origin-opener-policy": "same-origin",
            "permissions-policy": f"camera=({'self' if page.uses_camera else ''}), microphone=(), geolocation=()",
        }
        return _answer(request, _File(0, body, gzip.compress(body, 6), _digest(text)), ".html", headers)

    return answer


async def _static(request: Request) -> Response:
    path = _inside(STATIC, request.path_params["path"])
    if path is None:
        raise HTTPException(404, "there is no such file")
    return _answer(request, _read(path), path.suffix)


async def _vendored(request: Request) -> Response:
    name = request.path_params["path"]
    if name not in _libraries():
        raise HTTPException(404, "there is no such file")
    path = LIBRARIES / name
    return _answer(request, _read(path), path.suffix)


def _libraries() -> frozenset[str]:
    try:
        return vendored_files()
    except FileNotFoundError:
        raise HTTPException(503, "the libraries of the pages are not installed, run: make setup") from None


def _at_root(name: str) -> Answer:
    async def answer(request: Request) -> Response:
        path = STATIC / name
        # A worker is held to the policy it came with, and this one has to fetch what it keeps.
        policy = {"content-security-policy": "default-src 'none'; connect-src 'self'"} if name == "sw.js" else None
        return _answer(request, _read(path), path.suffix, policy)

    return answer


async def _shell(request: Request) -> Response:
    _libraries()
    files = shell_files()
    text = json.dumps({"version": _digest(json.dumps(files)), "files": sorted(files)})
    return _answer(request, _File(0, text.encode(), None, _digest(text)), ".json")


def _answer(request: Request, file: _File, suffix: str, more: dict[str, str] | None = None) -> Response:
    headers = {
        # A browser keeps files and asks whether they are still good, so that a new version is there at once.
        "cache-control": "no-cache",
        "etag": f'"{file.tag}"',
        "vary": "accept-encoding",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        **(more or {}),
    }
    if request.headers.get("if-none-match", "").removeprefix("W/") == headers["etag"]:
        return Response(None, 304, headers)
    body = file.body
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        body = file.packed
    kind = _KINDS.get(suffix) or mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
    return Response(body, 200, headers, media_type=kind)


_files: dict[Path, _File] = {}
_lock = threading.Lock()


def _read(path: Path) -> _File:
    changed_ns = path.stat().st_mtime_ns
    with _lock:
        known = _files.get(path)
        if known is None or known.changed_ns != changed_ns:
            body = path.read_bytes()
            packed = gzip.compress(body, 6) if path.suffix in COMPRESSED else None
            known = _files[path] = _File(changed_ns, body, packed, hashlib.sha256(body).hexdigest()[:32])
        return known


def _inside(folder: Path, name: str) -> Path | None:
    """A file of a folder by its relative name; None if there is none, also for names that lead out of it."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or "\0" in name or any(part.startswith(".") for part in pure.parts):
        return None
    path = folder / pure
    return path if path.is_file() else None


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
