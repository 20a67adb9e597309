"""A FastAPI application that knows nothing of a prefix, and tells what it is told."""

import asyncio

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


@inner.get("/page")
async def page(request: Request) -> str:
    return str(request.url_for("page"))
