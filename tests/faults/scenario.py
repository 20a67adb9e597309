"""Scenarios: what is on a host before, the command that runs, and what may serve then."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.subject import Subject

DEPLOY = ("deploy",)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`old` serves before, or nothing does; `new` serves once the command has done its work."""

    old: str | None
    new: str
    command: tuple[str, ...] = DEPLOY


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`fresh` needs a host that Rackhand has never seen. `within`: boundaries inside of steps are tried, too."""

    name: str
    prepare: Callable[[Subject], Trial]
    fresh: bool = False
    within: bool = True


def _fresh(subject: Subject) -> Trial:
    return Trial(old=None, new=subject.says)


def code_only(subject: Subject) -> Trial:
    """The code of both applications changes."""
    old = subject.says
    subject.next_code()
    return Trial(old=old, new=subject.says)


def _dependency(subject: Subject) -> Trial:
    old = subject.says
    subject.next_dependency()
    return Trial(old=old, new=subject.says)


def _rollback(subject: Subject) -> Trial:
    before = subject.says
    subject.next_code()
    subject.must("deploy")
    return Trial(old=subject.says, new=before, command=("rollback",))


FRESH = Scenario(name="fresh", prepare=_fresh, fresh=True, within=False)
CODE = Scenario(name="code", prepare=code_only)
DEPENDENCY = Scenario(name="dependency", prepare=_dependency)
ROLLBACK = Scenario(name="rollback", prepare=_rollback)

#: The slowest last.
SCENARIOS = (CODE, ROLLBACK, DEPENDENCY, FRESH)
