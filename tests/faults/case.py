"""One case: a host is brought to where it was, something happens to it, and everything is checked afterwards."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rackhand.lab import LabHost
from tests.faults import places
from tests.faults.boundary import Agents, clear
from tests.faults.invariants import Census, inside, leftovers
from tests.faults.scenario import Trial
from tests.faults.subject import HANGS, Subject
from tests.faults.witness import Witness
from tests.lab.site import Result

#: Seconds that an agent may go on by itself.
ALONE = 120


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a case ended. `boundary` is empty for faults that have none."""

    scenario: str
    fault: str
    boundary: str
    word: str
    violations: tuple[str, ...]
    history: tuple[str, ...]


@dataclass
class Case:
    """What is known of a case while it runs."""

    subject: Subject
    trial: Trial
    witness: Witness
    clean: Census
    history: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    #: The journals of runs before.
    earlier: frozenset[Path] = frozenset()
    #: Served between the new and what is declared at the end, in a case that deploys more than once.
    meanwhile: tuple[str, ...] = ()
    undone: bool = False
    _began: float = field(default_factory=time.monotonic)

    def note(self, text: str) -> None:
        """A line of the case's history."""
        self.history.append(f"{time.monotonic() - self._began:6.1f} s  {text}")

    def violate(self, text: str) -> None:
        self.violations.append(text)
        self.note(f"VIOLATION: {text}")

    @property
    def agents(self) -> Agents:
        return Agents(self.subject.host)

    def settle(self) -> str:
        """Waits until nothing works on the host any more; in a word, what serves then."""
        if not self.agents.gone(ALONE):
            self.violate(f"the agent still runs after {ALONE} s")
            self.agents.kill()
        self._read_journal()
        return self.word()

    def word(self) -> str:
        """What serves now: all of it the same release."""
        said = self.subject.look()
        words = {self.trial.old: "old serves", self.trial.new: "new serves"}
        if self.trial.old is None and None in said and len(said) == 2:
            self.violate("of two applications one serves, and the other not")
            return "one of two serves"
        if None in said and self.trial.old is not None:
            self.violate(f"what has served does not answer: {self.witness.look()}")
            return "not all serves"
        if len(said) > 1:
            self.violate(f"a mixture serves: {', '.join(sorted(map(str, said)))}")
            return "a mixture serves"
        (what,) = said
        if what is None and self.trial.old is None:
            return "nothing serves yet"
        if what not in words:
            self.violate(f"what serves is neither old nor new, but {what}")
        self.note(f"serves: {what}")
        return words.get(what, "neither serves")

    def _read_journal(self) -> None:
        """How the last run on the host says that it ended."""
        runs = sorted(journals(self.subject.host) - self.earlier)
        if not runs:
            self.note("the agent's journal: none")
            return
        lines = (inside(self.subject.host) / runs[-1]).read_text().splitlines()
        last = json.loads(lines[-1]) if lines else {}
        if last.get("event") == "end":
            self.undone = self.undone or bool(last["undone"])
            ended = "undone" if last["undone"] else "interrupted" if last["interrupted"] else "ended"
            self.note(f"the agent's journal: {ended}, changed {last['changed']}, reason: {last['reason']}")
        else:
            self.note("the agent's journal: no end")

    def run(self, *command: str) -> Result:
        """A command as a user types it."""
        result = self.subject.invoke(*command)
        changed = len(result.resources("changed")) if result.code != HANGS else 0
        self.note(f"{' '.join(command)}: exit {result.code}, changed {changed}")
        if result.code != 0:
            self.note(f"    {_reason(result)}")
        if "Traceback" in result.out + result.err:
            self.violate(f"{' '.join(command)} showed a traceback: {_reason(result)}")
        self.undone = self.undone or '"undone":true' in result.out
        return result

    def converge(self, *command: str, to: str) -> bool:
        """The same command again, which must work now."""
        result = self.run(*command)
        if result.code == HANGS:
            self.violate(f"the next {command[0]} hangs")
            self.agents.kill()
            result = self.run(*command)
        if result.code != 0:
            self.violate(f"the next {command[0]} ended with {result.code}: {_reason(result)}")
        elif (said := self.subject.look()) != {to}:
            self.violate(f"after the next {command[0]} serves {said} instead of {to}")
        return result.code == 0

    def repair(self, word: str) -> None:
        """The next plain run converges, and leaves nothing to do and nothing behind."""
        if self.trial.command != ("deploy",) and word == "old serves":
            self.converge(*self.trial.command, to=self.trial.new)
        self.converge("deploy", to=self.subject.says)
        planned = self.run("plan")
        if planned.code != 0 or planned.resources("changed"):
            self.violate(f"a plan afterwards would change {planned.resources('changed')} (exit {planned.code})")
        clear(self.subject.host)
        for left in leftovers(self.subject.host, self.clean):
            self.violate(f"left over: {left}")


def _reason(result: Result) -> str:
    """Why a command failed, in its own words."""
    try:
        events = result.events
    except ValueError:  # it was killed in the midst of a line
        events = []
    reasons = [event["reason"] for event in events if event["event"] in ("end", "lost", "unreachable", "error")]
    return " ".join((str(reasons[-1]) if reasons else result.err.strip()[-300:]).split())[:300]


def journals(host: LabHost) -> frozenset[Path]:
    """Those of the runs that the host remembers."""
    root = inside(host)
    return frozenset(path.relative_to(root) for path in (root / places.RUNS.lstrip("/")).glob("*.jsonl"))


def tried(
    subject: Subject,
    prepare: Callable[[Subject], Trial],
    clean: Census,
    body: Callable[[Case], str],
    *,
    scenario: str,
    fault: str,
    boundary: str,
) -> Outcome:
    """Runs a case: `prepare` brings the host to where it begins, and `body` does what happens, and returns what served
    then. A violation spoils the subject."""
    trial = prepare(subject)
    with Witness(subject.host.address, places.APPS) as witness:
        case = Case(subject=subject, trial=trial, witness=witness, clean=clean, earlier=journals(subject.host))
        case.note(f"{scenario}, {fault}{f' at {boundary}' if boundary else ''}: from {trial.old} to {trial.new}")
        if trial.old is not None and subject.look() != {trial.old}:
            case.violate(f"the case began with {subject.look()} instead of {trial.old}")
        try:
            word = body(case)
            case.repair(word)
        except Exception as error:  # one case that goes wrong is an outcome: the others still run
            word = "the harness failed"
            case.violate(f"the harness failed: {type(error).__name__}: {error}")
    case.note(witness.counts())
    for violation in witness.violations(_expected(case), fresh=trial.old is None, undone=case.undone):
        case.violate(violation)
    subject.spoiled = subject.spoiled or bool(case.violations)
    return Outcome(
        scenario=scenario, fault=fault, boundary=boundary, word=f"{'undone, ' if case.undone else ''}{word}",
        violations=tuple(case.violations), history=tuple(case.history),
    )  # fmt: skip


def _expected(case: Case) -> list[str]:
    """What may serve, in this order: the old, the new, and what was declared when the host was put right."""
    found: list[str] = []
    for says in (case.trial.old, case.trial.new, *case.meanwhile, case.subject.says):
        if says is not None and found[-1:] != [says]:
            found.append(says)
    return found
