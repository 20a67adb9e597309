"""What `invoke bench.serve` asks for, with Flask."""

import time

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
