"""A WSGI application that answers with what it is made of, and misbehaves as `mark.txt` says."""

import os
import signal
import threading
import time
from pathlib import Path

import idna

MARK = Path(__file__).with_name("mark.txt").read_text().strip()
ANSWER = f"{MARK} idna-{idna.__version__}".encode()

if MARK.endswith("-dies"):
    # With its master, or that would only start another worker.
    threading.Timer(5, lambda: os.kill(os.getppid(), signal.SIGKILL)).start()


def app(environ, start_response):
    if MARK.endswith("-hangs") and environ["PATH_INFO"] == "/health":
        time.sleep(3600)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [ANSWER]
