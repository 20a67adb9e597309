"""The command `bench.provision`."""

import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.provision import plot, results
from benchmarks.provision.bench import SCENARIOS, Bench, Results
from benchmarks.provision.measure import FailedError
from benchmarks.provision.site import VERSIONS, NotServedError
from benchmarks.provision.tools import TOOLS
from rackhand import PROJECT
from rackhand.errors import UserError
from rackhand.lab import Lab

#: Where results are kept.
PAGE = PROJECT / "benchmarks" / "RESULTS.md"
PLOT = PROJECT / "docs" / "provision.svg"

INTERRUPTED = 99


def main(*, rounds: int, only: Sequence[str], out: str | None, command: str) -> int:
    """Measures, prints the page and keeps it. Returns the exit code. Raises UserError."""
    known = [scenario.name for scenario in SCENARIOS]
    for name in only:
        if name not in known:
            raise UserError(f"--only {name}: there are {', '.join(known)}")
    if not 1 <= rounds < len(VERSIONS):
        raise UserError(f"--rounds should be from 1 to {len(VERSIONS) - 1}, got {rounds}")
    load, _, _ = os.getloadavg()
    found = Results()
    code = 0
    try:
        with bench(found) as running:
            for tool in TOOLS:
                tool.version()  # makes the peers' environments, so that no turn has to
            for scenario in SCENARIOS:
                if not only or scenario.name in only:
                    running.run(scenario, TOOLS, rounds)
    except (FailedError, NotServedError) as error:
        print(f"stopped, nothing that was measured counts: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if out is None:
            raise
        code = INTERRUPTED
    text = results.page(found, TOOLS, command=command, load=load)
    print(f"\n{text}")
    if out or not only:
        page = Path(out) if out else PAGE
        page.write_text(text)
        (page.with_suffix(".svg") if out else PLOT).write_text(plot.svg(found))
    return code


@contextmanager
def bench(found: Results) -> Iterator[Bench]:
    """A benchmark on a lab of this process, removed at the end or by whoever sweeps."""
    Lab.sweep()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lab = Lab(f"bench-{os.getpid()}", owned=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            yield Bench(lab, Path(folder), found)
        finally:
            lab.down()


def command_line() -> str:
    """The command as it was typed, without where its results go."""
    words = iter(sys.argv[1:])
    return shlex.join(["./invoke", *(word for word in words if not (word == "--out" and next(words)))])
