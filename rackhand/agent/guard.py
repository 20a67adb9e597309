"""The host takes a change back by itself when the controller does not confirm it over a new connection.

Before the first change that can cut the controller off, what is there now is kept in a folder, with this agent and a
script that puts it back. A timer of systemd runs that script, and so does a unit at boot, so that neither the end of
the agent nor of the controller nor of the power keeps the host from it. A second agent, over a new connection, confirms
the change by taking the folder away.

Whoever confirms or puts back holds a lock on the folder, and the agent at work holds it while it changes things. What
has become of the folder is written to a file in it that the agent at work keeps open.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rackhand.agent import files, layout
from rackhand.agent.events import Emitter
from rackhand.agent.resource import Resource, ResourceError
from rackhand.agent.system import CommandError, System

#: Seconds for a run to let go of the folder, or for the host to put everything back.
PATIENCE = 60

CONFIRMED, PUT_BACK = "confirmed", "put back"

_TIMER = layout.GUARD_UNIT.replace(".service", ".timer")
_TAKEN = f"{layout.GUARD}.taken"
_MANIFEST, _VERDICT, _AGENT, _REVERT = "before.json", "verdict", "agent.zip", "revert"


class Guard:
    """Guards the changes of one run. `heard` gives what the controller has said of a failed confirmation, if it has."""

    def __init__(
        self, resources: Iterable[Resource], *, run: str, within: int, emit: Emitter, heard: Callable[[], str | None]
    ) -> None:
        self._resources = [resource for resource in resources if resource.cuts_off]
        self._run = run
        self._within = within
        self._emit = emit
        self._heard = heard
        self._changing: list[str] = []
        self._lock: int | None = None
        self._verdict = -1
        self._armed = 0.0

    @property
    def armed(self) -> bool:
        return self._lock is not None

    def arm(self, resource: Resource, system: System) -> None:
        """Makes sure that the host will put this resource back, and all others of the plan that can cut the controller
        off. All is on disk when this returns."""
        self._changing.append(resource.id)
        if self.armed:
            return
        before = [resource.before(system) for resource in self._resources]
        self._lock = _keep(
            run=self._run,
            paths=[path for each in before for path in each.files],
            commands=[command for each in before for command in each.commands],
        )
        self._verdict = os.open(os.path.join(layout.GUARD, _VERDICT), os.O_RDONLY)
        try:
            with contextlib.suppress(CommandError):
                system.systemctl("stop", _TIMER)
            system.run(
                "systemd-run",
                "--quiet",
                f"--on-active={self._within}",
                "--timer-property=AccuracySec=1s",
                f"--unit={layout.GUARD_UNIT}",
            )
        except CommandError:
            files.remove(layout.GUARD)
            self._release()
            raise
        self._armed = time.monotonic()

    def settle(self, system: System) -> str | None:
        """Waits for the confirmation. Returns why the host has put everything back, or None when it was confirmed."""
        left = max(0.0, self._armed + self._within - time.monotonic())
        self._emit("confirm", within=round(left, 1), resources=self._changing)
        self._release()
        reason: str | None = None
        deadline = time.monotonic() + left + PATIENCE
        while not (verdict := self._read()) and time.monotonic() < deadline:
            reason = self._heard()
            if reason is not None:
                self._revert_now(system)
                break
            time.sleep(0.1)
        if verdict == CONFIRMED or self._read() == CONFIRMED:
            return None
        if os.path.exists(layout.GUARD):
            self._revert_now(system)
        why = reason or self._heard() or f"the controller was not heard of within {self._within} s"
        return f"not confirmed over a new connection ({why}): {self._said()}"

    def give_up(self, system: System) -> str:
        """Has the host put everything back at once, and says what came of it."""
        self._release()
        self._revert_now(system)
        return self._said()

    def _said(self) -> str:
        ids = ", ".join(self._changing)
        verdict = self._read()
        if os.path.exists(layout.GUARD):
            return f"{ids} could not be put back: {verdict or 'see journalctl -u rackhand-guard'}"
        return f"{ids} put back" + verdict.removeprefix(PUT_BACK)

    def _read(self) -> str:
        return os.pread(self._verdict, 2**16, 0).decode(errors="replace")

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _revert_now(self, system: System) -> None:
        with contextlib.suppress(CommandError):
            system.systemctl("start", layout.GUARD_UNIT)


def _keep(*, run: str, paths: Iterable[str], commands: Iterable[tuple[tuple[str, ...], str]]) -> int:
    """Makes the folder, whole or not at all, and returns the lock on it."""
    coming = files.beside(layout.GUARD)
    for leftover in (coming, _TAKEN):
        files.remove(leftover)
    os.makedirs(layout.STATE, mode=0o700, exist_ok=True)
    os.mkdir(coming, 0o700)
    manifest = {
        "run": run,
        "boot": _boot(),
        "files": [_copy(path, os.path.join(coming, str(number))) for number, path in enumerate(dict.fromkeys(paths))],
        "commands": list(commands),
    }
    for name, content in (
        (_MANIFEST, json.dumps(manifest)),
        (_VERDICT, ""),
        (_REVERT, _script(sys.executable)),
    ):
        files.write(os.path.join(coming, name), content, "root:root", "0600")
    _keep_agent(os.path.join(coming, _AGENT))
    files.sync_filesystem(coming)
    lock = os.open(coming, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(coming, layout.GUARD)
    files.sync_folder(layout.GUARD)
    return lock


def _keep_agent(path: str) -> None:
    """Writes this agent as an archive that Python can import from."""
    import zipfile

    from rackhand.agent.importer import Importer

    assert __spec__ is not None
    assert isinstance(__spec__.loader, Importer)
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in __spec__.loader.sources.items():
            archive.writestr(name, source)


def _script(interpreter: str) -> str:
    """Run by a shell, so that it is run where programs may not be (noexec), with the interpreter that runs this."""
    code = f"import sys; sys.path.insert(0, {f'{layout.GUARD}/{_AGENT}'!r}); from rackhand.agent import guard; "
    return f"exec {shlex.quote(interpreter)} -I -S -B -c {shlex.quote(code + 'sys.exit(guard.put_back())')}\n"


def _copy_file(path: str, copy: str) -> None:
    import shutil

    shutil.copyfile(path, copy)


def _copy(path: str, copy: str) -> dict[str, Any]:
    """Keeps a file, and says what it is."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return {"path": path, "kind": "absent"}
    if stat.S_ISLNK(status.st_mode):
        return {"path": path, "kind": "link", "target": os.readlink(path)}
    if not stat.S_ISREG(status.st_mode):
        raise ResourceError(f"{path} is there, and is not a file: move it away, then run this again")
    _copy_file(path, copy)
    owner = {"uid": status.st_uid, "gid": status.st_gid, "mode": stat.S_IMODE(status.st_mode)}
    return {"path": path, "kind": "file", "copy": os.path.basename(copy), **owner}


