"""A running `./invoke dev` of a test or a benchmark, on copies of the example applications."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from rackhand import PROJECT

#: Seconds after which something is taken never to happen.
PATIENCE = 120


class Dev:
    """A running `./invoke dev`, in a process group of its own, as a terminal makes it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.base = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [PROJECT / "invoke", "dev", "--port", str(self.port), *options],
            env={**os.environ, "RACKHAND_INVENTORY": str(folder / "hosts.yml")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.interrupt()

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C: the signal goes to the terminal's foreground group."""
        os.killpg(self.process.pid, number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.base + path, timeout=60)

    def until(self, path: str, fits: Callable[[httpx.Response], bool]) -> None:
        """Asks until the answer is as it should be. Until it has started there may be none."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            assert self.process.poll() is None, "".join(self.lines)
            try:
                if fits(self.get(path)):
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError("never happened: " + "".join(self.lines[-60:]))

    def until_both_serve(self) -> None:
        for path in ("/async-api/health", "/sync-api/health"):
            self.until(path, lambda answer: answer.status_code == 200)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def descendants(self) -> set[int]:
        """The processes that it has started, and what those have."""
        parents = {pid: int(fields[1]) for pid, fields in processes()}
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {self.process.pid}


def processes() -> Iterator[tuple[int, list[str]]]:
    """Of each process, what /proc says of it from its state on."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue


def alive(pids: set[int]) -> set[int]:
    return {pid for pid, fields in processes() if pid in pids and fields[0] != "Z"}


def write_inventory(folder: Path, **apps_of_hosts: dict[str, Any]) -> None:
    hosts = {name: {"apps": apps} for name, apps in apps_of_hosts.items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))


def declared(folder: Path) -> dict[str, dict[str, Any]]:
    """The example applications as a host declares them."""
    log = str(folder / "access.log")
    return {
        "async_api": {
            **{"path": str(folder / "async_api"), "app": "app:app", "route": "/async-api"},
            "static": {"/files": "files"},
        },
        "sync_api": {
            **{"path": str(folder / "sync_api"), "app": "app:app", "route": "/sync-api"},
            "env": {"ACCESS_LOG": log},
        },
    }


def copy_apps(folder: Path) -> None:
    """The example applications, and files that they are served with."""
    for name in ("async_api", "sync_api"):
        shutil.copytree(PROJECT / "apps" / name, folder / name, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    (folder / "access.log").touch()
    (folder / "async_api/files").mkdir()
    (folder / "async_api/files/a b.css").write_text("p {}")
