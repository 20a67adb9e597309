"""What a host needs so that its edges can be kept away while it changes. Of an edge itself, nginx's site is all."""

from collections.abc import Iterator

from rackhand.agent.resource import Resource
from rackhand.agent.resources import Packages
from rackhand.target import Target


def edge(target: Target) -> Iterator[Resource]:
    if target.settings.behind is not None:
        yield Packages(packages=("nftables",))
