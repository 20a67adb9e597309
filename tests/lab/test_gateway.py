"""What applications that know nothing of nginx see and give out behind it: every kind of worker, every route."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from rackhand.lab import Lab, LabHost
from tests.lab.site import Site

APPS = Path(__file__).parent / "gateway_apps"

#: By route: which application's code, and what serves it.
ROUTES = {
    "/async-api": ("fast", {"worker": "uvicorn"}),
    "/native": ("fast", {"worker": "asgi"}),
    "/sync-api": ("slow", {"worker": "sync"}),
    "/threads/nested": ("slow", {"worker": "gthread"}),
    "/": ("slow", {"worker": "sync"}),
    "/alone": ("fast", {"server": "uvicorn"}),
    "/adapted": ("slow", {"server": "uvicorn"}),
}
ASYNC = [route for route, (code, _) in ROUTES.items() if code == "fast"]


@pytest.fixture(scope="module")
def gateway(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    """A host with one application for each route."""
    (host,) = lab.up(["gateway1"])
    site = Site(tmp_path_factory.mktemp("gateway"), lab, [host], APPS)
    site.variables["apps"] = {
        f"app{number}": {
            "path": str(site.apps / code),
            "app": "app:app",
            **server,
            "workers": 1,
            "route": route,
            "env": {"HOSTILE": "a \"b\" 'c' $HOME ${HOME} \\d `id` %n #e ;f"},
        }
        for number, (route, (code, server)) in enumerate(ROUTES.items())
    }
    site.write()
    site.deploy("gateway1")
    return host


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(gateway: LabHost, route: str) -> Iterator[httpx.Client]:
    """A client whose base is the application's prefix."""
    with httpx.Client(base_url=f"http://{gateway.address}{route.rstrip('/')}", timeout=20) as client:
        yield client


def test_redirects_and_links_keep_the_prefix(client: httpx.Client, gateway: LabHost, route: str) -> None:
    """A redirect to a folder, url_for and static files lead to where they came from."""
    prefix = route.rstrip("/")
    redirect = client.get("/folder")
    assert redirect.status_code in (307, 308)
    assert httpx.URL(str(redirect.request.url)).join(redirect.headers["location"]).path == f"{prefix}/folder/"
    assert client.get("/folder", follow_redirects=True).status_code == 200
    for link in client.get("/links").json().values():
        assert link.startswith(f"http://{gateway.address}{prefix}/")
        assert httpx.get(link).status_code == 200
    assert client.get("/static/file.txt").text == "Static content.\n"


@pytest.mark.parametrize("route", ASYNC)
def test_docs_page_and_mounts(client: httpx.Client, gateway: LabHost, route: str) -> None:
    """FastAPI's docs page finds its description, which names the prefix; a mounted application keeps both prefixes."""
    assert f"'{route}/openapi.json'" in client.get("/docs").text
    description = client.get("/openapi.json").json()
    assert description["servers"] == [{"url": route}]
    assert client.get("/inner/page").json() == f"http://{gateway.address}{route}/inner/page"


def test_the_bare_prefix_is_the_applications_root(gateway: LabHost, route: str) -> None:
    """Without its last slash a prefix redirects to the one with it, with the query and the method kept."""
    if route == "/":
        pytest.skip("has none")
    answer = httpx.post(f"http://{gateway.address}{route}?a=1&b=%2F")
    assert (answer.status_code, answer.headers["location"]) == (308, f"{route}/?a=1&b=%2F")


def test_a_longer_word_is_not_the_prefix(gateway: LabHost) -> None:
    """/async-apix goes to the application at /, not to the one at /async-api."""
    assert httpx.get(f"http://{gateway.address}/async-apix/health").status_code == 404
    assert httpx.get(f"http://{gateway.address}/health").json() == {"status": "ok"}


def test_encoded_paths_arrive_as_they_were_sent(client: httpx.Client, route: str) -> None:
    """Encoded slashes, spaces, percent signs and letters beyond ASCII are not decoded or encoded again on the way."""
    path = "/echo/a%20b%2Fc%252F%C3%A9+d"
    seen = client.get(f"{path}?q=%2F%20+x").json()
    assert seen["raw"].partition("?")[0] == route.rstrip("/") + path
    assert seen["rest"] == "a b/c%2Fé+d"
    assert seen["query"] == "q=%2F%20+x"


