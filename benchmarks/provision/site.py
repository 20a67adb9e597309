"""What one tool is to bring to some hosts: its own copies of the applications, and an inventory."""

import itertools
import os
import shutil
import subprocess
import time
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from rackhand import PROJECT
from rackhand.bundle import uv_program, with_server
from rackhand.errors import UserError
from rackhand.lab import Lab, LabHost

#: What the dependency that changes is at, one after the other. No version comes twice: one that a host has already
#: seen would be another case.
VERSIONS = ("3.10", "3.9", "3.8", "3.7", "3.6", "3.4", "3.3", "3.2", "3.1", "2.10", "2.9", "2.8")

_DEPENDENCY = "idna"

#: The line that changes, and one that says which dependency there is. Both are asked for after each deploy.
_LINE = 'app.add_url_rule("/line", "line", lambda: "{line}")\n'
_INSTALLED = (
    f'app.add_url_rule("/installed", "installed", lambda: __import__("importlib.metadata").metadata.version'
    f'("{_DEPENDENCY}"))\n'
)

#: Seconds until hosts that have just been booted serve; and, after a reload, until no worker of nginx from before it
#: answers any more, which one may for a moment after the first new one has.
_BOOT = 60
_RELOAD = 2
_EPOCH = 1_700_000_000  # any time that has passed


class NotServedError(Exception):
    """A host does not serve what was deployed to it: nothing that was measured counts."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """How a host is reached with SSH."""

    address: str
    port: int = 22


class Site:
    """The applications' code and their hosts. `via` has those hosts that are reached another way than directly."""

    def __init__(self, folder: Path, lab: Lab, hosts: Sequence[LabHost], workers: int | None = None) -> None:
        self.folder = folder
        self.lab = lab
        self.hosts = tuple(hosts)
        self.workers = workers
        self.via: dict[str, Where] = {}
        self.apps = folder / "apps"
        self.known_hosts = folder / "known_hosts"
        self.inventory = folder / "hosts.yml"
        self._lines = itertools.count(1)
        self._line = self._line_before = 0
        self._version = 0
        folder.mkdir(parents=True)
        shutil.copytree(PROJECT / "apps", self.apps, ignore=shutil.ignore_patterns("tests", "__pycache__", "*.in"))
        self._code = (self.apps / "sync_api" / "app.py").read_text()
        self._pins = {app: _pins(PROJECT / "apps" / app, worker) for app, worker in _WORKERS.items()}
        self.write()

    def where(self, host: LabHost) -> Where:
        """How this host is reached."""
        return self.via.get(host.name, Where(address=host.address))

    @property
    def pattern(self) -> str:
        """What a user types to mean all of its hosts."""
        return self.hosts[0].name if len(self.hosts) == 1 else "all"

    def next_line(self) -> None:
        """Changes one line of the code, to what it has never been."""
        self._line_before, self._line = self._line, next(self._lines)
        self.write()

    def line_before(self) -> None:
        """Takes back `next_line`."""
        self._line = self._line_before
        self.write()

    def next_dependency(self) -> None:
        """Changes the version of one dependency."""
        self._version += 1
        self.write()

    def write(self) -> None:
        """Writes everything that tools read."""
        self._write("sync_api/app.py", self._code + _INSTALLED + _LINE.format(line=self._line))
        for app, pins in self._pins.items():
            own = f"{_DEPENDENCY}=={VERSIONS[self._version]}\n" if app == "sync_api" else ""
            self._write(f"{app}/requirements.txt", pins + own)
        self.known_hosts.write_text("".join(map(self._known_host, self.hosts)))
        self.inventory.write_text(yaml.safe_dump(self._inventory(), sort_keys=False))

    def _write(self, file: str, text: str) -> None:
        """The same text gets the same time: some tools compare that."""
        path = self.apps / file
        path.write_text(text)
        at = _EPOCH + zlib.crc32(text.encode()) % 1_000_000
        os.utime(path, (at, at))

    def _known_host(self, host: LabHost) -> str:
        address, _, key = host.known_host().partition(" ")
        where = self.where(host)
        return f"{address} {key}[{where.address}]:{where.port} {key}"

    def _inventory(self) -> dict[str, object]:
        """In Ansible's words, for Ansible and Rackhand both."""
        reached = {host.name: self.where(host) for host in self.hosts}
        apps = yaml.safe_load((PROJECT / "inventory/group_vars/web.yml").read_text())["apps"]
        for name, app in apps.items():
            app["path"] = str(self.apps / name)
            app |= {"workers": self.workers} if self.workers else {}
        known = f"-o UserKnownHostsFile={self.known_hosts} -o StrictHostKeyChecking=yes"
        variables = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.lab.private_key),
            "ansible_ssh_common_args": known,
            "ansible_python_interpreter": "/usr/bin/python3",  # looking for it would cost time
            "apps": apps,
            "code": str(self.apps),
            "scratch": str(self.folder),
        }
        variables |= {"most_workers": self.workers} if self.workers else {}
        hosts = {name: {"ansible_host": at.address, "ansible_port": at.port} for name, at in reached.items()}
        return {"all": {"hosts": hosts, "vars": variables}}

    def check(self) -> None:
        """All hosts serve both applications on port 80, as they are in `apps`. Raises NotServedError."""
        self._wait(_RELOAD)

    def wait(self) -> None:
        """Returns once all hosts, which have just been booted, serve. Raises NotServedError."""
        self._wait(_BOOT + len(self.hosts))

    def _wait(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                return self._look()
            except NotServedError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def _look(self) -> None:
        for host in self.hosts:
            for path, wanted in (("/sync-api/line", str(self._line)), ("/sync-api/installed", VERSIONS[self._version])):
                found = _asked(f"http://{host.address}{path}")
                if found != wanted:
                    raise NotServedError(f"{host.name} answers {path} with {found!r} instead of {wanted!r}")
            _asked(f"http://{host.address}/async-api/health")


_WORKERS = {"async_api": "uvicorn", "sync_api": "gthread"}


@cache
def _pins(app: Path, worker: str) -> str:
    """The application's requirements and those of its server for the hosts' Python, a line each, without hashes: as
    most projects have them. Raises UserError."""
    command = (
        *(uv_program(), "pip", "compile", "-", "--quiet", "--no-deps", "--no-header", "--no-annotate"),
        *("--python-version", "3.11"),
    )
    listed = with_server((app / "requirements.txt").read_text(), worker)
    done = subprocess.run(command, input=listed, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


def _asked(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # an address of the lab
            return str(answer.read(10_000).decode())
    except OSError as error:
        raise NotServedError(f"{url}: {error}") from error
