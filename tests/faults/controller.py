"""Rackhand's own command line with a halting agent: `python -m tests.faults.controller POINT deploy --host h …`.

The product has no hook for this. What is changed is in this process alone: the agent that it sends has one module more
(`halt.py`) and a line that installs it. POINT `-` stops nowhere.
"""

import io
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import NoReturn

from rackhand import cli, payload
from tests.faults import halt

#: Where the module goes in the agent's archive, and what is added to the module that the agent starts from.
_MODULE, _MAIN = "rackhand/agent/halt.py", "rackhand/agent/main.py"
_INSTALL = "\n\nfrom rackhand.agent import halt as _halt\n\n_halt.install({point!r}, Emitter, Channel)\n"


def halting(archive: bytes, point: str) -> bytes:
    """The agent's archive with the halt in it: the same bytes whenever it is made, as threads may make it twice, and
    one tells its size, the other sends it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            addition = _INSTALL.format(point=point).encode() if info.filename == _MAIN else b""
            new.writestr(info, old.read(info) + addition)
        new.write(Path(halt.__file__), _MODULE)
    return buffer.getvalue()


def main() -> NoReturn:
    """Runs the command line behind the name of a point."""
    point = sys.argv[1]
    original = payload.archive
    payload.archive = cache(lambda: halting(original(), point))
    sys.argv = ["invoke", *sys.argv[2:]]
    cli.main()


if __name__ == "__main__":
    main()
