"""One task reads the host; any number of clients follow it at their own pace."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from host_metrics.metrics import Metrics, between
from host_metrics.readings import Reading, read_host

logger = logging.getLogger(__name__)

TICK_SECONDS = 1
"""From one reading to the next, and so the unit of clients' intervals."""


class Sampler:
    """Keeps the latest reading and wakes those who wait for the next one.

    Clients have no queues that could fill up: each compares the latest reading with the one it used last. A slow
    client therefore skips readings, costs no memory, holds up nobody, and its rates still cover the whole time.
    """

    def __init__(self, read: Callable[[], Reading] = read_host) -> None:
        self._read = read
        self._previous = self._latest = read()
        self._ticks = 0
        self._tick = asyncio.Event()
        self._ending = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        # A first difference, so that a client that comes at once need not wait for a whole tick.
        await asyncio.sleep(TICK_SECONDS / 10)
        self.tick()
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self.end_streams()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def latest(self) -> Metrics:
        """The host over the last tick."""
        return between(self._previous, self._latest)

    async def stream(self, interval: int) -> AsyncIterator[Metrics]:
        """The host now, then every `interval` seconds, until `end_streams` is called or the client leaves."""
        before = self._previous
        while not self._ending:
            used, due = self._latest, self._ticks + interval // TICK_SECONDS
            yield between(before, used)
            before = used
            while self._ticks < due and not self._ending:
                await self._tick.wait()

    def tick(self) -> None:
        """Take a reading and let everyone know."""
        self._previous, self._latest = self._latest, self._read()
        self._ticks += 1
        self._wake()

    def end_streams(self) -> None:
        """Every stream, also one that is only about to start, ends as soon as its client has taken the last item."""
        self._ending = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._tick = self._tick, asyncio.Event()
        waiting.set()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                self.tick()
            except OSError:
                logger.exception("The host could not be read; trying again")
