"""Runs cases, several hosts at once, and keeps the table."""

import contextlib
import os
import queue
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rackhand import PROJECT
from rackhand.errors import UserError
from rackhand.lab import Lab
from tests.faults import boundary, places, table
from tests.faults.case import Outcome, tried
from tests.faults.faults import AGENT, CONTROLLER, FAULTS, INTERRUPT, NETWORK, POWER, Fault, hit
from tests.faults.invariants import Census, settled
from tests.faults.scenario import CODE, FRESH, SCENARIOS, Scenario
from tests.faults.subject import Subject
from tests.faults.troubles import TROUBLES, Kind, Trouble, small_disks, suffer

#: Where the table is kept.
TABLE = PROJECT / "benchmarks" / "FAULTS.md"

#: Of a subset: where each fault hits.
SUBSET = (
    (FRESH, POWER, places.HALF_STARTED),
    (CODE, POWER, places.BEHIND_SWITCH),
    (CODE, CONTROLLER, places.BEFORE_SWITCH),
    (CODE, INTERRUPT, places.BEFORE_SWITCH),
    (CODE, NETWORK, places.BEHIND_SWITCH),
    (CODE, AGENT, places.BEFORE_SWITCH),
    (CODE, AGENT, places.BEHIND_SWITCH),
)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A case to be tried."""

    scenario: Scenario
    fault: Fault | None = None
    point: str = ""
    trouble: Trouble | None = None

    @property
    def named(self) -> str:
        """What happens in it."""
        named = self.fault or self.trouble
        assert named is not None
        return named.name

    @property
    def kind(self) -> Kind:
        """The kind of host that it needs."""
        if self.trouble is not None:
            return self.trouble.kind
        return "fresh" if self.scenario.fresh else "serving"


class Range:
    """Where hosts are shot at: a lab, its hosts by kind, and what is on clean ones."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        self._number = 0
        self._guard, self._cleaning = threading.Lock(), threading.Lock()
        self._idle: dict[Kind, list[Subject]] = {"serving": [], "fresh": [], "small": []}
        self._clean: dict[str, Census] = {}

    @contextmanager
    def subject(self, kind: Kind) -> Iterator[Subject]:
        """A host that nobody else uses meanwhile. Hosts that serve are used again, unless a
        violation has spoiled them."""
        with self._guard:
            idle = self._idle[kind].pop() if self._idle[kind] else None
        subject = idle or self._made(kind)
        try:
            yield subject
        except BaseException:
            subject.spoiled = True
            raise
        finally:
            if kind != "fresh" and not subject.spoiled:
                with self._guard:
                    self._idle[kind].append(subject)
            else:
                subject.close()

    def _made(self, kind: Kind) -> Subject:
        with self._guard:
            self._number += 1
            name = f"{kind}{self._number}"
            (host,) = self._lab.up([name])
        subject = Subject(self._folder / name, self._lab, host)
        if kind == "small":
            small_disks(host)
        if kind != "fresh":
            self._warm(subject)
        return subject

    def _warm(self, subject: Subject) -> None:
        """A history as long as Rackhand remembers, so that nothing is new any more."""
        for _ in range(places.KEEP):
            subject.must("deploy")
            subject.next_code()
        subject.must("deploy")

    def clean(self, kind: Kind) -> Census:
        """What is on a host of this kind after a history without faults, in which it was booted."""
        with self._cleaning:
            return self._clean_of(kind)

    def _clean_of(self, kind: Kind) -> Census:
        if kind not in self._clean:
            with self.subject(kind) as subject:
                if kind == "fresh":
                    subject.must("deploy")
                found = settled(subject.host)
                if kind != "small":  # its disk does not survive
                    subject.host.power_cut()
                    subject.host.boot()
                    subject.host.wait_ssh()
                    found |= settled(subject.host)
                    subject.next_code()
                    subject.must("deploy")
                    found |= settled(subject.host)
                self._clean[kind] = found
        return self._clean[kind]

    def dry_run(self, scenario: Scenario) -> list[str]:
        """The boundaries of a scenario, from a run that is not stopped."""
        with self.subject("fresh" if scenario.fresh else "serving") as subject:
            trial = scenario.prepare(subject)
            boundary.clear(subject.host)
            run = subject.controller("-", *trial.command)
            out, err = run.communicate()
            if run.returncode != 0:
                raise RuntimeError(f"the {scenario.name} scenario fails without a fault: {out[-2000:]}{err}")
            found = boundary.boundaries(boundary.passed(subject.host), within=scenario.within)
            boundary.clear(subject.host)
            if trial.command != ("deploy",):
                subject.must("deploy")
        return found

    def try_out(self, planned: Planned) -> Outcome:
        """Runs one case on a host of its kind."""
        clean = self.clean(planned.kind)
        with self.subject(planned.kind) as subject:
            if planned.trouble is not None:
                trouble = planned.trouble
                return tried(
                    subject, trouble.prepare, clean, lambda case: suffer(case, trouble),
                    scenario=planned.scenario.name, fault=trouble.name, boundary="",
                )  # fmt: skip
            assert planned.fault is not None
            fault = planned.fault
            return tried(
                subject, planned.scenario.prepare, clean, lambda case: hit(case, fault, planned.point),
                scenario=planned.scenario.name, fault=fault.name, boundary=planned.point,
            )  # fmt: skip


