"""What every kind of resource is: a declaration, and how its state is read and changed on a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

from rackhand.agent.record import Record
from rackhand.agent.system import System

Stage = Literal["prepare", "switch", "verify", "retire"]
STAGES: tuple[Stage, ...] = get_args(Stage)

State = Mapping[str, object]


class ResourceError(Exception):
    """A resource that could not be read or brought to its wanted state; `log` holds what the host's programs said."""

    def __init__(self, message: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.log = log


class Failure(Record):
    """The resource at which a run failed, and why."""

    resource: Resource
    message: str


class Before(Record):
    """How to put back what a resource that can cut off the controller is about to change: these files as they are now,
    then commands, each with its standard input, for what runs. After a boot the files alone are put back."""

    files: tuple[str, ...]
    commands: tuple[tuple[tuple[str, ...], str], ...]


class Resource(Record):
    """One thing on a host. A kind says what is wanted, reads what is, and changes it; comparing, diffing, reading again
    after a change, timing and undoing belong to the engine."""

    kind: ClassVar[str]
    #: Keys of the state that are never shown.
    secret: ClassVar[frozenset[str]] = frozenset()
    #: True for a kind that only looks at what the resources before it have made.
    observes: ClassVar[bool] = False
    #: True for a kind that can cut the controller off: the host takes its change back unless the controller confirms it
    #: over a new connection.
    cuts_off: ClassVar[bool] = False
    #: True for a kind whose apply takes long, and computes for the smaller part of it.
    mostly_waits: ClassVar[bool] = False
    #: True for a kind that can `begin` with an apply before its turn.
    begins_early: ClassVar[bool] = False

    stage: Stage = "prepare"

    @property
    def name(self) -> str:
        """What tells this resource from the others of its kind."""
        raise NotImplementedError

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def deadline(self) -> int:
        """Seconds within which it is dealt with, or has failed. Longer than any single command that it runs."""
        return 300

    def references(self) -> tuple[str, ...]:
        """The ids of the resources that must come before this one in the plan."""
        return ()

    def follows(self, system: System) -> tuple[str, ...]:
        """The ids of resources whose change always changes this one too, which a check cannot see on the host."""
        return ()

    def units(self) -> tuple[str, ...]:
        """The systemd units whose state this resource reads; the engine asks systemd for all of them at once."""
        return ()

    def questions(self, system: System) -> tuple[tuple[str, ...], ...]:
        """The commands whose output `actual` needs; the engine begins with all of them at once."""
        return ()

    def blobs(self, system: System) -> tuple[str, ...]:
        """Digests of the data that applying this resource needs from the controller and the host does not have."""
        return ()

    def wanted(self) -> State:
        raise NotImplementedError

    def actual(self, system: System) -> State:
        """What is on the host now, with the keys of `wanted`. Changes nothing."""
        raise NotImplementedError

    def apply(self, system: System, actual: State) -> None:
        """Makes the wanted state from the actual one. Raises ResourceError."""
        raise NotImplementedError

    def begin(self, system: System) -> None:
        """For a kind that can begin early: does what it can of an apply, should that be needed, while what comes before
        it in the plan is applied. It may fail, and may be killed at any time."""

    def abandon(self, system: System) -> None:
        """Removes what `begin` has left, when there is no apply to come."""

    def before(self, system: System) -> Before:
        """For a kind that can cut the controller off: what the host puts back without a confirmation."""
        raise NotImplementedError

    def undo(self, system: System, before: State, failure: Failure) -> None:
        """Takes back an apply when the run fails later on. What has no effect on traffic has nothing to undo."""

    def proven(self, system: System) -> None:
        """Called once the run has seen that what serves is as wanted, after an apply."""

    def warnings(self, system: System) -> tuple[str, ...]:
        """What its user should know of it, once it is as wanted."""
        return ()

    def matters_after(self, undone: Sequence[tuple[Resource, State]]) -> bool:
        """For a kind that observes: whether what it asks must be so again after these changes were undone."""
        return True

    def to_wire(self) -> dict[str, Any]:
        return {"kind": self.kind, **vars(self)}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Resource:
        return cls(**{key: _frozen(value) for key, value in wire.items() if key != "kind"})


def _frozen(value: Any) -> Any:
    """JSON has no tuples; resources have no lists."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value
