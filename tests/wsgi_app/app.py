"""The smallest application that a test can deploy: it needs no package, and answers with its environment."""

import json
import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"environment": dict(os.environ), "script_name": environ["SCRIPT_NAME"]}).encode()]
