"""How pages and their files are given out."""

import gzip
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from cart.pages.serving import LIBRARIES, PAGES, STATIC, Page, import_map, policy_of, shell_files, vendored_files
from tests.cart.api.shops import ApiStore

by_path = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """Somebody who asks for pages."""
    with ApiStore().client() as client:
        yield client


@by_path
def test_a_page_comes_with_its_policy_and_its_import_map(client: httpx.Client, page: Page) -> None:
    answer = client.get(page.path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy == policy_of(page)
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy.replace("wasm-unsafe-eval", "")
    assert not re.search(r"https?:|\*", policy)
    assert ("wasm-unsafe-eval" in policy) == page.runs_wasm
    assert ("camera=(self)" in answer.headers["permissions-policy"]) == page.uses_camera
    before_scripts = answer.text.partition('<script type="module"')[0]
    assert f'<script type="importmap">{import_map()}</script>' in before_scripts


@by_path
def test_whatever_a_page_names_is_there(client: httpx.Client, page: Page) -> None:
    named = re.findall(r'(?:src|href)="([^"]+)"', client.get(page.path).text)
    assert named
    for address in named:
        assert address.startswith("/"), address
        assert client.get(address).status_code == 200, address


@by_path
def test_a_page_has_its_element_and_nothing_left_to_fill_in(client: httpx.Client, page: Page) -> None:
    text = client.get(page.path).text
    assert f"<{page.element}></{page.element}>" in text
    assert not re.search(r"\{\w+\}|<!--", text)
    defined = f'customElements.define("{page.element}"'
    assert defined in client.get(f"/static/{page.folder}/main.js").text


def test_without_its_libraries_a_page_says_what_to_do(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("cart.pages.serving.LIBRARIES", tmp_path)
    vendored_files.cache_clear()
    try:
        for address in ("/", "/vendor/lit/index.js", "/shell.json"):
            answer = client.get(address)
            assert answer.status_code == 503, address
            assert "make setup" in answer.json()["detail"]
    finally:
        vendored_files.cache_clear()


def test_what_may_be_imported_by_name_is_there(client: httpx.Client) -> None:
    for name, address in json.loads(import_map())["imports"].items():
        if not name.endswith("/"):
            assert client.get(address).status_code == 200, name


@pytest.mark.parametrize("path", sorted(STATIC.rglob("*.js")), ids=lambda path: str(path.relative_to(STATIC)))
def test_what_a_script_imports_is_there(client: httpx.Client, path: Path) -> None:
    imports = json.loads(import_map())["imports"]
    pattern = r"^(?:import|export)\s+(?:[\w*\s{},$]*\sfrom\s+)?[\"']([^\"']+)[\"']|\bimport\(\s*[\"']([^\"']+)[\"']"
    for match in re.finditer(pattern, path.read_text("utf-8"), re.MULTILINE):
        name = match[1] or match[2]
        if name.startswith("."):
            address = f"/static/{(path.parent / name).resolve().relative_to(STATIC.resolve())}"
        elif name.startswith("/"):
            address = name
        else:
            prefix = max(
                (each for each in imports if name == each or (each.endswith("/") and name.startswith(each))), key=len
            )
            address = imports[prefix] + name.removeprefix(prefix)
        assert client.get(address).status_code == 200, name


@pytest.mark.parametrize(
    "address",
    [
        "/static/../serving.py",
        "/static/%2e%2e/serving.py",
        "/static/..%2fserving.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/x%00",
        "/static/.hidden",
        "/static/common",
        "/static/",
        "/vendor/../package.json",
        "/vendor/lit/../../package.json",
        "/vendor/lit/package.json",
        "/vendor/axe-core/axe.min.js",
        "/vendor/typescript/lib/typescript.js",
        "/vendor/konva/lib/index.js",
    ],
)
def test_nothing_else_is_given_out(client: httpx.Client, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_files_come_compressed_and_once(client: httpx.Client) -> None:
    path = STATIC / "common" / "base.css"
    with client.stream("GET", "/static/common/base.css", headers={"accept-encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == path.read_bytes()
    assert len(raw) < len(path.read_bytes()) / 2
    plain = client.get("/static/common/base.css", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == path.read_bytes()
    assert "accept-encoding" in plain.headers["vary"].lower()
    for tag in (plain.headers["etag"], f"W/{plain.headers['etag']}"):
        again = client.get("/static/common/base.css", headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
    other = client.get("/static/common/base.css", headers={"if-none-match": '"another"'})
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("/static/common/api.js", "text/javascript; charset=utf-8"),
        ("/static/common/base.css", "text/css; charset=utf-8"),
        ("/static/locales/ar/common.json", "application/json"),
        ("/static/icons/icon.svg", "image/svg+xml"),
        ("/vendor/zxing-wasm/dist/reader/zxing_reader.wasm", "application/wasm"),
        ("/manifest.webmanifest", "application/manifest+json"),
        ("/sw.js", "text/javascript; charset=utf-8"),
    ],
)
def test_files_say_what_they_are(client: httpx.Client, address: str, kind: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_libraries_name_nothing_that_is_not_given_out() -> None:
    imports = json.loads(import_map())["imports"]
    for name in vendored_files():
        if not name.endswith((".js", ".mjs")) or name.startswith("konva/"):
            continue  # Konva is a classic script, which imports nothing
        for named in re.findall(
            r'(?:\bfrom|\bimport)\s*\(?["\']([\w@./-]+)["\']', (LIBRARIES / name).read_text("utf-8")
        ):
            if named.startswith("."):
                target = (LIBRARIES / name).parent / named
                assert target.resolve().relative_to(LIBRARIES.resolve()).as_posix() in vendored_files(), (name, named)
            else:
                assert any(named == each or (each.endswith("/") and named.startswith(each)) for each in imports), named


def test_what_the_app_needs_without_a_network_is_all_there(client: httpx.Client) -> None:
    shell = client.get("/shell.json").json()
    assert set(shell["files"]) == set(shell_files())
    assert "/" in shell["files"]
    assert {f"/static/locales/{each}/shopper.json" for each in ("en", "he", "ar", "ru", "sl")} <= set(shell["files"])
    for address in shell["files"]:
        assert client.get(address).status_code == 200, address


def test_the_manifest_makes_an_app_that_can_be_installed(client: httpx.Client) -> None:
    manifest = client.get("/manifest.webmanifest").json()
    assert manifest["name"]
    assert manifest["short_name"]
    assert manifest["display"] == "standalone"
    assert manifest["start_url"].startswith(manifest["scope"])
    sizes, purposes = set(), set()
    for icon in manifest["icons"]:
        answer = client.get(icon["src"])
        assert answer.status_code == 200, icon
        assert answer.headers["content-type"] == icon["type"], icon
        purposes |= set(icon.get("purpose", "any").split())
        if icon["type"] == "image/svg+xml":
            assert ET.fromstring(answer.text).tag.endswith("svg")
        else:
            with Image.open(BytesIO(answer.content)) as picture:
                assert f"{picture.width}x{picture.height}" == icon["sizes"], icon
                sizes.add(picture.size)
    assert {(192, 192), (512, 512)} <= sizes
    assert {"any", "maskable"} <= purposes
