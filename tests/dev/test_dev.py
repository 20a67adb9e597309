"""`./invoke dev` as a person uses it: real servers, edits, a browser's requests, Ctrl-C."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from rackhand import PROJECT
from tests.dev.running import PATIENCE, Dev, alive, copy_apps, declared, write_inventory


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an inventory and copies of the example applications."""
    folder = tmp_path_factory.mktemp("dev")
    copy_apps(folder)
    write_inventory(folder, one=declared(folder), two=declared(folder))
    return folder


@pytest.fixture(scope="module")
def dev(apps: Path) -> Iterator[Dev]:
    """All applications behind one port."""
    with Dev(apps, "--all") as dev:
        dev.until_both_serve()
        yield dev


def test_each_application_is_under_its_route(dev: Dev) -> None:
    """As in production: links, redirects, the docs page and the bare prefix lead below it; other paths are nobody's."""
    assert dev.get("/async-api/openapi.json").json()["servers"] == [{"url": "/async-api"}]
    assert "'/async-api/openapi.json'" in dev.get("/async-api/docs").text
    assert dev.get("/sync-api/").headers["location"] == "/sync-api/report.html"
    assert dev.get("/sync-api/report.html").status_code == 200  # reads the file that its variable names
    bare = httpx.post(f"{dev.base}/sync-api?a=1&b=%2F")
    assert (bare.status_code, bare.headers["location"]) == (308, "/sync-api/?a=1&b=%2F")
    assert dev.get("/async-apix/health").status_code == 404
    assert dev.get("/").status_code == 404


def test_static_files(dev: Dev) -> None:
    """As nginx serves them on a host: from this folder, and from nowhere else."""
    answer = dev.get("/async-api/files/a%20b.css?v=1")
    assert (answer.text, answer.headers["content-type"]) == ("p {}", "text/css")
    head = httpx.head(f"{dev.base}/async-api/files/a%20b.css", timeout=60)
    assert (head.headers["content-length"], head.content) == ("4", b"")
    assert httpx.post(f"{dev.base}/async-api/files/a%20b.css", timeout=60).status_code == 405
    for path in ("", "no.css", "%2e%2e/app.py", "..%2fapp.py", "%2fetc/passwd", "%00", "x" * 5000):
        assert dev.get(f"/async-api/files/{path}").status_code == 404, path


def test_websockets_and_streams(dev: Dev) -> None:
    """Both carry on as long as they are wanted."""
    with connect(f"ws://127.0.0.1:{dev.port}/async-api/ws") as websocket:
        for _ in range(2):
            assert "cpu" in json.loads(websocket.recv(timeout=60))
    with httpx.stream("GET", f"{dev.base}/async-api/events", timeout=60) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data:"))
        assert next(lines) != next(lines)


def test_one_client_asks_both_with_bodies_of_each_kind(dev: Dev) -> None:
    """A client that would keep its connection gets every answer, also to what nobody reads."""
    with httpx.Client(base_url=dev.base, timeout=60) as client:
        for _ in range(5):
            for route in ("/async-api", "/sync-api"):
                assert client.get(f"{route}/health").json()["status"] == "ok"
                assert client.post(f"{route}/health", content=b"x" * 3_000_000).status_code == 405
                assert client.post(f"{route}/health", content=iter([b"abc"] * 3)).status_code == 405
    assert not [line for line in dev.lines if "raised exception" in line]


@pytest.mark.parametrize("name", ["async_api", "sync_api"])
def test_an_edit_is_live_and_a_mistake_is_shown_until_it_is_repaired(dev: Dev, name: str) -> None:
    """The same for both kinds of application; the other one goes on meanwhile. Edits may follow each other fast."""
    health, file = f"/{name.replace('_', '-')}/health", f"{name}/app.py"
    other = "/sync-api/health" if name == "async_api" else "/async-api/health"
    for _ in range(2):
        dev.edit(file, '"ok"', '"edited"')
        dev.until(health, lambda answer: answer.status_code == 200 and answer.json()["status"] == "edited")
        dev.edit(file, '"edited"', '"edited" if')
        dev.until(health, lambda answer: answer.status_code == 500 and "SyntaxError" in answer.text)
        dev.edit(file, '"edited" if', '"ok"')
        assert dev.get(other).json()["status"] == "ok"
        dev.until(health, lambda answer: answer.status_code == 200 and answer.json()["status"] == "ok")
    assert any(line.startswith(name) and "SyntaxError" in line for line in dev.lines)


