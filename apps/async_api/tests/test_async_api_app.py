import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import unix_connect

from host_metrics.metrics import Metrics

APP_FOLDER = Path(__file__).parents[1]
SERVERS = {
    "uvicorn": ("uvicorn", "app:app", "--uds", "SOCKET"),
    "gunicorn-uvicorn": ("gunicorn", "app:app", "--bind=unix:SOCKET", "--worker-class=uvicorn_worker.UvicornWorker"),
    "gunicorn-asgi": ("gunicorn", "app:app", "--bind=unix:SOCKET", "--worker-class=asgi"),
}
# Short, so that a worker which does not end by itself is killed soon and the test fails soon.
GUNICORN = ("--workers=2", "--graceful-timeout=5", "--no-control-socket")
# What a worker logs once the application has started in it.
STARTED = re.compile("Application startup complete|ASGI server listening")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A real server process on a Unix socket, as nginx sees it."""

    process: subprocess.Popen[bytes]
    socket: Path
    log: Path

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://host", timeout=20)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/health").is_success
        except httpx.TransportError:
            return False


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts `python -m ARGUMENTS` with SOCKET replaced, and waits until it answers and all of its workers have
    started: one that is told to stop before does so without a word."""
    # Not tmp_path: the path of a Unix socket has room for a hundred characters only.
    folder = Path(tempfile.mkdtemp(prefix="async-api-"))
    servers: list[Server] = []

    def start(*arguments: str) -> Server:
        socket, log = folder / f"{len(servers)}.sock", folder / f"{len(servers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *(argument.replace("SOCKET", str(socket)) for argument in arguments)],
                cwd=APP_FOLDER,
                env=os.environ | {"RACKHAND_RELEASE": "20261123-abc", "HOME": str(folder)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        servers.append(Server(process=process, socket=socket, log=log))
        workers = 2 if "--workers=2" in arguments else 1
        deadline = time.monotonic() + 30
        while len(STARTED.findall(log.read_text())) < workers or not servers[-1].answers():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return servers[-1]

    yield start
    for server in servers:
        server.process.terminate()
        try:
            server.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
    shutil.rmtree(folder)


def test_metrics_are_a_snapshot_that_fits_the_documented_model(app: FastAPI) -> None:
    with TestClient(app) as client:
        metrics = Metrics.model_validate(client.get("/metrics").json(), strict=False)
    assert metrics.period_seconds > 0


def test_health_names_the_release(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(app) as client:
        assert client.get("/health").json()["release"] == "development"
        monkeypatch.setenv("RACKHAND_RELEASE", "20261123-abc")
        health = client.get("/health").json()
    assert (health["status"], health["release"], type(health["pid"])) == ("ok", "20261123-abc", int)


def test_intervals_out_of_bounds_are_refused(serve: Callable[..., Server]) -> None:
    """On a real server, where a stream that is wrongly opened does not have to end for the test to fail."""
    server = serve(*SERVERS["uvicorn"])
    with server.client() as client:
        for interval in ("0", "61", "-1", "1.5", "soon", ""):
            with client.stream("GET", "/events", params={"interval": interval}) as answer:
                assert answer.status_code == 422, interval
            with pytest.raises(InvalidStatus), unix_connect(str(server.socket), f"ws://host/ws?interval={interval}"):
                pass


def test_the_web_socket_sends_metrics_and_ignores_what_it_is_sent(app: FastAPI) -> None:
    with TestClient(app) as client, client.websocket_connect("/ws?interval=1") as socket:
        first = Metrics.model_validate_json(socket.receive_text())
        socket.send_text("{")
        socket.send_bytes(b"\x00")
        second = Metrics.model_validate_json(socket.receive_text())
    assert second.at > first.at


def test_the_page_and_all_it_loads_are_found_below_any_prefix(app: FastAPI) -> None:
    """Addresses on the page are relative and answer; none names another host."""
    with TestClient(app) as client:
        page = client.get("/").text
        links = re.findall(r'(?:href|src)="(?!data:)([^"]+)"', page)
        assert len(links) == 5
        for link in links:
            assert not link.startswith(("/", "http"))
            if link != "events":
                assert client.get(f"/{link}").is_success, link
        script = client.get("/static/page.js").text
    assert re.findall(r'(?:new EventSource|new URL)\("([^"]+)"', script) == ["events", "ws"]


@pytest.mark.parametrize("path", ["/", "/static/page.js"])
def test_browsers_ask_each_time_whether_a_file_has_changed(app: FastAPI, path: str) -> None:
    """Otherwise a deployed page would not show for as long as the browser thinks fit."""
    with TestClient(app) as client:
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert first.headers["cache-control"] == "no-cache"
    assert path == "/" or again.status_code == 304


def test_the_documentation_describes_events_and_their_model(app: FastAPI) -> None:
    with TestClient(app) as client:
        api = client.get("/openapi.json").json()
    assert set(api["paths"]) == {"/metrics", "/events", "/health"}
    assert "Metrics" in json.dumps(api["paths"]["/events"]["get"]["responses"]["200"])
    assert "/ws" in api["info"]["description"]


def test_behind_a_prefix_that_only_the_server_knows(serve: Callable[..., Server]) -> None:
    """nginx strips the prefix and Uvicorn is told of it: documentation, static files, events and WebSocket agree."""
    server = serve(*SERVERS["uvicorn"], "--root-path", "/async-api")
    with server.client() as client:
        assert "/async-api/openapi.json" in client.get("/docs").text
        assert client.get("/static/page.css").is_success
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/async-api"}]
        with client.stream("GET", "/events") as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            assert events.headers["x-accel-buffering"] == "no"
            assert next(events.iter_lines()).startswith("data: {")
    with unix_connect(str(server.socket), "ws://host/ws") as socket:
        Metrics.model_validate_json(socket.recv())


@pytest.mark.parametrize("name", SERVERS)
def test_a_stopped_server_ends_its_streams_and_shuts_down_cleanly(name: str, serve: Callable[..., Server]) -> None:
    """An event stream ends as a complete response, a WebSocket closes with 1012, and the lifespan's end is reached."""
    server = serve(*SERVERS[name], *(GUNICORN if name.startswith("gunicorn") else ()))
    streaming = threading.Event()
    ends: list[str] = []

    def follow_events() -> None:
        with server.client() as client, client.stream("GET", "/events?interval=60") as events:
            for _ in events.iter_raw():
                streaming.set()
        ends.append("events complete")

    follower = threading.Thread(target=follow_events)
    with unix_connect(str(server.socket), "ws://host/ws?interval=60") as socket:
        socket.recv()
        follower.start()
        assert streaming.wait(20)
        server.process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
    server.process.wait(timeout=20)
    follower.join()

    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1012
    assert ends == ["events complete"]
    log = server.log.read_text()
    assert log.count("The sampler has stopped") == (2 if name.startswith("gunicorn") else 1), log
    assert "Traceback" not in log
