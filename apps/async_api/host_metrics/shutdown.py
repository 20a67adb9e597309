"""To know of the end before the server waits for it."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def on_stop_signal(callback: Callable[[], None]) -> Iterator[None]:
    """Calls `callback` in the running event loop when the process is told to stop, then lets the server do its part.

    An endless response needs this. ASGI has no message for "the server is about to stop": servers let open responses
    finish, then run the lifespan's shutdown, so a stream that waits for the latter is waited for in turn, until a
    supervisor kills the process. Servers (Uvicorn, Gunicorn with either of its ASGI workers) have their signal
    handlers in place before the lifespan starts; this one runs in front of them and takes nothing away from them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Signals belong to the main thread; a server in another one is stopped by other means.
        return
    loop = asyncio.get_running_loop()
    servers_handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: FrameType | None) -> None:
        # Through the loop's wake-up pipe: a signal alone does not end the loop's wait for input.
        loop.call_soon_threadsafe(callback)
        servers_handler = servers_handlers[signal.Signals(number)]
        if callable(servers_handler):
            servers_handler(number, frame)

    # Where no handler is, the signal ends the process as it is, with no server that would wait for streams.
    handled = [number for number, handler in servers_handlers.items() if callable(handler)]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, servers_handlers[number])
