"""From a target to its plan."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from rackhand.agent.plan import Plan, PlanError
from rackhand.agent.resource import Resource
from rackhand.agent.resources import Packages
from rackhand.errors import UserError
from rackhand.tags import Selection
from rackhand.target import Target


class Role(Protocol):
    """A function, known by its name."""

    __name__: str

    def __call__(self, target: Target, /) -> Iterable[Resource]: ...


def plan(target: Target, roles: Iterable[Role]) -> Plan:
    """What the roles want, in their order, with all packages in one transaction at the place of the first."""
    return selected(target, roles)[0]


def selected(target: Target, roles: Iterable[Role], selection: Selection | None = None) -> tuple[Plan, tuple[str, ...]]:
    """The plan of what is meant, and the ids of what is left out. Raises UserError for roles that contradict each
    other, and when what is meant cannot be without what is left out."""
    wanted = [(role.__name__, resource) for role in roles for resource in role(target)]
    chosen = selection.choose(wanted) if selection else [resource for _, resource in wanted]
    try:
        made = Plan.of(_one_transaction(chosen))
    except PlanError as error:
        raise UserError(f"the roles of the host contradict each other: {error}") from error
    ids = {resource.id for resource in made}
    return made, tuple(dict.fromkeys(resource.id for _, resource in wanted if resource.id not in ids))


def _one_transaction(resources: Sequence[Resource]) -> Sequence[Resource]:
    packages = [resource for resource in resources if isinstance(resource, Packages)]
    if not packages:
        return resources
    together = Packages(packages=tuple(sorted({name for resource in packages for name in resource.packages})))
    first = resources.index(packages[0])
    rest = [resource for resource in resources[first:] if not isinstance(resource, Packages)]
    return [*resources[:first], together, *rest]
