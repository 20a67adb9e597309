"""What the lab needs of the machine it runs on: root, a few programs, a lock, a cache folder, its mounts."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rackhand.errors import UserError

PACKAGES = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
}
# Of every program that the lab starts: a root shell made by `su` has no sbin in its PATH.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
}
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 8192
# What it was before us. Like the setting itself, it is gone after a reboot.
INOTIFY_BEFORE = Path("/run/rackhand-lab-inotify")
NSPAWN_RUN = Path("/run/systemd/nspawn")
# The source of a mount is a free text: it says which tmpfs is ours, for exactly as long as the mount lives.
OURS = "rackhand-lab"


def ensure_packages() -> None:
    """Install the Debian packages that the lab needs and this machine lacks; without root, say which they are."""
    missing = _missing()
    if os.geteuid() != 0:
        first = f"install {' '.join(missing)} (`apt-get install {' '.join(missing)}`) and " if missing else ""
        raise UserError(f"lab hosts are containers of this machine and need root: {first}run this again as root")
    if not missing:
        return
    cache().mkdir(parents=True, exist_ok=True)
    with locked(cache()):
        if missing := _missing():  # nobody else has installed them meanwhile
            print(f"lab: installing {' '.join(missing)}", file=sys.stderr)
            run("apt-get", "update", "-qq")
            run("apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing)


def _missing() -> list[str]:
    return sorted({package for program, package in PACKAGES.items() if not _which(program)})


def _which(program: str) -> str | None:
    return shutil.which(program, path=ENVIRONMENT["PATH"])


def start(
    command: Sequence[str | Path],
    *,
    stdin: str = "",
    output: TextIO | int = subprocess.PIPE,
    keep_open: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. What it prints goes to `output`; it inherits only the descriptors in `keep_open`."""
    return subprocess.run(
        command, input=stdin, stdout=output, stderr=output, text=True, errors="replace", pass_fds=keep_open,
        cwd="/", env=ENVIRONMENT, check=False,
    )  # fmt: skip


def run(*command: str | Path, stdin: str = "") -> str:
    """The standard output of a program; a UserError with the last lines of its standard error when it fails."""
    done = start(command, stdin=stdin)
    if done.returncode:
        raise UserError(f"`{' '.join(map(str, command))}` failed (exit {done.returncode}): {tail(done.stderr)}")
    return done.stdout


def tail(text: str, lines: int = 5) -> str:
    """The last lines of a program's output, for an error message."""
    return "\n".join(text.strip().splitlines()[-lines:]) or "it printed nothing"


def cache() -> Path:
    """The folder of the images and of every lab's hosts."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rackhand" / "lab"


def record(path: Path, text: str) -> None:
    """Write a file of the lab's own: it is there whole or not at all, whoever reads it meanwhile, and wherever this
    process is killed."""
    unfinished = path.with_name(f".{path.name}.unfinished")  # in a folder of inventories, none that is read
    unfinished.write_text(text)
    unfinished.rename(path)


@contextmanager
def locked(path: Path = Path("/run")) -> Iterator[int]:
    """Hold the lock on a file or folder. On /run it is the lab's lock on the machine, and leaves no file behind."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One line of /proc/mounts."""

    source: str
    point: Path
    type: str
    options: tuple[str, ...]


def mounts() -> list[Mount]:
    """What is mounted, in the order in which it was."""
    rows = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return [
        Mount(source=source, point=Path(_unescape(point)), type=kind, options=tuple(_unescape(options).split(",")))
        for source, point, kind, options, *_ in rows
    ]


def _unescape(text: str) -> str:
    return text.encode().decode("unicode_escape")


def unmount_below(folder: Path) -> None:
    """Unmount everything at or below a folder, last mounted first."""
    for mount in reversed(mounts()):
        if mount.point.is_relative_to(folder):
            run("umount", "--lazy", mount.point)


def mount_nspawn_run() -> None:
    """systemd-nspawn wants its run folder on a tmpfs; where /run is none (no systemd as PID 1), mount one."""
    NSPAWN_RUN.mkdir(parents=True, exist_ok=True)
    if run("stat", "--file-system", "--format=%T", NSPAWN_RUN).strip() != "tmpfs":
        run("mount", "-t", "tmpfs", "-o", "mode=755", OURS, NSPAWN_RUN)


def allow_many() -> None:
    """Let systemd run in many containers at once: each takes some ten inotify instances of the one user that they all
    run as, and a machine allows 128."""
    before = int(INOTIFY.read_text())
    if before < INOTIFY_INSTANCES:
        record(INOTIFY_BEFORE, str(before))
        INOTIFY.write_text(str(INOTIFY_INSTANCES))


def undo_allow_many() -> None:
    """Give the machine its own setting back."""
    if INOTIFY_BEFORE.exists():
        INOTIFY.write_text(INOTIFY_BEFORE.read_text())
        INOTIFY_BEFORE.unlink()


def unmount_nspawn_run() -> None:
    """Undo `mount_nspawn_run`, if it was us."""
    if any(mount.source == OURS and mount.point == NSPAWN_RUN for mount in mounts()):
        run("umount", "--lazy", NSPAWN_RUN)
        with suppress(OSError):  # what the mount hid was not ours
            NSPAWN_RUN.rmdir()
