"""The master that keeps Uvicorn's workers when there is no Gunicorn: a real one, with its processes."""

import ast
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from rackhand.agent.serving import PREFIX_HEADER
from rackhand.inventory import Origin
from rackhand.settings import App
from rackhand.templates import render

#: Seconds after which something is taken never to happen.
PATIENCE = 60
WORKERS = 3
#: Seconds for which a worker may be silent.
SILENT = 4

#: Answers with the number of its process. As long as there is a file `hang`, it writes that into it, and hangs.
CODE = """
import os, time
from pathlib import Path

while Path("hang").exists():
    Path("hang").write_text(str(os.getpid()))
    time.sleep(1000)

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


#: A worker that says without end that it is alive, and a master that looks as often.
BEATS = """
import mmap, os, time
TIMEOUT = 60
{beat}
beat, master = Beat(), os.getpid()
if os.fork() == 0:
    while os.getppid() == master:
        beat.now()
    os._exit(0)
print(sum(beat.missing() for _ in range(1_000_000)))
"""


def served_by(folder: Path) -> str:
    """The text of the master and its workers."""
    app = App(
        name="shop",
        path=folder,
        app="app:app",
        route="/",
        timeout=SILENT,
        origin=Origin(file="group_vars/web.yml", line=3),
    )
    return render("serve.py.j2", app=app, asgi=True, workers=WORKERS, prefix_header=PREFIX_HEADER)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where an instance with all of its workers runs."""
    (tmp_path / "serve.py").write_text(served_by(tmp_path))
    (tmp_path / "app.py").write_text(CODE)
    master = subprocess.Popen(
        [sys.executable, "serve.py"],
        cwd=tmp_path,
        env={**os.environ, "RUNTIME_DIRECTORY": str(tmp_path), "RACKHAND_APP": "shop"},
        start_new_session=True,
    )
    try:
        until(lambda: len(answering(tmp_path)) == WORKERS)
        yield tmp_path
        assert master.poll() is None
        master.terminate()
        assert master.wait(PATIENCE) == 0
    finally:
        master.kill()  # before it could start another one
        master.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(master.pid, signal.SIGKILL)


def answering(folder: Path) -> set[int]:
    """The workers that answer, of all when they are asked often enough."""
    found: set[int] = set()
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(folder / "app.sock"))) as client:
        for _ in range(10 * WORKERS):
            try:
                found.add(int(client.get("http://shop/", timeout=1, headers={"Connection": "close"}).text))
            except httpx.TransportError:
                continue
    return found


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "never happened"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_worker_that_hangs_as_it_starts_is_replaced(folder: Path) -> None:
    (folder / "hang").touch()
    victim = min(answering(folder))
    os.kill(victim, signal.SIGKILL)
    until(lambda: (folder / "hang").read_text())
    hanging = int((folder / "hang").read_text())
    (folder / "hang").unlink()
    until(lambda: gone(hanging))
    until(lambda: len(answering(folder)) == WORKERS)


def test_workers_that_end_all_the_time_hide_none_that_hangs(folder: Path) -> None:
    """A master that looks only when nothing has happened for a while would never look."""
    stopped, *others = answering(folder)
    os.kill(stopped, signal.SIGSTOP)
    end = time.monotonic() + PATIENCE
    while not gone(stopped):
        assert time.monotonic() < end, "never happened"
        for pid in others:
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
        others = [pid for pid in answering(folder) if pid != stopped]
    until(lambda: len(answering(folder)) == WORKERS)


def test_a_worker_that_is_alive_is_never_missing(tmp_path: Path) -> None:
    """Not even when the master looks in the middle of a word."""
    tree = ast.parse(served_by(tmp_path))
    (beat,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Beat")
    command = [sys.executable, "-c", BEATS.format(beat=ast.unparse(beat))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout == "0\n"
