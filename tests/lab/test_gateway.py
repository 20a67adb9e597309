"""What applications that know nothing of nginx see and give out behind it: every kind of worker, every route."""

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError
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
#: Applications of a site of its own, with several workers, by name.
NAMED = "named.example"
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "named": ("fast", {"worker": "uvicorn", "route": "/", "static": {"/files": "static"}}),
    "burning": ("slow", {"worker": "sync", "route": "/burning"}),
    "burning_alone": ("fast", {"server": "uvicorn", "route": "/burning-alone"}),
}
ASYNC = [route for route, (code, _) in ROUTES.items() if code == "fast"]


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    (host,) = lab.up(["gateway1"])
    return host


@pytest.fixture(scope="module")
def gateway_site(lab: Lab, host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A host with one application for each route, and a second site on it."""
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
    site.variables["apps"] |= {
        name: {"path": str(site.apps / code), "app": "app:app", "workers": 2, "server_name": NAMED, **settings}
        for name, (code, settings) in OTHERS.items()
    }
    site.write()
    site.deploy("gateway1")
    return site


@pytest.fixture(scope="module")
def gateway(gateway_site: Site, host: LabHost) -> LabHost:
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


def test_nginx_alone_says_when_and_by_what_it_is_answered(client: httpx.Client) -> None:
    """An application's server need not."""
    headers = client.get("/health").headers
    assert len(headers.get_list("date")) == 1
    assert headers.get_list("server") == ["nginx"]


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
    assert re.fullmatch(r"[0-9a-f]{8}\.[0-9a-f]{6}", seen["RACKHAND_RELEASE"])


def test_only_nginx_reaches_the_sockets(gateway: LabHost) -> None:
    """Another user of the host cannot connect to an application's socket, and applications have no privileges."""
    script = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    path = "/opt/rackhand/current/app0/app.sock"
    for user, allowed in (("www-data", True), ("nobody", False)):
        tried = gateway.run(["runuser", "-u", user, "--", "python3", "-c", script, path], check=False)
        assert (tried.returncode == 0) == allowed, (user, tried.stderr)
    users = gateway.run(["ps", "-eo", "user:32,args"]).stdout
    workers = [line.split()[0] for line in users.splitlines() if "/venv/bin/python" in line]
    names = [*(f"app{number}" for number in range(len(ROUTES))), *OTHERS]
    assert set(workers) == {f"rackhand-{name}" for name in names}


def test_uvicorn_alone_has_no_gunicorn_about_it(gateway: LabHost) -> None:
    """Its master and its workers are one program, which is no part of Gunicorn."""
    for number, (_, server) in enumerate(ROUTES.values()):
        arguments = gateway.run(["ps", "-u", f"rackhand-app{number}", "-o", "args="]).stdout.splitlines()
        assert len(arguments) == 2, arguments  # a master and a worker
        assert all(("gunicorn" in line) == ("worker" in server) for line in arguments), arguments


def test_one_unused_route_is_refused(gateway: LabHost) -> None:
    """What nginx tells Rackhand about itself it tells nobody outside."""
    assert httpx.get(f"http://{gateway.address}/.rackhand/loaded").status_code == 404


# A second site


@pytest.fixture
def named(gateway: LabHost) -> Iterator[httpx.Client]:
    """A client of the site that has a name of its own."""
    with httpx.Client(base_url=f"http://{gateway.address}", headers={"Host": NAMED}, timeout=20) as client:
        yield client


def test_a_site_is_found_by_its_name(named: httpx.Client, gateway: LabHost) -> None:
    """Each has routes of its own; a name that no site has gets the first one."""
    assert named.get("/links").json()["health"] == f"http://{NAMED}/health"
    assert named.get("/links", headers={"Host": NAMED.upper()}).json()["health"].endswith("/health")
    assert named.get("/async-api/health").status_code == 404
    for name in ("other.example", gateway.address):
        seen = httpx.get(f"http://{gateway.address}/links", headers={"Host": name}).json()
        assert seen["static"].endswith("/static/file.txt")
        assert httpx.get(f"http://{gateway.address}/burning/health", headers={"Host": name}).status_code == 404


def test_static_files_are_served_by_nginx(named: httpx.Client, gateway: LabHost) -> None:
    """From the folder that is named, which alone nginx may read of the application, and never from beside it."""
    answer = named.get("/files/file.txt")
    assert (answer.text, answer.headers["content-type"]) == ("Static content.\n", "text/plain")
    assert answer.headers["etag"]
    assert named.get("/files/", headers={"Accept": "text/html"}).status_code == 403  # no listing
    assert named.get("/files/no.txt").text.startswith("<html>")  # nginx says so, not the application
    code = "/opt/rackhand/current/named/release/code"
    for path in (
        "/files/../app.py",
        "/files/%2e%2e/app.py",
        "/files/..%2fapp.py",
        "/files../app.py",
        "/files//../app.py",
    ):
        connection = HTTPConnection(gateway.address, timeout=20)
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", NAMED)
        connection.endheaders()
        assert b"FastAPI" not in connection.getresponse().read(), path
    for path, allowed in (("static/file.txt", True), ("app.py", False), ("", False), ("../env", False)):
        tried = gateway.run(["runuser", "-u", "www-data", "--", "head", f"{code}/{path}"], check=False)
        listed = gateway.run(["runuser", "-u", "www-data", "--", "ls", f"{code}/{path}"], check=False)
        assert (tried.returncode == 0) == allowed, path
        assert (listed.returncode == 0) == (allowed or path in ("app.py", "../env")), path


# Work


@pytest.mark.parametrize("path", ["", "/burning", "/burning-alone"])
def test_a_worker_that_is_busy_keeps_nobody_waiting(named: httpx.Client, path: str) -> None:
    """While one worker computes, health checks are answered by the others."""
    with named.stream("GET", f"{path}/burn") as burning:
        lines = burning.iter_lines()
        busy = int(next(lines))
        for _ in range(20):
            assert named.get(f"{path}/health").status_code == 200
        assert int(named.get(f"{path}/stop").text) != busy
        assert list(lines) == []


# Slow readers


def settled(client: httpx.Client, what: str, least: float = 1) -> int:
    """How many bytes an application had sent when it came to a halt; at `least` so many, however long a disk takes."""
    before, deadline = -1, time.monotonic() + 60
    while (now := int(client.get("/flooded").json()[what])) != before or now < least:
        assert time.monotonic() < deadline, f"{now} bytes, and no end"
        before = now
        time.sleep(1)
    return now


@pytest.mark.parametrize("route", ASYNC)
def test_a_slow_reader_holds_the_stream_back(client: httpx.Client, route: str) -> None:
    """What a client does not take of an event stream is not made: neither the application nor nginx keep more than what
    the network's buffers hold. When the client goes on reading, so does the stream."""
    with client.stream("GET", "/flood") as answer:
        pieces = answer.iter_raw()
        next(pieces)
        sent = settled(client, "stream")
        assert sent < 32e6
        taken = 0
        while taken < 2 * sent:
            taken += len(next(pieces))


@pytest.mark.parametrize("route", ASYNC)
def test_a_slow_reader_holds_the_websocket_back(client: httpx.Client, gateway: LabHost, route: str) -> None:
    with connect(f"ws://{gateway.address}{route}/flood", compression=None, close_timeout=1) as websocket:
        sent = settled(client, "websocket")
        assert sent < 32e6
        taken = 0
        while taken < 2 * sent:
            taken += len(websocket.recv(timeout=20))


@pytest.mark.parametrize("route", ["/threads/nested", "/adapted"])
def test_a_slow_reader_of_a_buffered_answer(client: httpx.Client, route: str) -> None:
    """nginx takes the answer off a WSGI worker's hands up to a limit, and no further."""
    with client.stream("GET", "/flood") as answer:
        pieces = answer.iter_raw()  # which, when nobody has it any more, closes the connection
        next(pieces)
        assert settled(client, "stream", least=32e6) < 96e6


# Silence


@pytest.mark.skipif("RACKHAND_LONG" not in os.environ, reason="takes ten minutes: RACKHAND_LONG=1")
def test_ten_minutes_of_silence(gateway: LabHost) -> None:
    """With `read_timeout` as it is by default, with pings and, but for Uvicorn's own, without."""
    base, seconds = f"//{gateway.address}", 600
    each = [(route, pings) for route in ASYNC for pings in (True, False)]
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        streams = [
            pool.submit(_events, f"http:{base}{route}/quiet?seconds={seconds}&pings={pings}") for route, pings in each
        ]
        websockets = [
            stack.enter_context(connect(f"ws:{base}{route}/ws", ping_interval=20 if pings else None))
            for route, pings in each
        ]
        for websocket in websockets:
            websocket.recv(timeout=10)
        time.sleep(seconds)
        for websocket in websockets:
            websocket.send("abc")
            assert websocket.recv(timeout=10) == "ABC"
    assert [stream.result()[-15:] for stream in streams] == ["data: at last\n\n"] * len(each)


# The last tests: they change the site


@pytest.fixture(scope="module")
def impatient(gateway_site: Site, host: LabHost) -> LabHost:
    """nginx waits for no more than three seconds of silence, and a static file has changed."""
    gateway_site.variables["rackhand_nginx"] = {"read_timeout": 3}
    gateway_site.write()
    gateway_site.edit("fast/static/file.txt", "Static", "Changed")
    gateway_site.deploy("gateway1")
    return host


def test_static_files_change_with_the_release(impatient: LabHost) -> None:
    answer = httpx.get(f"http://{impatient.address}/files/file.txt", headers={"Host": NAMED})
    assert answer.text == "Changed content.\n"


def test_pings_keep_silent_connections_open(impatient: LabHost) -> None:
    """A WebSocket and an event stream that say nothing for longer than nginx waits stay open by pings, and only by
    them. This is how they live as long as they like, whatever `read_timeout` is."""
    base = f"//{impatient.address}"
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        kept, left = (
            [stack.enter_context(connect(f"ws:{base}{route}/ws", ping_interval=None)) for route in ASYNC]
            for _ in range(2)
        )
        streams = {
            pings: [pool.submit(_events, f"http:{base}{route}/quiet?seconds=7&pings={pings}") for route in ASYNC]
            for pings in (True, False)
        }
        for websocket in (*kept, *left):
            websocket.recv(timeout=10)
        for _ in range(7):
            time.sleep(1)
            for websocket in kept:
                websocket.ping()
        for websocket in kept:
            websocket.send("abc")
            assert websocket.recv(timeout=10) == "ABC"
        for websocket in left:
            with pytest.raises(ConnectionClosedError):
                websocket.recv(timeout=10)
    assert [stream.result()[-15:] for stream in streams[True]] == ["data: at last\n\n"] * len(ASYNC)
    assert not [stream.result() for stream in streams[False] if "at last" in stream.result()]


def _events(url: str) -> str:
    """A stream to its end."""
    try:
        return httpx.get(url, timeout=660).text
    except httpx.RemoteProtocolError:
        return "cut off"
