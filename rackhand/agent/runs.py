"""The runs of a host: one at a time changes it, each keeps a journal, and the next one sees how the last one ended."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from typing import IO, Any

from rackhand.agent import files, layout
from rackhand.agent.channel import Channel
from rackhand.agent.events import Emitter

#: How many runs a host remembers.
KEPT = 20
#: Seconds between two looks at a run that is waited for.
_LOOK = 0.1


class Interrupted(Exception):
    """The controller of a run that waits for another one asks it to stop, or went away."""


class Lock:
    """Held by the run that changes the host; the file says which. The kernel lets go of it when its holder ends,
    however it ends, so what the file says has no meaning while nobody holds it."""

    def __enter__(self) -> Lock:
        # Nobody else may open it: whoever can may also lock it.
        self._file = os.open(layout.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def take(self, run: str) -> bool:
        """Whether it is this run's now."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, run.encode(), 0)
        return True

    def holder(self) -> str:
        """The run that holds it, or the one before when that has not written its name yet."""
        return os.path.basename(os.pread(self._file, 255, 0).decode(errors="replace"))


class Following:
    """Another run's journal, read while that is being written."""

    def __init__(self, run: str) -> None:
        self.run = run
        self._file: IO[bytes] | None = None
        self._part = b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def news(self) -> Iterator[dict[str, Any]]:
        """The events since the last call, from the run's first one on."""
        if self._file is None:
            try:
                self._file = open(journal(self.run), "rb")  # noqa: SIM115  # open from one call to the next
            except OSError:  # it has not got so far
                return
        *lines, self._part = (self._part + self._file.read()).split(b"\n")
        yield from _parsed(lines)


def turn(lock: Lock, run: str, channel: Channel, emit: Emitter) -> str | None:
    """Waits until the lock is this run's. Until then it passes on what the runs before it say, from the first event of
    each; it returns the last of these. Raises Interrupted."""
    other: Following | None = None
    last = None
    try:
        while not lock.take(run):
            holder = lock.holder()
            # Only what stands there twice is the holder's: it takes the lock before it writes its name.
            if holder == last and (other is None or other.run != holder):
                if other is not None:
                    _pass_on(other, emit)
                    other.close()
                other = Following(holder)
                who = f"run {holder}" if holder else "another run"
                emit("notice", level="info", text=f"{who} is changing this host: waiting for it to end")
            if other is not None:
                _pass_on(other, emit)
            last = holder
            _stop_if_asked(channel, within=_LOOK)
        if other is None:
            return None
        _pass_on(other, emit)
        _stop_if_asked(channel)
        return other.run
    finally:
        if other is not None:
            other.close()


def _pass_on(other: Following, emit: Emitter) -> None:
    for event in other.news():
        emit("other", of=other.run, said=event)


def _stop_if_asked(channel: Channel, within: float = 0) -> None:
    if channel.cancelled(within):
        raise Interrupted("interrupted while another run was changing the host")
    if channel.closed:
        raise Interrupted("the controller went away while another run was changing the host")


def journal(run: str) -> str:
    return f"{layout.RUNS}/{run}.jsonl"


def begin(run: str) -> str:
    """Makes room for the journal of a run, which is the last one from now on, and returns its path."""
    os.makedirs(layout.RUNS, mode=0o700, exist_ok=True)
    path = journal(run)
    others = [entry for entry in os.scandir(layout.RUNS) if entry.name.endswith(".jsonl") and entry.path != path]
    for old in sorted(others, key=lambda entry: entry.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        os.unlink(old.path)
    # A clock may jump, so what is the last run does not follow from times.
    files.link(layout.LAST_RUN, os.path.basename(path))
    return path


def last() -> dict[str, Any] | None:
    """What the journal of the last run that could change the host says of it, or None when there was none. `end` is
    its last event, None when it was cut off or is still at work; `at` is the last resource it had begun with, `done`
    whether it was done with that; `heard` whether its controller knows how it ended."""
    try:
        target = os.readlink(layout.LAST_RUN)
    except OSError:
        return None
    found: dict[str, Any] = {"run": target.removesuffix(".jsonl"), "command": None, "who": None, "time": None}
    found |= {"at": None, "done": True, "end": None, "heard": False}
    try:
        with open(f"{layout.RUNS}/{target}", "rb") as file:
            for event in _parsed(file):
                match event["event"]:
                    case "start":
                        found |= {key: event[key] for key in ("command", "who", "time")}
                        found |= {"at": None, "done": True, "end": None, "heard": False}
                    case "begin":
                        found |= {"at": event["id"], "done": False}
                    case "resource":
                        found["done"] = True
                    case "end":
                        found["end"] = event
                    case "heard":
                        found["heard"] = True
    except OSError:  # it was cut off before it could write anything
        pass
    return found


def at_work() -> bool:
    """Whether a run is changing the host now."""
    try:
        with open(layout.LOCK, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The events of a journal. A full disk or a power cut may have left half a line."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event