def wait_for_earlier(system: System, emit: Emitter) -> None:
    """Nothing is built on what an earlier run has not had confirmed: its guard is waited for. Raises ResourceError."""
    if not os.path.exists(layout.GUARD):
        return
    text = "an earlier run has changed how this host is reached, unconfirmed: waiting for the host to put that back"
    emit("notice", level="info", text=text)
    deadline = time.monotonic() + PATIENCE
    while os.path.exists(layout.GUARD):
        timer, service = (system.show(unit) for unit in (_TIMER, layout.GUARD_UNIT))
        waiting = any(unit["ActiveState"] in ("active", "activating") for unit in (*timer, *service))
        if waiting and "waiting" in [unit["SubState"] for unit in timer]:
            deadline = time.monotonic() + PATIENCE
        elif not waiting:
            with contextlib.suppress(CommandError):
                system.systemctl("start", layout.GUARD_UNIT)
        if time.monotonic() > deadline:
            said = files.read_text(os.path.join(layout.GUARD, _VERDICT)) or "see journalctl -u rackhand-guard"
            raise ResourceError(f"what an earlier run has changed could not be put back: {said}")
        time.sleep(0.2)


def confirm(run: str, system: System) -> str | None:
    """Keeps what the run has changed. Returns why that cannot be, or None."""
    with _locked() as folder:
        if folder is None or json.loads(files.read_text(os.path.join(layout.GUARD, _MANIFEST)) or "{}")["run"] != run:
            return "the host has put everything back already"
        verdict = os.open(os.path.join(layout.GUARD, _VERDICT), os.O_WRONLY)
        os.rename(layout.GUARD, _TAKEN)  # from here on nobody puts anything back, not even after a power cut
        files.sync_folder(layout.GUARD)
        with contextlib.suppress(CommandError):
            system.systemctl("stop", _TIMER)
        files.remove(_TAKEN)
        os.write(verdict, CONFIRMED.encode())
    return None


