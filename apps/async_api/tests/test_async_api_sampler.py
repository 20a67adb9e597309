import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from host_metrics.metrics import Metrics
from host_metrics.readings import Reading, read_host
from host_metrics.sampler import Sampler


@pytest.fixture
def sampler() -> Sampler:
    """One whose clock is moved by hand: every reading is one second after the one before."""
    readings = 0
    template = read_host()

    def read() -> Reading:
        nonlocal readings
        readings += 1
        return replace(template, clock=float(readings))

    sampler = Sampler(read=read)
    sampler.tick()
    return sampler


async def next_of(stream: AsyncIterator[Metrics]) -> "asyncio.Task[Metrics]":
    """Asks for the next item and lets everything run that can."""

    async def item() -> Metrics:
        return await anext(stream)

    task = asyncio.create_task(item())
    await settle()
    return task


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_client_gets_the_first_item_at_once_and_the_next_at_its_own_interval(sampler: Sampler) -> None:
    async def scenario() -> None:
        stream = sampler.stream(3)
        assert (await next_of(stream)).result().period_seconds == 1
        second = await next_of(stream)
        for _ in range(2):
            sampler.tick()
            await settle()
            assert not second.done()
        sampler.tick()
        await settle()
        assert second.result().period_seconds == 3

    asyncio.run(scenario())


def test_a_slow_client_skips_readings_and_its_rates_cover_the_whole_time(sampler: Sampler) -> None:
    async def scenario() -> None:
        slow, quick = sampler.stream(1), sampler.stream(1)
        await next_of(slow)
        await next_of(quick)
        for _ in range(5):
            waiting = await next_of(quick)
            sampler.tick()
            await settle()
            assert waiting.result().period_seconds == 1
        assert (await next_of(slow)).result().period_seconds == 5
        assert not (await next_of(slow)).done()  # Nothing was queued for it.

    asyncio.run(scenario())


def test_streams_end_when_told_waiting_or_not_yet_started(sampler: Sampler) -> None:
    async def scenario() -> None:
        waiting = sampler.stream(60)
        await next_of(waiting)
        end = await next_of(waiting)
        late = sampler.stream(1)
        sampler.end_streams()
        await settle()
        for task in (end, await next_of(late)):
            assert isinstance(task.exception(), StopAsyncIteration)

    asyncio.run(scenario())


def test_a_reading_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("host_metrics.sampler.TICK_SECONDS", 0.01)
    calls = 0

    def read() -> Reading:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise PermissionError("not now")
        return read_host()

    async def scenario() -> None:
        async with Sampler(read=read).running():
            while calls < 6:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(scenario(), timeout=20))
    assert [record.message for record in caplog.records] == ["The host could not be read; trying again"]