def plan(
    dry_run: Callable[[Scenario], Sequence[str]], scenarios: Sequence[str], faults: Sequence[str]
) -> list[Planned]:
    """The cases of these scenarios and faults, by name; all of them when none is named. `dry_run` finds boundaries."""
    found: list[Planned] = []
    for scenario in SCENARIOS:
        chosen = [fault for fault in FAULTS if not faults or fault.name in faults]
        if chosen and (not scenarios or scenario.name in scenarios):
            points = dry_run(scenario)
            found += [Planned(scenario=scenario, fault=fault, point=point) for point in points for fault in chosen]
    for planned in _troubles():
        if (not faults or planned.named in faults) and (not scenarios or planned.scenario.name in scenarios):
            found.append(planned)
    return found


def subset() -> list[Planned]:
    """Every fault at least once, in minutes: mostly with a deploy that changes only code."""
    hits = [Planned(scenario=scenario, fault=fault, point=point) for scenario, fault, point in SUBSET]
    return [*hits, *_troubles()]


def _troubles() -> list[Planned]:
    return [
        Planned(scenario=FRESH if trouble.kind == "fresh" else CODE, trouble=trouble)
        for trouble in sorted(TROUBLES, key=lambda trouble: trouble.kind)
    ]


def run(ground: Range, cases: Iterable[Planned], *, at_once: int) -> Iterator[Outcome]:
    """The outcomes, as they come; with several hosts at once."""
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()

        def one(planned: Planned) -> None:
            try:
                done.put(ground.try_out(planned))
            except BaseException as error:  # told where the outcomes are read
                done.put(error)

        waiting = [pool.submit(one, planned) for planned in cases]
        try:
            for _ in waiting:
                outcome = done.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def shooting_range() -> Iterator[Range]:
    """A lab of this process, removed at the end or by whoever sweeps."""
    Lab.sweep()
    # Whoever ends it politely gets the machine back as it was; after SIGKILL the next run does it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lab = Lab(f"faults-{os.getpid()}", owned=True)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        try:
            yield Range(lab, Path(folder))
        finally:
            lab.down()


def main(
    *, scenarios: Sequence[str], faults: Sequence[str], out: str | None, few: bool, at_once: int, command: str
) -> int:
    """Runs what is asked for, with `few` the subset. Prints and keeps the table. 2 when something is violated. Raises
    UserError."""
    _check("scenario", scenarios, [scenario.name for scenario in SCENARIOS])
    _check("fault", faults, [fault.name for fault in (*FAULTS, *TROUBLES)])
    cases: list[Planned] = []
    outcomes: dict[tuple[str, str, str], Outcome] = {}
    try:
        with shooting_range() as ground, contextlib.suppress(KeyboardInterrupt):
            cases = subset() if few else plan(ground.dry_run, scenarios, faults)
            for number, outcome in enumerate(run(ground, cases, at_once=at_once), start=1):
                outcomes[outcome.scenario, outcome.fault, outcome.boundary] = outcome
                where = f" at {outcome.boundary}" if outcome.boundary else ""
                print(f"{number}/{len(cases)} {outcome.scenario}: {outcome.fault}{where}: {outcome.word}", flush=True)
                for violation in outcome.violations:
                    print(f"    VIOLATION: {violation}", flush=True)
    finally:  # also when it is stopped, or the lab breaks: an hour's outcomes are told
        ordered = [outcomes[key] for planned in cases if (key := _key(planned)) in outcomes]
        text = table.markdown(ordered, command)
        print(f"\n{text}")
        if ordered and (out or not (scenarios or faults or few)):
            Path(out or TABLE).write_text(text)
    return 2 if any(outcome.violations for outcome in ordered) else 0


def _key(planned: Planned) -> tuple[str, str, str]:
    return planned.scenario.name, planned.named, planned.point


def _check(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise UserError(f"--{what} {name}: there are {', '.join(known)}")


def command_line() -> str:
    """The command as it was typed, for the table."""
    return shlex.join(["./invoke", *sys.argv[1:]])
