"""Carries out a plan: reads each resource, compares, applies, reads again; undoes when a step fails."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rackhand.agent.ahead import Ahead
from rackhand.agent.events import Emitter
from rackhand.agent.plan import Plan
from rackhand.agent.redaction import MASK
from rackhand.agent.resource import Failure, Resource, ResourceError, State
from rackhand.agent.system import CommandError, System

if TYPE_CHECKING:
    from rackhand.agent.guard import Guard

Change = dict[str, Any]

#: Errors whose message says all that is to be known.
_FORESEEN = (ResourceError, CommandError, OSError, LookupError)


class Outcome:
    """The counts of a run. `reason` says why it failed; `undone` that what it had changed was taken back; `sound` that
    nothing is known of what serves that speaks against sending it requests."""

    def __init__(
        self, *, failed: int = 0, skipped: int = 0, interrupted: bool = False, reason: str | None = None
    ) -> None:
        self.ok = 0
        self.changed = 0
        self.failed = failed
        self.skipped = skipped
        self.undone = False
        self.interrupted = interrupted
        self.sound = True
        self.reason = reason
        self.applied: list[tuple[Resource, State]] = []
        self.unproven: list[Resource] = []


class _Clock:
    """How long each part of dealing with one resource took, in seconds: to check, to apply, to recheck."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._started, 4)

    @contextlib.contextmanager
    def timing(self, part: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.parts[part] = round(time.monotonic() - started, 4)


def compare(resource: Resource, wanted: State, actual: State) -> list[Change]:
    """What differs, key by key. Text of several lines is told as a unified diff; secrets only as being different."""
    changes: list[Change] = []
    for key, value in wanted.items():
        before = actual.get(key)
        if before == value:
            continue
        label = resource.name if key == "content" else f"{resource.name}/{key}"
        if key in resource.secret:
            changes.append({"key": key, "before": None if before is None else MASK, "after": MASK})
        elif isinstance(value, str) and ("\n" in value or isinstance(before, str) and "\n" in before):
            changes.append({"key": key, "diff": _diff(before if isinstance(before, str) else "", value, label)})
        else:
            changes.append({"key": key, "before": before, "after": value})
    return changes


def _diff(before: str, after: str, name: str) -> str:
    import difflib

    def lines(split: Callable[[str], list[str]]) -> list[str]:
        heads = (f"{name} (now)", f"{name} (wanted)")
        return list(difflib.unified_diff(split(before), split(after), *heads, lineterm="", n=2))

    # splitlines() hides how lines end: where that is all that differs, they are split by hand.
    return "\n".join(lines(str.splitlines) or lines(lambda text: text.split("\n")))


def ask(plan: Plan, system: System) -> None:
    """Begins with the questions that reading these resources will ask of other programs: once it is clear that nobody
    else changes the host, and before what takes a while and changes nothing."""
    system.leave()
    system.watch(unit for resource in plan for unit in resource.units())
    for resource in plan:
        for question in resource.questions(system):
            system.begin(*question)


def run(
    plan: Plan,
    system: System,
    emit: Emitter,
    *,
    apply: bool,
    cancelled: Callable[[], bool] = lambda: False,
    guard: Guard | None = None,
    ahead: Ahead | None = None,
    before_change: Callable[[], None] = lambda: None,
) -> Outcome:
    """Checks the plan and, with `apply`, makes the host what it says, calling `before_change` before each change. The
    first failure ends the run and undoes it. To `ask` before that is faster."""
    outcome = Outcome()
    changed: set[str] = set()
    failure: Failure | None = None
    for position, resource in enumerate(plan):
        switching = any(done.stage != "prepare" for done, _ in outcome.applied)
        if apply and resource.stage in ("prepare", "switch") and not switching and cancelled():
            outcome.interrupted = True
            outcome.reason = "interrupted before the switch"
            failure = Failure(resource=resource, message=outcome.reason)
        if not resource.cuts_off:
            _settle(outcome, guard, system, emit)
        if outcome.reason is not None:
            outcome.skipped += len(plan) - position
            break
        if resource.stage == "retire":
            _proven(outcome, system)
        if resource.observes and not apply and outcome.changed:
            outcome.skipped += 1
            emit("resource", id=resource.id, stage=resource.stage, status="skipped", seconds=0.0)
            continue
        emit("begin", id=resource.id, stage=resource.stage, within=resource.deadline)
        clock = _Clock()
        warnings: tuple[str, ...] = ()
        try:
            with _within(resource.deadline):
                changes = _converge(resource, system, outcome, apply, guard, ahead, clock, before_change)
            if not apply and not changes and (followed := changed.intersection(resource.follows(system))):
                changes = [{"key": "follows", "before": None, "after": ", ".join(sorted(followed))}]
            warnings = resource.warnings(system)
        except Exception as error:  # whatever it is, what was done must be undone
            outcome.failed += 1
            outcome.sound = not resource.observes
            outcome.reason = f"{resource.id}: {_message(error)}"
            failure = Failure(resource=resource, message=_message(error))
            result: dict[str, Any] = {"status": "failed", "message": _message(error), "log": _log(error)}
        else:
            result = {"status": "changed" if changes else "ok"}
            if changes:
                outcome.changed += 1
                changed.add(resource.id)
                result["changes"] = changes
            else:
                outcome.ok += 1
        parts = {"parts": clock.parts} if len(clock.parts) > 1 else {}
        emit("resource", id=resource.id, stage=resource.stage, seconds=clock.seconds, **parts, **result)
        for text in warnings:
            emit("warning", text=text)
    system.leave()
    _settle(outcome, guard, system, emit)
    if outcome.reason is None:
        _proven(outcome, system)
    elif outcome.applied:
        failure = failure or Failure(resource=outcome.applied[-1][0], message=outcome.reason)
        # In the last stage the new has proven itself, and the old may have been told to stop.
        if failure.resource.stage != "retire":
            _undo(outcome, plan, system, emit, failure)
    return outcome


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    """Breaks off what takes longer, whatever it waits for. Commands have deadlines of their own, which say more."""

    def late(number: int, frame: object) -> None:
        raise ResourceError(f"was not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, _FORESEEN) else f"{type(error).__name__}: {error}"


def _log(error: Exception) -> list[str]:
    """What the host's programs said, or where Rackhand itself went wrong."""
    if isinstance(error, ResourceError):
        return list(error.log)
    if isinstance(error, _FORESEEN):
        return []
    import traceback

    return traceback.format_exc().splitlines()


def _settle(outcome: Outcome, guard: Guard | None, system: System, emit: Emitter) -> None:
    """Has what can cut the controller off confirmed, or put back when the run has failed."""
    if guard is None or not guard.armed:
        return
    if outcome.reason is not None:
        emit("notice", level="info", text=guard.give_up(system))
    else:
        outcome.reason = guard.settle(system)
        if outcome.reason is not None:
            put_back = sum(resource.cuts_off for resource, _ in outcome.applied)
            outcome.changed -= put_back
            outcome.failed += put_back


def _converge(
    resource: Resource,
    system: System,
    outcome: Outcome,
    apply: bool,
    guard: Guard | None,
    ahead: Ahead | None,
    clock: _Clock,
    before_change: Callable[[], None],
) -> list[Change]:
    wanted = resource.wanted()
    with clock.timing("check"):
        actual = resource.actual(system)
        changes = compare(resource, wanted, actual)
    if changes and apply:
        before_change()
        system.leave()
        with clock.timing("apply"):
            if resource.cuts_off and guard is not None:
                guard.arm(resource, system)
            if ahead is not None:
                ahead.before(resource)
            outcome.applied.append((resource, actual))
            outcome.unproven.append(resource)
            resource.apply(system, actual)
        with clock.timing("recheck"):
            left = compare(resource, wanted, resource.actual(system))
        if left:
            keys = ", ".join(change["key"] for change in left)
            raise ResourceError(f"was applied, and still differs in: {keys}")
    return changes


def _proven(outcome: Outcome, system: System) -> None:
    """What was applied and seen to serve is not doubted by later runs."""
    while outcome.unproven:
        outcome.unproven.pop().proven(system)


def _undo(outcome: Outcome, plan: Plan, system: System, emit: Emitter, failure: Failure) -> None:
    """Takes back what was applied, the last first, then asks again whether what served before serves now."""
    switched = any(resource.stage != "prepare" for resource, _ in outcome.applied)
    undone = True
    for resource, before in reversed(outcome.applied):
        try:
            with _within(resource.deadline):
                if compare(resource, before, resource.actual(system)):
                    resource.undo(system, before, failure)
        except Exception as error:  # one that cannot be undone must not keep the others from it
            undone = False
            emit("notice", level="error", text=f"could not undo {resource.id}: {_message(error)}")
    outcome.undone = switched
    if not switched:
        return
    outcome.sound = undone
    for resource in plan:
        if resource.observes and resource.matters_after(outcome.applied):
            try:
                resource.actual(system)
            except Exception as error:
                outcome.sound = False
                emit("notice", level="error", text=f"after undoing the switch, {resource.id}: {_message(error)}")
            else:
                emit("notice", level="info", text=f"the switch was undone, and {resource.name} answers as before")
