"""Steady mixed traffic for an application under test, from clients that never send anything twice."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

Kind = Literal["get", "post", "kept get", "kept post", "upload", "slow", "websocket", "events"]

#: Seconds that a slow response takes.
SLOW = 3.0
#: Seconds between two messages on a WebSocket.
ECHO = 0.5
#: Seconds after which a request without an answer is lost.
PATIENCE = 40.0
#: Bytes of an upload.
UPLOAD = 1_000_000
#: Requests that are answered at once: they tell how long nothing was answered.
_PLAIN = ("get", "post", "kept get", "kept post")
#: How often a second each kind is sent, as a part of an application's rate.
_SHARES: dict[Kind, float] = {"get": 0.25, "kept get": 0.24, "post": 0.25, "kept post": 0.24, "upload": 0.02}
#: Connections that are kept, for each kind and application.
_KEPT = 3
#: WebSockets and event streams that are open, for each application that has them.
_OPEN = 2


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What one application gets. `path` is its route; `streams` adds WebSockets and event streams, `slow` slow
    responses, one after the other."""

    app: str
    path: str
    streams: bool = False
    slow: bool = True


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request, WebSocket or event stream, with times in seconds of the monotonic clock. `instance` is who answered
    first; `error` says how it was lost. `code` is a WebSocket's close code; `complete` whether a response's body has
    come to its end."""

    kind: Kind
    app: str
    start: float
    end: float
    instance: str | None = None
    error: str | None = None
    code: int | None = None
    complete: bool = False


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a server ended a WebSocket or an event stream: `after` how many seconds since another instance had answered
    for the first time, None if none had."""

    app: str
    instance: str | None
    code: int | None
    complete: bool
    after: float | None


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What has come of it all. `gap` is the longest time in seconds in which an application answered no plain request;
    `instances` are those that answered, by application and in order; `spanning` counts the slow responses of an
    instance that ended after the next one had answered. `closed_idle` counts kept connections that the server closed
    while no request was on them, which loses none."""

    sent: int
    kinds: dict[str, int]
    lost: tuple[Exchange, ...]
    gap: float
    instances: dict[str, tuple[str, ...]]
    spanning: int
    websockets: tuple[Ending, ...]
    events: tuple[Ending, ...]
    closed_idle: int

    def __str__(self) -> str:
        lines = [f"{self.sent} sent, {len(self.lost)} lost, longest gap {self.gap:.2f} s, spanning {self.spanning}"]
        lines += [", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items()))]
        lines += [f"  lost: {each.app} {each.kind}: {each.error}" for each in self.lost[:20]]
        lines += [f"  {app}: {', '.join(names)}" for app, names in self.instances.items()]
        for name, endings in (("websocket", self.websockets), ("events", self.events)):
            for (app, code, complete), group in itertools.groupby(
                sorted(endings, key=lambda e: (e.app, str(e.code), e.complete)), lambda e: (e.app, e.code, e.complete)
            ):
                after = [each.after for each in group]
                known = [each for each in after if each is not None]
                when = f", {statistics.median(known):.1f} s after the switch" if known else ""
                how = f"code {code}" if name == "websocket" else ("complete" if complete else "cut")
                lines.append(f"  {name} of {app}: {len(after)} ended, {how}{when}")
        return "\n".join([*lines, f"  idle connections closed: {self.closed_idle}"])


class Load:
    """Traffic to port 80 of `address` while the context lasts; then what is on its way is waited for. `rate` is in
    plain requests and uploads a second, of all applications together."""

    def __init__(self, address: str, traffic: Sequence[Traffic], *, rate: float = 50) -> None:
        self._address = address
        self._traffic = tuple(traffic)
        self._rate = rate / len(traffic)
        self._done: list[Exchange] = []
        self._open: dict[asyncio.Task[None], tuple[str, str]] = {}
        self._closed_idle = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def instance(self, app: str, since: float = 0) -> str | None:
        """Who has answered the latest plain request, of those that were sent from a moment on."""
        plain = (each for each in reversed(self._done) if each.app == app and each.kind in _PLAIN)
        return next((each.instance for each in plain if each.start >= since), None)

    def settle(self) -> None:
        """Returns when all applications answer what is asked from now on, and all WebSockets and event streams are
        open, on the instances that answer plain requests too. Raises TimeoutError."""
        now = time.monotonic()
        deadline = now + PATIENCE
        while not self._settled(now):
            if time.monotonic() > deadline:
                raise TimeoutError(f"open are {sorted(self._open.values())}\n{self.tally()}")
            time.sleep(0.05)

    def _settled(self, since: float) -> bool:
        latest = {traffic.app: self.instance(traffic.app, since) for traffic in self._traffic}
        wanted = Counter({(t.app, latest[t.app]): 2 * _OPEN for t in self._traffic if t.streams})
        return None not in latest.values() and Counter(list(self._open.values())) == wanted

    def tally(self) -> Tally:
        """Of what has ended until now."""
        done = sorted(self._done, key=lambda each: each.end)
        firsts = {traffic.app: _firsts(done, traffic.app) for traffic in self._traffic}
        endings: dict[str, list[Ending]] = {"websocket": [], "events": []}
        spanning = 0
        for each in done:
            later = [first for name, first in firsts[each.app] if first > _first(firsts[each.app], each.instance)]
            after = each.end - min(later) if later else None
            if each.kind in endings and each.error is None:
                ending = Ending(
                    app=each.app, instance=each.instance, code=each.code, complete=each.complete, after=after
                )
                endings[each.kind].append(ending)
            spanning += each.kind == "slow" and each.error is None and after is not None and after > 0
        return Tally(
            sent=len(done),
            kinds=dict(Counter(each.kind for each in done)),
            lost=tuple(each for each in done if each.error),
            gap=max(_gap(done, traffic.app) for traffic in self._traffic),
            instances={app: tuple(name for name, _ in order) for app, order in firsts.items()},
            spanning=spanning,
            websockets=tuple(endings["websocket"]),
            events=tuple(endings["events"]),
            closed_idle=self._closed_idle,
        )

    # In the thread

    async def _run(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        endless: set[asyncio.Task[None]] = set()
        for turn, traffic in enumerate(self._traffic):
            for kind, share in _SHARES.items():
                rate = self._rate * share
                # Spread in time: the longest gap between answers is to be the server's, not that between bursts.
                offset = list(_SHARES).index(kind) / len(_PLAIN)
                if kind.startswith("kept"):
                    for number in range(_KEPT):
                        begin = (number + offset) / _KEPT
                        tasks.add(asyncio.create_task(self._kept(traffic, kind, rate / _KEPT, begin)))
                else:
                    tasks.add(asyncio.create_task(self._single(traffic, kind, rate, offset)))
            if traffic.slow:
                # Spread too: a switch between two of them would meet none, if all applications' began at once.
                tasks.add(asyncio.create_task(self._slow(traffic, SLOW * turn / len(self._traffic))))
            if traffic.streams:
                endless |= {asyncio.create_task(self._websocket(traffic)) for _ in range(_OPEN)}
                endless |= {asyncio.create_task(self._events(traffic)) for _ in range(_OPEN)}
        await asyncio.gather(*tasks)
        while endless:  # a cancellation may be lost where what is waited for comes in the same moment
            for task in endless:
                task.cancel()
            _, endless = await asyncio.wait(endless, timeout=1)

    async def _single(self, traffic: Traffic, kind: Kind, rate: float, offset: float) -> None:
        """A connection for each request, however long the one before takes."""
        begun: set[asyncio.Task[None]] = set()
        async for number in self._ticks(rate, offset):
            begun.add(asyncio.create_task(self._alone(traffic, kind, number)))
        await asyncio.gather(*begun)

    async def _slow(self, traffic: Traffic, offset: float) -> None:
        await asyncio.sleep(offset)
        while not self._stop.is_set():
            start = time.monotonic()
            await self._alone(traffic, "slow", 0)
            # Where nothing answers, as much is asked as where something does.
            await asyncio.sleep(start + SLOW - time.monotonic())

    async def _alone(self, traffic: Traffic, kind: Kind, number: int) -> None:
        await self._record(traffic, kind, lambda: self._on_new_connection(_request(traffic, kind, number, keep=False)))

    async def _on_new_connection(self, request: "_Request") -> dict[str, Any]:
        async with _Connection(self._address) as connection:
            return await connection.exchange(request)

    async def _kept(self, traffic: Traffic, kind: Kind, rate: float, offset: float) -> None:
        """One request after the other on a connection, until the server says that it closes it."""
        connection: _Connection | None = None
        async for turn in self._ticks(rate, offset):
            if connection is not None and connection.over:
                self._closed_idle += connection.closed_idle
                await connection.close()
                connection = None
            request = _request(traffic, kind, turn, keep=True)

            async def exchange(request: _Request = request) -> dict[str, Any]:
                nonlocal connection
                connection = connection or await _Connection(self._address).open()
                return await connection.exchange(request)

            if not await self._record(traffic, kind, exchange) and connection is not None:
                await connection.close()
                connection = None
        if connection is not None:
            await connection.close()

    async def _record(self, traffic: Traffic, kind: Kind, exchange: Callable[[], Awaitable[dict[str, Any]]]) -> bool:
        start, instance, error = time.monotonic(), None, None
        try:
            async with asyncio.timeout(PATIENCE):
                instance = (await exchange())["instance"]
        except (OSError, EOFError, ValueError, _Lost) as reason:
            error = f"{type(reason).__name__}: {reason}"
        end = time.monotonic()
        self._done.append(
            Exchange(kind=kind, app=traffic.app, start=start, end=end, instance=instance, error=error, complete=True)
        )
        return error is None

    async def _websocket(self, traffic: Traffic) -> None:
        """Opens another when the server has closed it, and waits for each echo before the next message."""
        me, url = _this_task(), f"ws://{self._address}{traffic.path}/ws"
        while True:
            start, instance, code, error = time.monotonic(), None, None, None
            try:
                async with connect(url, ping_interval=None, open_timeout=PATIENCE) as socket:
                    for number in itertools.count():
                        await socket.send(str(number))
                        async with asyncio.timeout(PATIENCE):
                            answer = json.loads(await socket.recv())
                        instance = instance or answer["instance"]
                        self._open[me] = traffic.app, instance
                        if answer != {"instance": instance, "body": str(number)}:
                            raise _Lost(f"answered {answer}")
                        await asyncio.sleep(ECHO)
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else None
                if code is None:
                    error = f"no close frame: {closed}"
            except (OSError, EOFError, InvalidHandshake, _Lost) as reason:
                error = f"{type(reason).__name__}: {reason}"
            self._open.pop(me, None)
            self._done.append(
                Exchange(
                    kind="websocket", app=traffic.app, start=start, end=time.monotonic(),
                    instance=instance, code=code, error=error,
                )
            )  # fmt: skip
            await asyncio.sleep(ECHO if error else 0)

    async def _events(self, traffic: Traffic) -> None:
        """Reads until the server ends the stream, and opens another."""
        me = _this_task()
        while True:
            start, instance, error, complete = time.monotonic(), None, None, False
            try:
                async with _Connection(self._address) as connection:
                    await connection.send(_head("GET", f"{traffic.path}/events", keep=False))
                    await connection.status()
                    while True:
                        async with asyncio.timeout(PATIENCE):
                            piece = await connection.piece()
                        if not piece:
                            break
                        # A busy nginx passes two events on at once.
                        instance = instance or piece.decode().partition("\n")[0].removeprefix("data: ")
                        self._open[me] = traffic.app, instance
                    complete = True
            except (OSError, EOFError, ValueError, _Lost) as reason:
                # A stream that has begun and is cut is told by `complete`.
                error = None if instance else f"{type(reason).__name__}: {reason}"
            self._open.pop(me, None)
            self._done.append(
                Exchange(
                    kind="events", app=traffic.app, start=start, end=time.monotonic(),
                    instance=instance, complete=complete, error=error,
                )
            )  # fmt: skip
            await asyncio.sleep(ECHO if error else 0)

    async def _ticks(self, rate: float, offset: float) -> AsyncIterator[int]:
        """Numbers at even times, the first one after `offset`, a part of what is between two; one that comes late is
        not left out."""
        start = time.monotonic() + offset / rate
        for number in itertools.count():
            while (ahead := start + number / rate - time.monotonic()) > 0:
                if self._stop.is_set():
                    return
                await asyncio.sleep(min(ahead, 0.1))
            if self._stop.is_set():
                return
            yield number


def _this_task() -> "asyncio.Task[None]":
    task = asyncio.current_task()
    assert task is not None
    return task


class _Lost(Exception):
    """An answer that is none."""


@dataclass(frozen=True, kw_only=True)
class _Request:
    data: bytes = field(repr=False)
    #: What the JSON answer has beside the instance.
    answer: dict[str, Any]


def _request(traffic: Traffic, kind: Kind, number: int, *, keep: bool) -> _Request:
    if kind == "slow":
        head = _head("GET", f"{traffic.path}/slow?seconds={SLOW}", keep=keep)
        return _Request(data=head, answer={"intact": True})
    if kind == "upload":
        body = number.to_bytes(8, "big") * (UPLOAD // 8)
        digest = hashlib.sha256(body).hexdigest()
        return _Request(data=_head("POST", f"{traffic.path}/upload", body, keep=keep), answer={"digest": digest})
    body = f"{kind} {number}".encode() if kind.endswith("post") else b""
    method = "POST" if body else "GET"
    return _Request(data=_head(method, f"{traffic.path}/echo", body, keep=keep), answer={"body": body.decode()})


def _head(method: str, path: str, body: bytes = b"", *, keep: bool) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: load"]
    lines += [] if keep else ["Connection: close"]
    lines += [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Connection:
    """HTTP/1.1 as it is on the wire, so that what is lost is known to be lost by the server."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    def __init__(self, address: str) -> None:
        self._address = address
        self._headers: dict[str, str] = {}

    async def open(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._address, 80)
        return self

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def closed_idle(self) -> bool:
        """Whether the server has closed it without a word, before the next request."""
        return self._reader.at_eof() and self._headers.get("connection") != "close"

    @property
    def over(self) -> bool:
        """Whether no further request may be sent on it."""
        return self._reader.at_eof() or self._headers.get("connection") == "close"

    async def exchange(self, request: _Request) -> dict[str, Any]:
        """The JSON answer. Raises OSError, EOFError or _Lost."""
        await self.send(request.data)
        await self.status()
        body = b""
        if "content-length" in self._headers:
            body = await self._reader.readexactly(int(self._headers["content-length"]))
        else:
            while piece := await self.piece():
                body += piece
        answer: dict[str, Any] = json.loads(body)
        if answer | request.answer != answer:
            raise _Lost(f"answered {answer}")
        return answer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def status(self) -> None:
        """Reads the head of an answer, which must have the status 200."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        self._headers = {name.lower(): value.strip().lower() for name, _, value in pairs}
        if first.split()[1] != "200":
            raise _Lost(first)

    async def piece(self) -> bytes:
        """The next chunk, empty for the last one."""
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        return (await self._reader.readexactly(size + 2))[:-2]


def _firsts(done: Iterable[Exchange], app: str) -> list[tuple[str, float]]:
    """The instances of an application in the order of their first plain answers, with the times of these."""
    found: dict[str, float] = {}
    for each in done:
        if each.app == app and each.kind in _PLAIN and each.instance:
            found.setdefault(each.instance, each.end)
    return list(found.items())


def _first(order: Iterable[tuple[str, float]], instance: str | None) -> float:
    return dict(order).get(instance or "", 0.0)


def _gap(done: Iterable[Exchange], app: str) -> float:
    ends = [each.end for each in done if each.app == app and each.kind in _PLAIN and not each.error]
    return max((late - early for early, late in itertools.pairwise(ends)), default=0.0)
