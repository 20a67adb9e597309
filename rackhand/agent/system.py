"""The host as resources see it: files below a root, commands, and what systemd says."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence

UNIT_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,MainPID,NRestarts,ActiveEnterTimestamp"
)

#: Bytes that a command which was begun may say before somebody hears it: the most that pipe(7) lets anybody have.
_ROOM = 2**20

#: What systemd says of a unit, by property.
Unit = Mapping[str, str]


class CommandError(Exception):
    """A command on the host that failed, with the end of what it said."""

    def __init__(self, argv: tuple[str, ...], code: int | None, output: str) -> None:
        self.argv, self.code, self.output = argv, code, output
        why = f"ended with {code}" if code is not None else "took too long"
        said = "\n".join(output.strip().splitlines()[-15:])
        super().__init__(f"{' '.join(argv[:4])}{' …' if len(argv) > 4 else ''}: {why}{': ' if said else ''}{said}")


class System:
    """A host whose files lie below `root` ("/" but for tests). What systemd says is asked again after a change only."""

    def __init__(self, root: str = "/", fetch: Callable[[str], str] | None = None, run_id: str = "") -> None:
        self.root = root
        self.run_id = run_id
        self._fetch = fetch
        self._units: dict[str, Unit] = {}
        self._watched: tuple[str, ...] = ()
        self._begun: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}

    def path(self, path: str) -> str:
        return path if self.root == "/" else os.path.join(self.root, path.lstrip("/"))

    def run(
        self,
        *argv: str,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str | None = None,
        tied: bool = False,
    ) -> str:
        """Runs a command without a shell and returns what it printed. One that is `tied` ends with this process,
        however that ends: it must not go on beside the next run. Raises CommandError."""
        try:
            process = self._begun.pop(argv, None) or _start(argv, env, user, cwd, ends_with_this() if tied else None)
        except FileNotFoundError:
            raise CommandError(argv, 127, f"{argv[0]} is not installed") from None
        with process:
            try:
                said = process.communicate(timeout=timeout)[0]
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise CommandError(argv, None, (error.stdout or b"").decode(errors="replace")) from None
            except BaseException:
                process.kill()
                raise
        output = said.decode(errors="replace")
        if process.returncode != 0:
            raise CommandError(argv, process.returncode, output)
        return output

    def begin(self, *argv: str) -> None:
        """Starts a command that only reads, which `run` will be asked for: its answer may come while other things are
        done. What is begun is to be left (`leave`) before anything changes."""
        with contextlib.suppress(OSError):  # `run` tells
            self._begun[argv] = _start(argv, pipesize=_ROOM)

    def leave(self) -> None:
        """Ends what was begun and not asked for: it may say what is no longer so."""
        for process in self._begun.values():
            with process:
                process.kill()
        self._begun = {}

    def blob(self, digest: str) -> str:
        """The path of the file that holds the data of this digest, sent by the controller."""
        if self._fetch is None:
            raise LookupError(f"no blob {digest}")
        return self._fetch(digest)

    def watch(self, patterns: Iterable[str]) -> None:
        """Names the units that will be asked for: systemd is asked for all of them at once, beginning now."""
        self._watched = tuple(dict.fromkeys(patterns))
        self._units = {}
        if self._watched:
            self.begin(*_show(self._watched))

    def units(self, pattern: str) -> list[Unit]:
        """What systemd says of the loaded units of a name or pattern that is watched."""
        if not any(fnmatch.fnmatchcase(pattern, watched) for watched in self._watched):
            self._watched = (*self._watched, pattern)
            self._units = {}
        if not self._units:
            self._units = {unit["Id"]: unit for unit in self.show(*self._watched)}
        return [unit for name, unit in self._units.items() if fnmatch.fnmatchcase(name, pattern)]

    def unit(self, name: str) -> Unit:
        """What systemd says of a unit. An unknown one has LoadState not-found."""
        found = self.units(name)
        return found[0] if found else {"Id": name, "LoadState": "not-found", "ActiveState": "inactive"}

    def show(self, *patterns: str) -> list[Unit]:
        """What systemd says of the loaded units of these names or patterns."""
        if not patterns:
            return []
        output = self.run(*_show(patterns))
        blocks = (block for block in output.split("\n\n") if block.strip())
        return [dict(line.partition("=")[::2] for line in block.strip().splitlines()) for block in blocks]

    def systemctl(self, *arguments: str, timeout: float = 120) -> None:
        """Has systemd change something."""
        try:
            self.run("systemctl", "--quiet", *arguments, timeout=timeout)
        finally:
            self.forget_units()

    def forget_units(self) -> None:
        self._units = {}


def _show(patterns: Sequence[str]) -> tuple[str, ...]:
    return ("systemctl", "show", "--property", UNIT_PROPERTIES, "--", *patterns)


def _start(
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    cwd: str | None = None,
    tie: Callable[[], None] | None = None,
    pipesize: int = -1,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
        user=user,
        cwd=cwd,
        preexec_fn=tie,
        pipesize=pipesize,
    )


def ends_with_this() -> Callable[[], None]:
    """To be called in a child process of this one, which is then killed when the thread that has made it ends. All that
    may wait for another thread, which the child does not have, is done here."""
    import ctypes

    pr_set_pdeathsig = 1
    parent = os.getpid()
    tie = functools.partial(ctypes.CDLL(None).prctl, pr_set_pdeathsig, int(signal.SIGKILL))

    def end_with_it() -> None:
        tie()
        if os.getppid() != parent:  # it has ended before it could be tied
            os._exit(1)

    return end_with_it
