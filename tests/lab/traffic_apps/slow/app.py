"""A Flask application for load: every answer names the instance that gives it."""

import hashlib
import json
import os
import time
from pathlib import Path

import toolz
from flask import Flask, Response, request

MARK = "one"
#: The code, its dependency and the instance: Gunicorn's master is a worker's parent.
INSTANCE = f"{MARK}/{toolz.__version__}/{os.environ['RACKHAND_RELEASE']}/{os.getppid()}"

app = Flask(__name__)


@app.get("/health")
def health():
    return {"instance": INSTANCE}


@app.route("/echo", methods=["GET", "POST"])
def echo():
    return {"instance": INSTANCE, "body": request.get_data(as_text=True)}


@app.get("/client")
def client():
    return [request.remote_addr, request.scheme, request.script_root]


@app.post("/upload")
def upload():
    digest = hashlib.sha256()
    while piece := request.stream.read(2**16):
        digest.update(piece)
    return {"instance": INSTANCE, "digest": digest.hexdigest()}


@app.get("/slow")
def slow():
    """Says at its end what the release's file says then."""
    seconds = float(request.args["seconds"])

    def pieces():
        yield '{"instance": ' + json.dumps(INSTANCE)
        time.sleep(seconds)
        yield ', "intact": ' + json.dumps(f'MARK = "{MARK}"' in Path("app.py").read_text()) + "}"

    return Response(pieces(), mimetype="application/json")
