"""Live metrics of the host: a page, a JSON snapshot, a WebSocket and server-sent events."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import anyio
from fastapi import Depends, FastAPI, Query, WebSocket, WebSocketDisconnect, status
from fastapi.requests import HTTPConnection
from fastapi.responses import FileResponse, Response
from fastapi.sse import EventSourceResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from host_metrics.metrics import Metrics
from host_metrics.sampler import Sampler
from host_metrics.shutdown import on_stop_signal

STATIC = Path(__file__).with_name("static")
# Without it browsers guess from a file's age how long they may keep it, and a deploy does not show.
ASK_EVERY_TIME = {"Cache-Control": "no-cache"}

logging.basicConfig(level=os.environ.get("LOG_LEVEL", "info").upper(), format="%(levelname)s %(name)s: %(message)s")
logger = logging.getLogger("async_api")


class State(TypedDict):
    sampler: Sampler


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    sampler = Sampler()
    async with sampler.running():
        with on_stop_signal(sampler.end_streams):
            yield {"sampler": sampler}
    logger.info("The sampler has stopped")


def _sampler(connection: HTTPConnection) -> Sampler:
    sampler: Sampler = connection.state.sampler
    return sampler


Host = Annotated[Sampler, Depends(_sampler)]
Interval = Annotated[int, Query(ge=1, le=60, description="Seconds from one message to the next")]


class CurrentFiles(StaticFiles):
    """Static files that browsers keep, but ask about each time."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:  # passed on as they come
        response = super().file_response(*args, **kwargs)
        response.headers.update(ASK_EVERY_TIME)
        return response


class Health(BaseModel):
    """That the process answers, and which release of the app it runs."""

    status: Literal["ok"] = "ok"
    release: str
    pid: int


app = FastAPI(
    title="Host metrics",
    version="1.0.0",
    lifespan=lifespan,
    description=(
        "CPU, memory, load and network of the host that this runs on, read once a second, "
        "however many clients follow.\n\n"
        "**`/ws?interval=1`** (a WebSocket, which this page cannot list) sends the `Metrics` objects of `/events` "
        "as text messages. What clients send is ignored. It closes with code 1012 when the server restarts: "
        "connect again."
    ),
)
app.mount("/static", CurrentFiles(directory=STATIC), name="static")


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers=ASK_EVERY_TIME)


@app.get("/metrics", summary="The host now")
async def metrics(host: Host) -> Metrics:
    """CPU and network are averages over the last second."""
    return host.latest()


@app.get("/events", response_class=EventSourceResponse, summary="The host, live")
async def events(host: Host, interval: Interval = 1) -> AsyncIterator[Metrics]:
    """Server-sent events: the host now, then every `interval` seconds, averaged over that time.

    The stream ends when the server restarts; browsers' `EventSource` connects again by itself.
    """
    async for metrics in host.stream(interval):
        yield metrics


@app.websocket("/ws")
async def ws(websocket: WebSocket, host: Host, interval: Interval = 1) -> None:
    await websocket.accept()

    async def push() -> None:
        with suppress(WebSocketDisconnect):
            async for metrics in host.stream(interval):
                await websocket.send_text(metrics.model_dump_json())
            await websocket.close(status.WS_1012_SERVICE_RESTART)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(push)
        # Only by receiving does one learn that the client has left.
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass
        tasks.cancel_scope.cancel()


@app.get("/health", summary="Whether it runs")
async def health() -> Health:
    return Health(release=os.environ.get("RACKHAND_RELEASE", "development"), pid=os.getpid())
