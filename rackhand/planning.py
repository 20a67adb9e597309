"""From a target to its plan."""

from collections.abc import Callable, Iterable

from rackhand.agent.plan import Plan
from rackhand.agent.resource import Resource
from rackhand.agent.resources import Packages
from rackhand.target import Target

Role = Callable[[Target], Iterable[Resource]]


def plan(target: Target, roles: Iterable[Role]) -> Plan:
    """What the roles want, in their order, with all packages in one transaction at the place of the first."""
    return Plan.of(_one_transaction([resource for role in roles for resource in role(target)]))


def _one_transaction(resources: list[Resource]) -> list[Resource]:
    packages = [resource for resource in resources if isinstance(resource, Packages)]
    if not packages:
        return resources
    together = Packages(packages=tuple(sorted({name for resource in packages for name in resource.packages})))
    first = resources.index(packages[0])
    rest = [resource for resource in resources[first:] if not isinstance(resource, Packages)]
    return [*resources[:first], together, *rest]
