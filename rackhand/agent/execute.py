"""Runs one command for somebody at the controller: bounded in time and output, and ended when they go away."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import IO

from rackhand.agent.channel import Channel
from rackhand.agent.events import Emitter

#: Bytes that are kept of each stream, from its beginning.
KEPT = 2**20
#: Seconds between two looks at the controller.
_LOOK = 0.1
#: Seconds that a command may take to end once it was told to.
_FAREWELL = 5


def execute(argv: Sequence[str], timeout: float, channel: Channel, emit: Emitter) -> None:
    """Emits how the command ended: `code` is None when it took longer than `timeout` seconds, `cut` how many bytes of
    its output were not kept."""
    began = time.monotonic()
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:  # as a shell has it
        code = 127 if isinstance(error, FileNotFoundError) else 126
        emit("executed", code=code, stdout="", stderr=f"{argv[0]}: {error.strerror}\n", cut=0, seconds=0.0)
        return
    assert child.stdout is not None
    assert child.stderr is not None
    kept = {child.stdout: b"", child.stderr: b""}
    cut, in_time = 0, True
    pipes: list[IO[bytes]] = list(kept)
    while pipes or child.poll() is None:
        ready = select.select(pipes, [], [], _LOOK)[0]
        for pipe in ready:
            chunk = os.read(pipe.fileno(), 2**16)
            if not chunk:
                pipes.remove(pipe)
            more = chunk[: KEPT - len(kept[pipe])]
            kept[pipe] += more
            cut += len(chunk) - len(more)
        in_time = time.monotonic() < began + timeout
        if not in_time or channel.cancelled() or channel.closed:
            _end(child)
            break
        if not ready and child.poll() is not None:  # what it has left running holds its output open
            break
    out, error_out = (data.decode(errors="replace") for data in kept.values())
    seconds = round(time.monotonic() - began, 3)
    emit("executed", code=child.poll() if in_time else None, stdout=out, stderr=error_out, cut=cut, seconds=seconds)


def _end(child: subprocess.Popen[bytes]) -> None:
    """With all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_FAREWELL)