def test_a_second_one_says_that_the_port_is_in_use(dev: Dev) -> None:
    """In one line, before anything is started."""
    done = invoke(dev.folder, "--app", "sync_api", "--port", str(dev.port))
    assert done.returncode == 5
    assert done.stderr == f"port {dev.port} of 127.0.0.1 is in use: choose another with --port\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(apps: Path, number: signal.Signals) -> None:
    """Ctrl-C ends the servers, what watches their files, and streams that are open; so do other ends."""
    with Dev(apps, "--all") as dev:
        dev.until_both_serve()
        with httpx.stream("GET", f"{dev.base}/async-api/events", timeout=60):
            started = dev.descendants()
            assert len(started) >= 4
            code = dev.interrupt(number)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        end = time.monotonic() + (PATIENCE if number == signal.SIGKILL else 0)
        while alive(started) and time.monotonic() < end:
            time.sleep(0.05)
        assert alive(started) == set()
        if number != signal.SIGKILL:
            assert "Traceback" not in "".join(dev.lines)


def test_a_mistake_from_the_beginning_waits_for_its_repair(tmp_path: Path) -> None:
    """The command does not end; and an application of no framework is told where it is, as on a host."""
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "requirements.txt").touch()
    (folder / "app.py").write_text("def app(environ, start_response) return\n")
    write_inventory(tmp_path, h={"plain": {"path": str(folder), "app": "app:app", "route": "/a/b"}})
    with Dev(tmp_path, "--app", "plain") as dev:
        dev.until("/a/b/", lambda answer: "SyntaxError" in answer.text)
        (folder / "app.py").write_text(
            "def app(environ, start_response):\n"
            "    start_response('200 OK', [])\n"
            "    keys = ('SCRIPT_NAME', 'PATH_INFO', 'RAW_URI', 'REMOTE_ADDR')\n"
            "    return [repr([environ[key] for key in keys]).encode()]\n"
        )
        dev.until("/a/b/c%20d", lambda a: a.text == "['/a/b', '/c d', '/a/b/c%20d', '127.0.0.1']")


@pytest.mark.parametrize("name", ["async_api", "sync_api"])
def test_factories(apps: Path, tmp_path: Path, name: str) -> None:
    """As on a host, with either protocol, and whether or not the call is written."""
    shutil.copytree(apps / name, tmp_path / name)
    with (tmp_path / name / "app.py").open("a") as file:
        file.write("\n\ndef make(debug=False):\n    return app\n")
    own = declared(tmp_path)[name] | {"app": "app:make()" if name == "async_api" else "app:make"}
    write_inventory(tmp_path, h={name: own})
    with Dev(tmp_path, "--app", name) as dev:
        dev.until(f"{own['route']}/health", lambda answer: answer.status_code == 200)


def invoke(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A `./invoke dev` that is expected to end by itself."""
    return subprocess.run(
        [PROJECT / "invoke", "dev", *options],
        env={**os.environ, "RACKHAND_INVENTORY": str(folder / "hosts.yml")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_bad_input(apps: Path, tmp_path: Path) -> None:
    """One message and exit code 5 for each mistake."""
    other = declared(apps)
    other["async_api"] |= {"route": "/", "env": {"TOKEN": "sentinel"}}
    write_inventory(tmp_path, one=declared(apps), two=other)
    twice = tmp_path / "twice"
    twice.mkdir()
    named = {**declared(apps)["sync_api"], "route": "/async-api", "server_name": "sync.example"}
    write_inventory(twice, h={**declared(apps), "sync_api": named})
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "requirements.txt").write_text("flask==0.0.0\n")
    write_inventory(bad, h={"bad": {"path": str(bad), "app": "app:app", "route": "/"}})
    for folder, options, message in (
        (apps, (), "name an application with --app, or all of them with --all"),
        (apps, ("--app", "sycn_api"), '(did you mean "sync_api"?)'),
        (apps, ("--all", "--port", "99999"), "--port should be from 1 to 65535, got 99999"),
        (tmp_path, ("--all",), "async_api is declared differently for one and two (route, env): say --host"),
        (
            *(twice, ("--all",)),
            "sync_api and async_api have the same route, /async-api, on different hosts or sites: say --host, or --app",
        ),
        (bad, ("--all", "--port", "8139"), "the dependencies of bad could not be installed:"),
    ):
        done = invoke(folder, *options)
        assert done.returncode == 5, done.stderr
        assert message in done.stderr
        assert "sentinel" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