def test_a_client_cannot_claim_to_be_another(client: httpx.Client, gateway: LabHost) -> None:
    """Address, scheme and prefix come from nginx, whatever a client sends."""
    plain = client.get("/echo/x").json()
    lies = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Real-IP": "1.2.3.4",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Protocol": "ssl",
        "X-Forwarded-Ssl": "on",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "444",
        "X-Forwarded-Prefix": "/evil",
        "X-Script-Name": "/evil",
        "SCRIPT_NAME": "/evil",
        "PATH_INFO": "/evil",
        "Forwarded": "for=1.2.3.4;proto=https",
        "Proxy": "http://evil.example",
    }
    seen = client.get("/echo/x", headers=lies).json()
    assert seen["client"] == plain["client"] == _own_address(gateway)
    assert seen["scheme"] == "http"
    assert seen["host"] == gateway.address
    for name, value in lies.items():
        assert value not in seen["headers"].get(name.lower(), ""), name


def _own_address(host: LabHost) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host.address, 80))
        return str(probe.getsockname()[0])


def test_cookies_belong_to_the_prefix(client: httpx.Client, route: str) -> None:
    """A cookie set for the application's root comes back to it."""
    assert client.get("/cookie").json() == {}
    assert client.get("/cookie").json() == {"seen": "yes"}
    assert next(iter(client.cookies.jar)).path == (route.rstrip("/") or "/")


def test_uploads(client: httpx.Client) -> None:
    """A body beyond nginx's usual limit of 1 MB arrives whole."""
    assert client.post("/echo/x", content=b"x" * 5_000_000).json()["body"] == 5_000_000


@pytest.mark.parametrize("route", ASYNC)
def test_websocket(gateway: LabHost, route: str) -> None:
    """A WebSocket is upgraded, knows its client and its own address, and carries messages."""
    with connect(f"ws://{gateway.address}{route}/ws") as websocket:
        hello = json.loads(websocket.recv(timeout=10))
        assert hello == {"client": _own_address(gateway), "url": f"ws://{gateway.address}{route}/ws"}
        websocket.send("abc")
        assert websocket.recv(timeout=10) == "ABC"


@pytest.mark.parametrize("route", ASYNC)
def test_streams_are_not_held_back(client: httpx.Client) -> None:
    """The first event of a stream arrives before the last one is sent."""
    with client.stream("GET", "/stream") as answer:
        arrivals = [time.monotonic() for _ in answer.iter_text()]
    assert len(arrivals) == 3


def test_environment_is_exact_and_unprivileged(gateway: LabHost) -> None:
    """A value with all that a shell, a unit or systemd would expand arrives as it is."""
    seen = httpx.get(f"http://{gateway.address}/environment").json()
    assert seen["HOSTILE"] == "a \"b\" 'c' $HOME ${HOME} \\d `id` %n #e ;f"
    assert seen["RACKHAND_APP"] == "app4"
    assert len(seen["RACKHAND_RELEASE"]) == 12


def test_only_nginx_reaches_the_sockets(gateway: LabHost) -> None:
    """Another user of the host cannot connect to an application's socket, and applications have no privileges."""
    script = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    path = "/opt/rackhand/current/app0/app.sock"
    for user, allowed in (("www-data", True), ("nobody", False)):
        tried = gateway.run(["runuser", "-u", user, "--", "python3", "-c", script, path], check=False)
        assert (tried.returncode == 0) == allowed, (user, tried.stderr)
    users = gateway.run(["ps", "-eo", "user:32,args"]).stdout
    workers = [line.split()[0] for line in users.splitlines() if "/venv/bin/python" in line]
    assert set(workers) == {f"rackhand-app{number}" for number in range(len(ROUTES))}


def test_uvicorn_alone_has_no_gunicorn_about_it(gateway: LabHost) -> None:
    """Its master and its workers are one program, which is no part of Gunicorn."""
    for number, (_, server) in enumerate(ROUTES.values()):
        arguments = gateway.run(["ps", "-u", f"rackhand-app{number}", "-o", "args="]).stdout.splitlines()
        assert len(arguments) == 2, arguments  # a master and a worker
        assert all(("gunicorn" in line) == ("worker" in server) for line in arguments), arguments


def test_one_unused_route_is_refused(gateway: LabHost) -> None:
    """What nginx tells Rackhand about itself it tells nobody outside."""
    assert httpx.get(f"http://{gateway.address}/.rackhand/loaded").status_code == 404
