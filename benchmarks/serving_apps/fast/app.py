"""What the benchmarks of serving ask for, with FastAPI."""

import asyncio
import os
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import StreamingResponse

BLOB = bytes(range(250)) * 4000
app = FastAPI()


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/json")
async def small() -> dict[str, object]:
    return {"id": 1, "name": "answer", "tags": ["a", "b"], "price": 12.5}


@app.get("/blob")
async def blob() -> Response:
    return Response(BLOB, media_type="application/octet-stream")


@app.post("/upload")
async def upload(request: Request) -> dict[str, int]:
    return {"bytes": len(await request.body())}


@app.get("/work")
async def work(ms: float = 5) -> dict[str, bool]:
    """So many milliseconds of a core, however busy the machine is."""
    end = time.thread_time() + ms / 1000
    while time.thread_time() < end:
        pass
    return {"done": True}


@app.get("/wait")
async def wait() -> dict[str, bool]:
    """50 ms of waiting, as for a database."""
    await asyncio.sleep(0.05)
    return {"done": True}


@app.get("/compute")
async def compute() -> dict[str, bool]:
    """20 ms of a core."""
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass
    return {"done": True}


@app.get("/pid")
async def pid() -> Response:
    """Which worker this is. It takes no other request meanwhile, so that others answer those."""
    time.sleep(0.02)
    return Response(str(os.getpid()))


@app.get("/loop")
async def loop() -> StreamingResponse:
    """Says which worker this is, and never ends."""

    async def endless() -> AsyncIterator[str]:
        yield f"{os.getpid()}\n"
        while True:
            pass

    return StreamingResponse(endless())


@app.get("/leak")
async def leak() -> StreamingResponse:
    """Says which worker this is, and takes memory until there is none."""

    async def growing() -> AsyncIterator[str]:
        yield f"{os.getpid()}\n"
        kept = []
        while True:
            kept.append(b"x" * 2**20)

    return StreamingResponse(growing())


@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)
