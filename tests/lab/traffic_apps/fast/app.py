"""A FastAPI application for load: every answer names the instance that gives it."""

import asyncio
import hashlib
import json
import os
from pathlib import Path

import toolz
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

MARK = "one"
#: The code, its dependency and the instance: Gunicorn's master is a worker's parent.
INSTANCE = f"{MARK}/{toolz.__version__}/{os.environ['RACKHAND_RELEASE']}/{os.getppid()}"

app = FastAPI()


@app.get("/health")
async def health() -> dict[str, str]:
    return {"instance": INSTANCE}


@app.api_route("/echo", methods=["GET", "POST"])
async def echo(request: Request) -> dict[str, str]:
    return {"instance": INSTANCE, "body": (await request.body()).decode()}


@app.get("/client")
async def client(request: Request) -> list[str | None]:
    return [request.client and request.client.host, request.url.scheme, request.scope["root_path"]]


@app.post("/upload")
async def upload(request: Request) -> dict[str, str]:
    digest = hashlib.sha256()
    async for piece in request.stream():
        digest.update(piece)
    return {"instance": INSTANCE, "digest": digest.hexdigest()}


@app.get("/slow")
async def slow(seconds: float) -> StreamingResponse:
    """Says at its end what the release's file says then."""

    async def pieces():
        yield '{"instance": ' + json.dumps(INSTANCE)
        await asyncio.sleep(seconds)
        yield ', "intact": ' + json.dumps(f'MARK = "{MARK}"' in Path("app.py").read_text()) + "}"

    return StreamingResponse(pieces(), media_type="application/json")


@app.websocket("/ws")
async def ws(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_json({"instance": INSTANCE, "body": text})


@app.get("/events")
async def events() -> StreamingResponse:
    async def pieces():
        while True:
            yield f"data: {INSTANCE}\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(pieces(), media_type="text/event-stream")
