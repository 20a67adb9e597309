"""In which order the hosts of a run have their turn, and when no further one begins: a pure function of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rackhand.errors import UserError
from rackhand.report import Report


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What a command line says of it: `serial` in Ansible's form, as "2", "30%" or "1,5,20%"; how many percent of a
    batch may fail; and whether a canary goes first where nothing is said of batches."""

    serial: str | None = None
    max_fail_percentage: str | None = None
    canary: bool = False


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """`batches` have the names of all hosts, and one begins when the one before has ended. With `canary`, the first
    host whose code changes goes alone, and the others whose code changes wait until it has ended well.

    Failed and unreachable hosts count alike. More than `max_fail` percent of a batch end the run: the hosts that are at
    work go on, no other begins. As no batch may have more, nor has the whole run. Without `max_fail`, a batch none of
    whose hosts ended well ends the run, as with Ansible."""

    batches: tuple[tuple[str, ...], ...]
    max_fail: float | None = None
    canary: bool = False

    @classmethod
    def of(cls, names: Sequence[str], pace: Pace) -> Rollout:
        """Raises UserError."""
        return cls(
            batches=tuple(_batches(names, _sizes(pace.serial, len(names)))),
            max_fail=_percentage(pace.max_fail_percentage),
            # Of two, whoever goes first is half of all.
            canary=pace.canary and pace.serial is None and len(names) > 2,
        )

    def batch_of(self, name: str) -> tuple[str, ...]:
        """The batch of a host."""
        return next(names for names in self.batches if name in names)

    def turn(self, report: Report) -> int:
        """The batch whose turn it is, counted from 0: the first in which a host has not ended, or else the last."""
        for number, names in enumerate(self.batches):
            if any(report.hosts[name].outcome is None for name in names):
                return number
        return len(self.batches) - 1

    def holds(self, report: Report) -> bool:
        """Whether a host whose code would change waits for the canary."""
        return self.canary and (report.canary is None or report.hosts[report.canary].outcome != "ok")

    def ready(self, report: Report) -> tuple[str, ...]:
        """The hosts that may begin now. One that is held, while there is no canary, begins as the canary."""
        if self.stopped(report) is not None:
            return ()
        names = [name for name in self.batches[self.turn(report)] if report.hosts[name].outcome is None]
        held = [name for name in names if report.hosts[name].phase == "held"]
        if self.holds(report):
            held = held[: report.canary is None]
        return (*held, *(name for name in names if report.hosts[name].phase == "waiting"))

    def stopped(self, report: Report) -> str | None:
        """Why no further host begins, if so."""
        if report.canary is not None and report.hosts[report.canary].bad:
            return f"the canary {report.canary} did not end well"
        for number, names in enumerate(self.batches, start=1):
            bad = sum(report.hosts[name].bad for name in names)
            what = f"{bad} of {len(names)} hosts" + (f" of batch {number}" if len(self.batches) > 1 else "")
            if self.max_fail is not None and bad * 100 > self.max_fail * len(names):
                return f"{what} did not end well, which is more than {self.max_fail:g} %"
            if self.max_fail is None and bad == len(names) and len(self.batches) > 1:
                return f"{what} did not end well"
        return None


def _batches(names: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, ...]]:
    """The last size is that of all further batches."""
    batches: list[tuple[str, ...]] = []
    begun = 0
    while begun < len(names):
        size = sizes[min(len(batches), len(sizes) - 1)]
        batches.append(tuple(names[begun : begun + size]))
        begun += size
    return batches


def _sizes(serial: str | None, count: int) -> list[int]:
    return [count] if serial is None else [_size(part.strip(), count, serial) for part in serial.split(",")]


def _size(part: str, count: int, serial: str) -> int:
    """A number of hosts, or percents of all, rounded down to one at least."""
    number, percent, rest = part.partition("%")
    if not number.isascii() or not number.isdigit() or rest or int(number) < 1 or (percent and int(number) > 100):
        raise UserError(f"--serial should be like 2, 30% or 1,5,20%, got {serial}")
    return max(1, count * int(number) // 100) if percent else int(number)


def _percentage(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if not 0 <= number <= 100:
        raise UserError(f"--max-fail-percentage should be from 0 to 100, got {text}")
    return number
