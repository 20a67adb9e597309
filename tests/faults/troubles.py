"""Faults that have no boundary: something is wrong with the host or the release, from before the deploy until it is put
right. Then the same deploy must converge."""

import contextlib
import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rackhand.exit_codes import FAILED
from rackhand.lab import LabHost
from tests.faults import boundary, places
from tests.faults.case import Case
from tests.faults.faults import REACHES
from tests.faults.invariants import inside
from tests.faults.scenario import Trial, code_only
from tests.faults.subject import UNSEEN, Subject
from tests.faults.witness import ask

#: The kind of host: one that serves, one that Rackhand has never seen, or one that serves from a small disk.
Kind = Literal["serving", "fresh", "small"]

#: Seconds for which the locks are held.
HELD = 6
#: Seconds that a new instance must stay up: longer than it takes to die.
SETTLE = 8


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """`prepare` makes the change that is deployed, `cause` is the trouble while it lasts and puts it right at its end.
    `fails` says that the deploy cannot do its work meanwhile; None leaves it open."""

    name: str
    cause: Callable[[Case], AbstractContextManager[None]]
    prepare: Callable[[Subject], Trial] = code_only
    fails: bool | None
    kind: Kind = "serving"


def suffer(case: Case, trouble: Trouble) -> str:
    """Deploys while the trouble lasts; what serves then, in a word."""
    with trouble.cause(case):
        result = case.run(*case.trial.command)
        expected = FAILED if trouble.fails else 0
        if trouble.fails is not None and result.code != expected:
            case.violate(f"the deploy ended with {result.code} instead of {expected}")
        word = case.settle()
        if result.code == 0 and word != "new serves":
            case.violate(f"the deploy ended with 0, and {word}")
    return f"exit {result.code}, {word}"


@contextlib.contextmanager
def _disk_full(case: Case) -> Iterator[None]:
    fills = [inside(case.subject.host) / folder.lstrip("/") / "filler" for folder in places.DISKS]
    for fill in fills:
        with contextlib.suppress(OSError), fill.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))
        with contextlib.suppress(OSError), fill.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(64))
    yield
    for fill in fills:
        fill.unlink()


@contextlib.contextmanager
def _inodes_full(case: Case) -> Iterator[None]:
    host = case.subject.host
    script = """import os, subprocess, sys
for folder in sys.argv[2:]:
    found = os.statvfs(folder)
    inodes = found.f_files - found.f_ffree if sys.argv[1] == "full" else 100000
    subprocess.run(["mount", "-o", f"remount,nr_inodes={inodes}", folder], check=True)
"""
    host.run(["python3", "-c", script, "full", *places.DISKS])
    yield
    host.run(["python3", "-c", script, "free", *places.DISKS])


def small_disks(host: LabHost) -> None:
    """Gives Rackhand's folders file systems of their own, which a test may fill."""
    for folder, mode in places.DISKS.items():
        host.run(["mkdir", "-p", folder])
        host.run(["mount", "-t", "tmpfs", "-o", f"size=500m,nr_inodes=100000,mode={mode}", "small", folder])


@contextlib.contextmanager
def _apt_locked(case: Case) -> Iterator[None]:
    host = case.subject.host
    script = f"""import fcntl, pathlib, time
file = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(file, fcntl.LOCK_EX)
pathlib.Path("/run/held").touch()
time.sleep({HELD})
"""
    with _service(host, "somebodys-apt", "python3", "-c", script):
        held = inside(host) / "run/held"
        _wait(held.exists)
        yield
        held.unlink()


@contextlib.contextmanager
def _upgrading(case: Case) -> Iterator[None]:
    """A package whose installation takes long, as in an upgrade."""
    host = case.subject.host
    fields = ("Package: slow", "Version: 1", "Architecture: all", "Maintainer: nobody", "Description: slow")
    script = f"""set -eu
mkdir -p /root/slow/DEBIAN && cd /root
printf '%s\\n' {" ".join(map(repr, fields))} > slow/DEBIAN/control
printf '#!/bin/sh\\ntouch /run/slow\\nsleep {HELD}\\n' > slow/DEBIAN/postinst
chmod 755 slow/DEBIAN/postinst
dpkg-deb --build slow slow.deb > /dev/null
rm -r slow
exec apt-get install -y ./slow.deb
"""
    with _service(host, "somebodys-upgrade", "sh", "-c", script):
        _wait((inside(host) / "run/slow").exists)
        yield
    host.run(["sh", "-c", "dpkg --purge slow; rm -f /root/slow.deb /run/slow"])


def _missing_package(subject: Subject) -> Trial:
    """Code, and a package that apt has to install."""
    subject.host.run(["dpkg", "--remove", "--force-depends", "ca-certificates"])
    return code_only(subject)


@contextlib.contextmanager
def _index_unreachable(case: Case) -> Iterator[None]:
    host = case.subject.host
    rules = f"""
        chain forward {{ type filter hook forward priority -10; ip saddr {host.address} reject; }}
        chain input {{ type filter hook input priority -10; ip saddr {host.address} ct direction original reject; }}
    """
    with host.network.disturbed(host.name, rules):
        yield


def _unseen_dependency(subject: Subject) -> Trial:
    old = subject.says
    subject.next_dependency(UNSEEN)
    return Trial(old=old, new=subject.says)


