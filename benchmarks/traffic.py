"""What clients see of a deploy, and of all else that may be done to what serves them: how many requests are lost, and
for how long an application answers nobody."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import pages
from rackhand import PROJECT
from rackhand.lab import Lab
from tests.lab import traffic
from tests.lab.traffic import Served
from tests.load import Tally

RESULTS = PROJECT / "benchmarks" / "TRAFFIC.md"
#: Where the table is shown, too.
DOCS = PROJECT / "docs" / "how-it-works.md"

#: Seconds that should not be passed without an answer.
GAP = 0.3
#: Seconds in which a new worker has loaded its application.
LOADING = 3
#: Versions of a package, of which each round has the other one.
VERSIONS = ("1.0.0", "0.12.1")


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something that is done under traffic. `loses` says why requests may be lost by it, if they may."""

    title: str
    do: Callable[[Served, int], object]
    loses: str = ""
    image: str = "bookworm"


def _dependencies(served: Served, round_: int) -> None:
    old, new = VERSIONS if round_ % 2 == 0 else reversed(VERSIONS)
    served.deploy_other_dependencies(old, new)


def _often(do: Callable[[Served], object], times: int) -> Callable[[Served, int], None]:
    def repeat(served: Served, round_: int) -> None:
        for _ in range(times):
            do(served)

    return repeat


def _kill(served: Served) -> None:
    served.kill_workers("KILL")
    time.sleep(LOADING)  # nothing tells from outside that the new ones can answer; the next kill takes another worker


_RELOADS = _often(Served.deploy_new_site, 10)
_CLOSED = "clients that keep their connections, which nginx's old workers close"
ACTIONS = (
    Action(title="new code", do=lambda served, _: served.deploy_new_code()),
    Action(title="other dependencies", do=_dependencies),
    Action(title="another number of workers", do=lambda served, round_: served.deploy_more_workers(1 - round_ % 2 * 2)),
    Action(title="`rollback`", do=lambda served, _: served.do("rollback")),
    Action(title="`restart`", do=lambda served, _: served.do("restart")),
    Action(title="ten deploys in a row", do=_often(Served.deploy_new_code, 10)),
    Action(
        title="a worker of each application told to end, ten times",
        do=_often(lambda served: served.kill_workers("TERM"), 10),
    ),
    Action(
        title="a worker of each application killed, ten times",
        do=_often(_kill, 10),
        loses="what they were answering, where it may not be asked twice",
    ),
    Action(title="ten reloads of nginx 1.22", do=_RELOADS, loses=_CLOSED),
    Action(title="ten reloads of nginx 1.26", do=_RELOADS, loses=_CLOSED, image="trixie"),
)

#: By the title of the action, one of each round.
Tallies = dict[str, list[Tally]]


def measure(lab: Lab, folder: Path, rounds: int) -> Tallies:
    hosts = {image: traffic.declared(lab, folder / image, image) for image in {action.image for action in ACTIONS}}
    found: Tallies = {action.title: [] for action in ACTIONS}
    for round_ in range(rounds):
        for action in ACTIONS:
            served = hosts[action.image]
            served.settle()
            tally = traffic.under_load(served, partial(action.do, served, round_))
            print(f"{action.title:52} {str(tally).partition(', spanning')[0]}", flush=True)
            found[action.title].append(tally)
    return found


def missed(found: Tallies) -> list[str]:
    """What lost a request that it should not have, or left an application silent for too long."""
    return [
        action.title
        for action in ACTIONS
        for tallies in [found[action.title]]
        if any(tally.lost for tally in tallies) and not action.loses or max(tally.gap for tally in tallies) >= GAP
    ]


def table(found: Tallies) -> str:
    lines = ["| what was done | requests | lost | longest time without an answer |", "|---|---|---|---|"]
    for action in ACTIONS:
        tallies = found[action.title]
        lost = sum(len(tally.lost) for tally in tallies)
        why = f": {action.loses}" if lost and action.loses else ""
        gap = max(tally.gap for tally in tallies)
        sent = sum(tally.sent for tally in tallies)
        lines.append(f"| {action.title} | {sent:,} | {lost}{why} | {gap:.2f} s |")
    return "\n".join(lines)


def report(found: Tallies, rounds: int) -> str:
    late = missed(found)
    verdict = "All are met." if not late else f"**Missed:** {'; '.join(late)}."
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return f"""\
# Traffic during changes, measured

Written by `./invoke bench.traffic --rounds {rounds}` on {today}: lab hosts on {os.cpu_count()} cores, on which
the clients run too; five applications, of each kind of worker and of both frameworks. 50 quick requests and uploads a
second to all of them together (GET and POST, of clients with and without keep-alive that send nothing twice), beside
slow responses, WebSockets and event streams. The time without an answer is that of one application, the longest of
{rounds} rounds; the traffic itself pauses for 0.20 s.

{table(found)}

Nothing is to be lost where the table does not say why, and no application is to be silent for {GAP} s: {verdict}
"""


def main(rounds: int, out: str | None) -> int:
    """Returns the exit code: 1 when something was lost, or an application silent, that should not have been."""
    lab = Lab(f"traffic-{os.getpid()}", owned=True)
    try:
        with TemporaryDirectory() as folder:
            found = measure(lab, Path(folder), rounds)
    finally:
        lab.down()
    text = report(found, rounds)
    print(text)
    Path(out or RESULTS).write_text(text, encoding="utf-8")
    if not out:
        pages.put(DOCS, table(found))
    return 1 if missed(found) else 0
