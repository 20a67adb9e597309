"""How an application could be served, and which of the ways that were measured is the best."""

from collections.abc import Sequence
from dataclasses import dataclass

from rackhand.settings import Server, Worker

#: How many threads a worker is tried with.
THREADS = (2, 4, 8)

#: Of the numbers of workers, no more than these are tried.
COUNTS = 9

#: What is within this part of the best counts as being as good.
NEAR = 0.05


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How an application is served. `threads` is 0 for workers that have none."""

    worker: Worker
    workers: int
    threads: int = 0

    def __str__(self) -> str:
        threads = f", threads: {self.threads}" if self.threads else ""
        return f"worker: {self.worker}, workers: {self.workers}{threads}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How a setting did: requests per second, the time in seconds that all but a hundredth of the answers took at
    most, and bytes of memory. `failed` says why its figures do not count."""

    setting: Setting
    rate: float = 0.0
    p99: float = 0.0
    memory: int = 0
    failed: str | None = None


def settings(now: Setting, cores: int, *, server: Server, asgi: bool) -> tuple[Setting, ...]:
    """What is tried of an application that is served so now: each kind of worker that fits it, from one worker to twice
    the cores and one more."""
    found = [
        Setting(worker=kind, workers=count, threads=threads)
        for kind, numbers in _kinds(server, asgi)
        for threads in numbers
        for count in _counts(2 * cores + 1)
    ]
    return tuple(found if now in found else [*found, now])


def _kinds(server: Server, asgi: bool) -> tuple[tuple[Worker, tuple[int, ...]], ...]:
    """The kinds of workers, each with the numbers of threads."""
    if server == "uvicorn":
        return (("uvicorn", (0,) if asgi else THREADS),)
    return (("uvicorn", (0,)), ("asgi", (0,))) if asgi else (("sync", (0,)), ("gthread", THREADS))


def _counts(most: int) -> list[int]:
    """All numbers up to the greatest; of very many, some at equal distances, the first and the last among them."""
    if most <= COUNTS:
        return list(range(1, most + 1))
    return sorted({round(1 + step * (most - 1) / (COUNTS - 1)) for step in range(COUNTS)})


def best(measured: Sequence[Measured]) -> Measured | None:
    """The smallest setting that answers about as many requests as the best: the one with the fewest workers, of these
    the one with the fewest threads, then the least memory. None when all have failed."""
    good = [each for each in measured if each.failed is None]
    enough = max((each.rate for each in good), default=0.0) * (1 - NEAR)
    near = (each for each in good if each.rate >= enough)
    return min(near, key=lambda each: (each.setting.workers, each.setting.threads, each.memory), default=None)
