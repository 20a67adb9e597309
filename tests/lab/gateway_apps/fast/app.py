"""A FastAPI application that knows nothing of a prefix, and tells what it is told."""

import asyncio
import gc
import os
import threading
from pathlib import Path

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles

app = FastAPI()
app.mount("/static", StaticFiles(directory="static"), name="static")
inner = FastAPI()
app.mount("/inner", inner)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.api_route("/echo/{rest:path}", methods=["GET", "POST"])
async def echo(request: Request, rest: str) -> dict[str, object]:
    return {
        "rest": rest,
        "raw": request.scope["raw_path"].decode(),
        "query": request.scope["query_string"].decode(),
        "client": request.client.host if request.client else None,
        "scheme": request.url.scheme,
        "host": request.headers["host"],
        "headers": dict(request.headers),
        "body": len(await request.body()),
    }


@app.get("/links")
async def links(request: Request) -> dict[str, str]:
    return {"health": str(request.url_for("health")), "static": str(request.url_for("static", path="file.txt"))}


@app.get("/folder/")
async def folder() -> str:
    return "folder"


@app.get("/cookie")
async def cookie(request: Request, response: Response) -> dict[str, str]:
    response.set_cookie("seen", "yes", path=request.scope["root_path"] or "/")
    return dict(request.cookies)


@app.websocket("/ws")
async def ws(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_json({"client": socket.client.host if socket.client else None, "url": str(socket.url)})
    async for text in socket.iter_text():
        await socket.send_text(text.upper())


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces():
        for number in range(3):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.3)

    return StreamingResponse(pieces(), media_type="text/event-stream")


@app.get("/quiet")
async def quiet(seconds: int, pings: bool) -> StreamingResponse:
    """Says nothing but comments, if so much, before its only event."""

    async def pieces():
        for _ in range(seconds):
            await asyncio.sleep(1)
            if pings:
                yield ":\n\n"
        yield "data: at last\n\n"

    return StreamingResponse(pieces(), media_type="text/event-stream")


PIECE = b"data: " + 65_536 * b"x" + b"\n\n"
flooded = {"stream": 0, "websocket": 0}


@app.get("/flood")
async def flood() -> StreamingResponse:
    """Sends as much as anybody takes."""

    async def pieces():
        while True:
            yield PIECE
            flooded["stream"] += len(PIECE)
            await asyncio.sleep(0)  # or nothing else is heard as long as the other side keeps up

    return StreamingResponse(pieces(), media_type="text/event-stream")


@app.websocket("/flood")
async def ws_flood(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_bytes(PIECE)
        flooded["websocket"] += len(PIECE)
        await asyncio.sleep(0)


@app.get("/flooded")
async def how_much() -> dict[str, int]:
    return flooded


STOP = Path(os.environ.get("HOME", "")) / "stop"


@app.get("/burn")
async def burn() -> StreamingResponse:
    """Says who it is, and keeps its worker busy until it is told to stop."""
    STOP.unlink(missing_ok=True)

    async def pieces():
        yield f"{os.getpid()}\n"
        while not STOP.exists():
            sum(range(10_000))

    return StreamingResponse(pieces(), media_type="text/event-stream")


@app.get("/stop")
async def stop() -> int:
    STOP.touch()
    return os.getpid()


@app.get("/serving")
def serving() -> dict[str, object]:
    """The number of this process, and the classes of all that there is of an application server in it."""
    classes = {kind for thing in gc.get_objects() for kind in type(thing).__mro__}
    names = {f"{kind.__module__}.{kind.__name__}" for kind in classes}
    servers = {"gunicorn", "uvicorn", "uvicorn_worker", "a2wsgi"}
    return {"pid": os.getpid(), "classes": sorted(name for name in names if name.partition(".")[0] in servers)}


both = threading.Barrier(2)


@app.get("/meet")
def meet() -> dict[str, bool]:
    """Whether this process has answered another request while this one waited for that."""
    try:
        both.wait(10)
    except threading.BrokenBarrierError:
        both.reset()
        return {"met": False}
    return {"met": True}


@inner.get("/page")
async def page(request: Request) -> str:
    return str(request.url_for("page"))
