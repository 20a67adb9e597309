"""What the benchmarks of serving ask for, with Flask."""

import os
import time
from collections.abc import Iterator

from flask import Flask, Response, request

BLOB = bytes(range(250)) * 4000
app = Flask(__name__)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/json")
def small() -> dict[str, object]:
    return {"id": 1, "name": "answer", "tags": ["a", "b"], "price": 12.5}


@app.get("/blob")
def blob() -> Response:
    return Response(BLOB, mimetype="application/octet-stream")


@app.post("/upload")
def upload() -> dict[str, int]:
    return {"bytes": len(request.get_data())}


@app.get("/work")
def work() -> dict[str, bool]:
    """So many milliseconds of a core, however busy the machine is."""
    end = time.thread_time() + float(request.args.get("ms", 5)) / 1000
    while time.thread_time() < end:
        pass
    return {"done": True}


@app.get("/wait")
def wait() -> dict[str, bool]:
    """50 ms of waiting, as for a database."""
    time.sleep(0.05)
    return {"done": True}


@app.get("/compute")
def compute() -> dict[str, bool]:
    """20 ms of a core."""
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass
    return {"done": True}


@app.get("/pid")
def pid() -> str:
    """Which worker this is. It takes a while, so that others answer other requests."""
    time.sleep(0.02)
    return str(os.getpid())


@app.get("/loop")
def loop() -> Response:
    """Says which worker this is, and never ends."""

    def endless() -> Iterator[str]:
        yield f"{os.getpid()}\n"
        while True:
            pass

    return Response(endless())


@app.get("/leak")
def leak() -> Response:
    """Says which worker this is, and takes memory until there is none."""

    def growing() -> Iterator[str]:
        yield f"{os.getpid()}\n"
        kept = []
        while True:
            kept.append(b"x" * 2**20)

    return Response(growing())
