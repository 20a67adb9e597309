#!/usr/bin/env python3
"""Runs on a host: waits until both applications answer through nginx, for at most a minute."""

import sys
import time
import urllib.request

for path in ("async-api", "sync-api"):
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1/{path}/health", timeout=2).close()
            break
        except OSError as error:
            if time.monotonic() > deadline:
                sys.exit(f"{path} is not healthy: {error}")
            time.sleep(0.02)
