"""A plan: the resources of one host in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rackhand.agent.record import Record
from rackhand.agent.resource import STAGES, Resource
from rackhand.agent.resources import KINDS


class PlanError(Exception):
    """A plan that contradicts itself: a mistake in a role, not in the user's input."""


class Plan(Record):
    """Resources ordered by stage, and within a stage as the roles gave them."""

    resources: tuple[Resource, ...]

    def __init__(self, resources: tuple[Resource, ...]) -> None:
        super().__init__(resources=resources)

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> Plan:
        """Orders and checks. Raises PlanError for an id that stands twice or a reference to what does not precede."""
        ordered = tuple(sorted(resources, key=lambda resource: STAGES.index(resource.stage)))
        seen: set[str] = set()
        for resource in ordered:
            if resource.id in seen:
                raise PlanError(f"{resource.id} is in the plan twice")
            for reference in resource.references():
                if reference not in seen:
                    raise PlanError(f"{resource.id} refers to {reference}, which does not come before it")
            seen.add(resource.id)
        return cls(ordered)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.resources)

    def __len__(self) -> int:
        return len(self.resources)

    def to_wire(self) -> list[dict[str, Any]]:
        return [resource.to_wire() for resource in self.resources]

    @classmethod
    def from_wire(cls, wire: Iterable[Mapping[str, Any]]) -> Plan:
        kinds = {kind.kind: kind for kind in KINDS}
        return cls(tuple(kinds[item["kind"]].from_wire(item) for item in wire))