def put_back() -> int:
    """What the timer, or a boot, runs. The folder goes when all files are as they were; what was said goes with it to
    the agent that holds it open."""
    with _locked() as folder:
        if folder is None:
            return 0
        manifest = json.loads(files.read_text(os.path.join(layout.GUARD, _MANIFEST)) or "{}")
        verdict = os.open(os.path.join(layout.GUARD, _VERDICT), os.O_WRONLY)
        try:
            for entry in manifest["files"]:
                _restore(entry)
        except OSError as error:
            os.write(verdict, str(error).encode())
            print(f"run {manifest['run']}: {error}", file=sys.stderr)
            return 1
        problems = []
        if manifest["boot"] == _boot():
            for argv, said in manifest["commands"]:
                problems += _run(argv, said)
            _run(["systemctl", "--quiet", "stop", _TIMER], "")  # there when a run has not waited for it
        files.remove(layout.GUARD)
        files.sync_folder(layout.GUARD)
        os.write(verdict, "; ".join([PUT_BACK, *problems]).encode())
        print("; ".join([f"run {manifest['run']}: an unconfirmed change was put back", *problems]))
    return 0


def _run(argv: list[str], said: str) -> list[str]:
    """Runs one command, and gives what is to be told of it."""
    try:
        subprocess.run(
            argv, input=said, capture_output=True, text=True, errors="replace", check=True, timeout=PATIENCE / 2
        )
    except subprocess.CalledProcessError as error:
        return [f"{' '.join(argv)}: {(error.stderr or error.stdout).strip()}"]
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"{' '.join(argv)}: {error}"]
    return []


def _restore(entry: dict[str, Any]) -> None:
    path = entry["path"]
    if entry["kind"] == "absent":
        files.remove(path)
    elif entry["kind"] == "link":
        files.link(path, entry["target"])
    else:
        coming = files.beside(path)
        files.remove(coming)
        _copy_file(os.path.join(layout.GUARD, entry["copy"]), coming)
        os.chown(coming, entry["uid"], entry["gid"])
        os.chmod(coming, entry["mode"])
        with open(coming, "rb") as file:
            os.fsync(file.fileno())
        os.replace(coming, path)
    if os.path.isdir(os.path.dirname(path)):
        files.sync_folder(path)


@contextlib.contextmanager
def _locked() -> Iterator[int | None]:
    """The folder, once nobody else is at work with it; None when there is none any more. After a while it goes on
    without the lock: a run that hangs must not keep the host from putting things back."""
    try:
        folder = os.open(layout.GUARD, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield None
        return
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
        same = os.path.exists(layout.GUARD) and os.path.samestat(os.stat(layout.GUARD), os.fstat(folder))
        yield folder if same else None
    finally:
        os.close(folder)


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
