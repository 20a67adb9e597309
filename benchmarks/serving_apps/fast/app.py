"""What `invoke bench.serve` asks for, with FastAPI."""

import time

from fastapi import FastAPI, Request, Response, WebSocket

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


@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)
