"""The command `bench.provision`."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.provision import plot, results, store
from benchmarks.provision.bench import SCENARIOS, Bench, Results
from benchmarks.provision.measure import FailedError
from benchmarks.provision.site import VERSIONS, NotServedError
from benchmarks.provision.tools import TOOLS
from rackhand import PROJECT
from rackhand.errors import UserError
from rackhand.lab import Lab

#: Where results are kept; the figures themselves in a file of JSON beside the page.
PAGE = PROJECT / "benchmarks" / "RESULTS.md"
PLOT = PROJECT / "docs" / "provision.svg"


def main(*, rounds: int, only: Sequence[str], out: str | None) -> int:
    """Measures, keeps each scenario as soon as it is done, and prints the page. Returns the exit code: 1 when a budget
    on the page is not met. Raises UserError."""
    known = [scenario.name for scenario in SCENARIOS]
    for name in only:
        if name not in known:
            raise UserError(f"--only {name}: there are {', '.join(known)}")
    if not 1 <= rounds < len(VERSIONS):
        raise UserError(f"--rounds should be from 1 to {len(VERSIONS) - 1}, got {rounds}")
    page = Path(out) if out else PAGE
    found = store.read(page.with_suffix(".json"))
    try:
        with bench(found) as running:
            for tool in TOOLS:
                tool.version()  # makes the peers' environments, so that no turn has to
            for scenario in SCENARIOS:
                if not only or scenario.name in only:
                    running.run(scenario, TOOLS, rounds)
                    # At once, so that an hour's figures outlive what goes wrong later.
                    _keep(found, page, page.with_suffix(".svg") if out else PLOT)
    except (FailedError, NotServedError) as error:
        print(f"stopped, nothing that was measured of this scenario counts: {error}", file=sys.stderr)
        return 2
    print(f"\n{page.read_text()}")
    missed = results.missed(found)
    for budget in missed:
        print(f"not met: {budget}", file=sys.stderr)
    return 1 if missed else 0


def _keep(found: Results, page: Path, picture: Path) -> None:
    store.write(found, page.with_suffix(".json"))
    page.write_text(results.page(found, TOOLS))
    picture.write_text(plot.svg(found))


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
