"""Rackhand's own command line with a halting agent: `python -m tests.faults.controller POINT deploy --host h …`.

The product has no hook for this. What is changed is in this process alone: the agent that it sends has one module more
(`halt.py`) and a line that installs it. POINT `-` stops nowhere.
"""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NoReturn

from rackhand import cli, payload
from tests.faults import halt

#: Where the module goes among the agent's, and what is added to the module that the agent starts from.
_MODULE, _MAIN = "rackhand/agent/halt.py", "rackhand/agent/main.py"
_INSTALL = "\n\nfrom rackhand.agent import halt as _halt\n\n_halt.install({point!r}, Emitter, Channel)\n"


def halting(sources: Mapping[str, str], point: str) -> dict[str, str]:
    """The agent's sources with the halt in them."""
    halt_source = Path(halt.__file__).read_text(encoding="utf-8")
    return {**sources, _MODULE: halt_source, _MAIN: sources[_MAIN] + _INSTALL.format(point=point)}


def main() -> NoReturn:
    """Runs the command line behind the name of a point."""
    point = sys.argv[1]
    original = payload.sources
    payload.sources = cache(lambda: halting(original(), point))
    sys.argv = ["invoke", *sys.argv[2:]]
    cli.main()


if __name__ == "__main__":
    main()