@contextlib.contextmanager
def _wheel_fails(case: Case) -> Iterator[None]:
    package = inside(case.subject.host) / "root/broken-1.0.tar.gz"
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "broken"\nversion = "1.0"\n',
        "backend.py": "raise SystemExit('this does not build')\n",
        "PKG-INFO": "Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n",
    }
    with tarfile.open(package, "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"broken-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    yield
    package.unlink()
    case.subject.edit(case.subject.edition)


def _broken_requirement(subject: Subject) -> Trial:
    old = subject.says
    subject.next_code()
    subject.edit(subject.edition, "broken @ file:///root/broken-1.0.tar.gz")
    return Trial(old=old, new=subject.says)


@contextlib.contextmanager
def _clock_jumps(case: Case) -> Iterator[None]:
    """The host's clock is a year ahead during the deploy, as it was during the runs before by the times of their
    journals, and right again for the next runs. Which release and which run was the last must not follow from it."""
    host = case.subject.host
    host.run(["sh", "-c", f"touch -d '1 year' {places.RUNS}/*.jsonl"])
    case.subject.ahead = True
    yield
    case.subject.ahead = False
    case.meanwhile = (str(case.trial.old), case.trial.new)
    case.converge("rollback", to=str(case.trial.old))
    case.converge("deploy", to=case.trial.new)


@contextlib.contextmanager
def _read_only(case: Case) -> Iterator[None]:
    host = case.subject.host
    host.run(["mount", "--bind", places.SITE, places.SITE])
    host.run(["mount", "-o", "remount,bind,ro", places.SITE])
    yield
    host.run(["umount", places.SITE])


def _site(subject: Subject) -> Trial:
    """Code, and a setting of nginx."""
    old = subject.says
    subject.next_site()
    return Trial(old=old, new=subject.says)


@contextlib.contextmanager
def _dies(case: Case) -> Iterator[None]:
    """The applications are declared to have to stay up for a while."""
    case.subject.settle(SETTLE)
    yield
    time.sleep(SETTLE)  # nothing can be polled for: that nothing happens is what should be seen
    case.subject.settle(0)
    case.subject.next_code()


@contextlib.contextmanager
def _hangs(case: Case) -> Iterator[None]:
    yield
    case.subject.next_code()


def _marked(ending: str) -> Callable[[Subject], Trial]:
    """Code that misbehaves as the ending of its mark says: see apps/one/app.py."""

    def prepare(subject: Subject) -> Trial:
        old = subject.says
        subject.next_code(ending)
        return Trial(old=old, new=subject.says)

    return prepare


@contextlib.contextmanager
def _port_taken(case: Case) -> Iterator[None]:
    script = """import http.server
class Busy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(503)
http.server.ThreadingHTTPServer(("", 80), Busy).serve_forever()
"""
    host = case.subject.host
    with _service(host, "somebodys-server", "python3", "-c", script):
        _wait(lambda: ask(host.address, places.APPS[0]).error == "status 503")
        yield


def _fresh(subject: Subject) -> Trial:
    return Trial(old=None, new=subject.says)


@contextlib.contextmanager
def _broken_nginx(case: Case) -> Iterator[None]:
    file = inside(case.subject.host) / Path(places.SITE).parent.relative_to("/") / "by-hand.conf"
    file.write_text("this { does not parse\n")
    yield
    file.unlink()


@contextlib.contextmanager
def _two_deploys(case: Case) -> Iterator[None]:
    """Another deploy of the same is held midway until this one waits for it."""
    host = case.subject.host
    boundary.clear(host)
    other = case.subject.controller(places.BEFORE_SWITCH, *case.trial.command)
    _wait(lambda: boundary.reached(host))
    alone = len(case.agents.processes())

    def let_go() -> None:
        _wait(lambda: len(case.agents.processes()) > alone + 1)
        boundary.release(host)

    waiting = threading.Thread(target=let_go)
    waiting.start()
    try:
        yield
        waiting.join()
        out, err = other.communicate(timeout=REACHES)
        if other.returncode != 0:
            case.violate(f"the other deploy ended with {other.returncode}: {(out + err)[-300:]}")
    finally:
        other.kill()
        other.communicate()


@contextlib.contextmanager
def _service(host: LabHost, name: str, *command: str) -> Iterator[None]:
    """Somebody else's process on the host."""
    host.run(["systemd-run", "--quiet", "--collect", f"--unit={name}", *command])
    try:
        yield
    finally:
        host.run(["systemctl", "stop", f"{name}.service"], check=False)


def _wait(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + REACHES
    while not happened():
        if time.monotonic() > deadline:
            raise RuntimeError(f"did not happen within {REACHES} s")
        time.sleep(0.05)


TROUBLES = (
    Trouble(name="disk full", cause=_disk_full, fails=True, kind="small"),
    Trouble(name="inodes used up", cause=_inodes_full, fails=True, kind="small"),
    Trouble(name="apt's lock held", cause=_apt_locked, prepare=_missing_package, fails=False),
    Trouble(name="index unreachable", cause=_index_unreachable, prepare=_unseen_dependency, fails=True),
    Trouble(name="wheel fails to build", cause=_wheel_fails, prepare=_broken_requirement, fails=True),
    Trouble(name="clock jumps", cause=_clock_jumps, fails=False),
    Trouble(name="read-only file", cause=_read_only, prepare=_site, fails=True),
    Trouble(name="dies after 5 s", cause=_dies, prepare=_marked("-dies"), fails=True),
    Trouble(name="health check hangs", cause=_hangs, prepare=_marked("-hangs"), fails=True),
    Trouble(name="port 80 taken", cause=_port_taken, prepare=_fresh, fails=True, kind="fresh"),
    Trouble(name="nginx edited by hand", cause=_broken_nginx, prepare=_site, fails=True),
    Trouble(name="two deploys at once", cause=_two_deploys, fails=False),
    Trouble(name="deploy during apt upgrade", cause=_upgrading, prepare=_missing_package, fails=False),
)
