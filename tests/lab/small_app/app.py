"""An application that needs no package. It answers with its release, and is fit to serve once the file that WAIT_FOR
names is there."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def app(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    waits = environ["PATH_INFO"] == "/health" and not Path(os.environ.get("WAIT_FOR", "/")).exists()
    start_response("503 Service Unavailable" if waits else "200 OK", [("Content-Type", "text/plain")])
    return [os.environ["RACKHAND_RELEASE"].encode()]
