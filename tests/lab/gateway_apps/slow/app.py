"""A Flask application that knows nothing of a prefix, and tells what it is told."""

import gc
import os
import threading
from pathlib import Path

from flask import Flask, Response, jsonify, make_response, request, url_for

app = Flask(__name__)


@app.get("/health")
def health():
    return {"status": "ok"}


@app.route("/echo/", defaults={"rest": ""}, methods=["GET", "POST"])
@app.route("/echo/<path:rest>", methods=["GET", "POST"])
def echo(rest):
    return {
        "rest": rest,
        "raw": request.environ["RAW_URI"],
        "query": request.query_string.decode(),
        "client": request.remote_addr,
        "scheme": request.scheme,
        "host": request.host,
        "headers": {name.lower(): value for name, value in request.headers},
        "body": len(request.get_data()),
    }


@app.get("/links")
def links():
    return {
        "health": url_for("health", _external=True),
        "static": url_for("static", filename="file.txt", _external=True),
    }


@app.get("/folder/")
def folder():
    return "folder"


@app.get("/cookie")
def cookie():
    response = make_response(jsonify(dict(request.cookies)))
    response.set_cookie("seen", "yes", path=request.script_root or "/")
    return response


@app.get("/environment")
def environment():
    return dict(os.environ)


PIECE = 65_536 * b"x"
flooded = {"stream": 0}


@app.get("/flood")
def flood():
    """Sends as much as anybody takes."""

    def pieces():
        while True:
            yield PIECE
            flooded["stream"] += len(PIECE)

    return Response(pieces(), mimetype="application/octet-stream")


@app.get("/flooded")
def how_much():
    return flooded


STOP = Path(os.environ.get("HOME", "")) / "stop"


@app.get("/burn")
def burn():
    """Says who it is, and keeps its worker busy until it is told to stop."""
    STOP.unlink(missing_ok=True)

    def pieces():
        yield f"{os.getpid()}\n"
        while not STOP.exists():
            sum(range(10_000))

    return Response(pieces(), headers={"X-Accel-Buffering": "no"})


@app.get("/stop")
def stop():
    STOP.touch()
    return str(os.getpid())


@app.get("/serving")
def serving():
    """The number of this process, and the classes of all that there is of an application server in it."""
    classes = {kind for thing in gc.get_objects() for kind in type(thing).__mro__}
    names = {f"{kind.__module__}.{kind.__name__}" for kind in classes}
    servers = {"gunicorn", "uvicorn", "uvicorn_worker", "a2wsgi"}
    return {"pid": os.getpid(), "classes": sorted(name for name in names if name.partition(".")[0] in servers)}


both = threading.Barrier(2)


@app.get("/meet")
def meet():
    """Whether this process has answered another request while this one waited for that."""
    try:
        both.wait(10)
    except threading.BrokenBarrierError:
        both.reset()
        return {"met": False}
    return {"met": True}
