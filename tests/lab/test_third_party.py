"""Applications from the package index, of which there is nothing here but a requirements.txt, behind a prefix.

httpbin is a Flask application, pypi-browser-webapp one of Starlette's. Neither knows anything of Rackhand.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from rackhand.lab import Lab, LabHost
from tests.lab.site import Site

APPS = Path(__file__).parent / "third_party"

#: As the guide has it.
DECLARED: dict[str, dict[str, Any]] = {
    "httpbin": {"app": "httpbin:app", "route": "/httpbin", "worker": "gthread", "health": "/status/200"},
    "pypi_browser": {
        **{"app": "pypi_browser.app:app", "route": "/pypi", "health": "/"},
        # An index of the test's own, on the host.
        "env": {"PYPI_BROWSER_PYPI_URL": "http://127.0.0.1:8011/simple"},
    },
}

WHEEL = "shop-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def third_party(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    """A host with both, and a package index with one package."""
    (host,) = lab.up(["third1"])
    site = Site(tmp_path_factory.mktemp("third"), lab, [host], APPS)
    site.variables["apps"] = {
        name: {"path": str(site.apps / name), "workers": 1, **declared} for name, declared in DECLARED.items()
    }
    site.write()
    site.deploy("third1")
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("shop/__init__.py", "GREETING = 'hello'\n")
    write = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.parent.mkdir(parents=True, exist_ok=True); "
    write += "p.write_bytes(bytes.fromhex(sys.argv[2]))"
    page = f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode()
    for path, content in ((f"files/{WHEEL}", wheel.getvalue()), ("simple/shop/index.html", page)):
        host.run(["python3", "-c", write, f"/srv/index/{path}", content.hex()])
    serve = ["python3", "-m", "http.server", "--directory", "/srv/index", "--bind", "127.0.0.1", "8011"]
    host.run(["systemd-run", "--unit=index", *serve])
    return host


@pytest.fixture
def client(third_party: LabHost) -> Iterator[httpx.Client]:
    """A client that follows redirects as a browser does."""
    with httpx.Client(base_url=f"http://{third_party.address}", timeout=20, follow_redirects=True) as client:
        yield client


class Links(HTMLParser):
    """All that a page refers to."""

    def __init__(self, page: httpx.Response) -> None:
        super().__init__()
        self.found: list[httpx.URL] = []
        self._page = page.url
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "action") and value:
                self.found.append(self._page.join(value))


def own(page: httpx.Response) -> list[httpx.URL]:
    """Of what a page refers to, what is on its own host."""
    return [url for url in Links(page).found if url.host == page.url.host]


@pytest.mark.parametrize("path", ["/redirect/3", "/absolute-redirect/3", "/relative-redirect/3"])
def test_flask_redirects(client: httpx.Client, path: str) -> None:
    """Each step of a chain is below the prefix, and the chain ends where it should."""
    answer = client.get(f"/httpbin{path}")
    assert answer.status_code == 200
    assert [step.url.path.startswith("/httpbin/") for step in answer.history] == [True] * 3
    assert answer.json()["url"] == f"{client.base_url}/httpbin/get".replace("//httpbin", "/httpbin")


def test_flask_links(client: httpx.Client) -> None:
    """Every link of a page of links leads to a page of links."""
    page = client.get("/httpbin/links/5")
    found = own(page)
    assert len(found) == 4
    for url in found:
        assert url.path.startswith("/httpbin/links/5/")
        assert client.get(url).status_code == 200


def test_flask_front_page(client: httpx.Client) -> None:
    """All that httpbin's page refers to is below the prefix and is there; a few are an error on purpose."""
    page = client.get("/httpbin/")
    assert page.url.path == "/httpbin/"
    found = {url for url in own(page) if url.path != "/httpbin/" and "basic-auth" not in url.path}
    assert len(found) > 20
    assert {url.path.split("/")[1] for url in found} == {"httpbin"}
    for name in ("get", "cookies", "html", "image/png", "forms/post", "encoding/utf8"):
        assert client.get(f"/httpbin/{name}").status_code == 200, name


def test_flask_static_file_and_client(client: httpx.Client) -> None:
    """A static file of the package; and who asks, as the application sees it."""
    assert client.get("/httpbin/static/favicon.ico").content
    seen = client.get("/httpbin/get", headers={"X-Forwarded-For": "1.2.3.4"}).json()
    assert seen["origin"] == re.sub(r"\d+$", "1", client.base_url.host)


def test_flask_cookies(client: httpx.Client) -> None:
    """Set by a redirect, sent back below the prefix, and taken away again."""
    assert client.get("/httpbin/cookies/set?a=1&b=2").json() == {"cookies": {"a": "1", "b": "2"}}
    assert client.get("/httpbin/cookies/delete?a").json() == {"cookies": {"b": "2"}}


def test_flask_bodies(client: httpx.Client) -> None:
    """An upload in chunks of unknown number arrives; an answer in chunks comes back."""
    sent = client.post("/httpbin/post", content=iter([b"abc"] * 3), headers={"Content-Type": "text/plain"})
    assert sent.json()["data"] == "abcabcabc"
    assert len(client.get("/httpbin/stream/5").text.splitlines()) == 5


def test_starlette_pages_links_and_static_files(client: httpx.Client) -> None:
    """All that the front page refers to is below the prefix; scripts and styles are there."""
    page = client.get("/pypi/")
    found = own(page)
    assert {url.path.split("/")[1] for url in found} == {"pypi"}
    static = [url for url in found if "/static/" in url.path]
    assert len(static) >= 4
    for url in static:
        assert client.get(url).status_code == 200


def test_starlette_redirects_and_its_work(client: httpx.Client) -> None:
    """The search leads to a package by two redirects, that to its file, and that to what is in it: fetched from another
    server, and kept where the sandbox lets an application write."""
    package = client.get("/pypi/search", params={"package": "Shop"})
    assert [step.url.path for step in (*package.history, package)] == [
        *("/pypi/search", "/pypi/package/Shop", "/pypi/package/shop")
    ]
    (file,) = {url for url in own(package) if url.path.endswith(WHEEL)}
    listing = client.get(file)
    (content,) = {url for url in own(listing) if url.path.endswith("/shop/__init__.py")}
    assert "GREETING" in client.get(content).text
    assert client.get(content, params={"raw": ""}).text == "GREETING = 'hello'\n"
