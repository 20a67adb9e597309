"""The README's first command, and the lab's own, as a user types them."""

import json
import os
import re
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from rackhand import PROJECT

NAME = f"demo-{os.getpid()}"


def invoke(*arguments: str) -> str:
    done = subprocess.run(
        [PROJECT / "invoke", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """What the first demo printed."""
    try:
        yield invoke("demo", "--name", NAME)
    finally:
        invoke("lab.down", "--name", NAME)
        assert f"the lab {NAME} has no running hosts" in invoke("lab.status", "--name", NAME)


@pytest.fixture
def base(demo: str) -> str:
    """The address that the demo has printed."""
    found = re.search(r"http://[0-9.]+", demo)
    assert found
    return found[0]


def test_the_demo_serves_both_applications(demo: str, base: str) -> None:
    """Health of both was asked from outside, and every address that it prints answers."""
    assert re.search(rf"200 {base}/async-api/health .*\"release\"", demo)
    assert re.search(rf"200 {base}/sync-api/health .*\"release\"", demo)
    for url in re.findall(rf"{base}\S*", demo):
        assert httpx.get(url, timeout=10).status_code == 200, url


def test_live_metrics_of_the_host(demo: str, base: str) -> None:
    """The FastAPI example pushes metrics over a WebSocket and as server-sent events, through nginx."""
    with connect(base.replace("http", "ws") + "/async-api/ws?interval=1") as websocket:
        first, second = (json.loads(websocket.recv(timeout=10)) for _ in range(2))
    assert first != second
    assert "cpu" in first
    with httpx.stream("GET", f"{base}/async-api/events?interval=1", timeout=10) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data:"))
        assert "cpu" in json.loads(next(lines).removeprefix("data:"))


def test_report_of_what_nginx_has_served(demo: str, base: str) -> None:
    """The Flask example has read the access log of the host's own nginx, as an unprivileged user."""
    httpx.get(f"{base}/async-api/health")
    report = httpx.get(f"{base}/sync-api/report", timeout=10).json()
    assert "/async-api" in json.dumps(report)


def test_the_demo_again_changes_nothing(demo: str) -> None:
    """And says so."""
    assert re.search(r"ok=\d+ +changed=0 .* failed=0 ", invoke("demo", "--name", NAME))
