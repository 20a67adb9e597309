"""Writing lines to a reader that may go away."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def may_be_gone(stream: TextIO) -> Iterator[None]:
    """When the reader has gone (`| head`, a terminal that was closed) the run goes on without it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def write_line(stream: TextIO, line: str) -> None:
    """Writes a line at once."""
    with may_be_gone(stream):
        stream.write(line + "\n")
        stream.flush()
