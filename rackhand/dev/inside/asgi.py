"""Run in an application's own environment, as a program: Uvicorn with reload.

Arguments: `module:object`, the path of a socket, the application's prefix. The path arrives without the prefix, as
Uvicorn's own root_path wants it.
"""

import ctypes
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn

# Ends with the process that has started it, however that ended: prctl's PR_SET_PDEATHSIG.
ctypes.CDLL(None).prctl(1, signal.SIGTERM)

#: What `module:object` names, or makes when it is a factory: as on hosts.
resolved = runpy.run_path(str(Path(__file__).parents[3] / "templates" / "application.py"))["resolved"]

_Message = MutableMapping[str, Any]


def application() -> Any:
    """The application; in the place of one that cannot be loaded, what is wrong with it, until the next edit."""
    try:
        return resolved(sys.argv[1])[0]
    except (Exception, SystemExit):
        traceback.print_exc()
        text = traceback.format_exc().encode()

    async def failed(
        scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        if scope["type"] == "http":
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": text})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1011})

    return failed


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    uvicorn.run(
        "__mp_main__:application",  # what multiprocessing calls this file in the process that serves
        factory=True,
        reload=True,
        uds=sys.argv[2],
        root_path=sys.argv[3],
        forwarded_allow_ips="*",
        # A page that is open in a browser, and streams, must not hold up a reload.
        timeout_graceful_shutdown=1,
    )
