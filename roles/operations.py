"""Plans of the operations on what is deployed already."""

from collections.abc import Iterable, Sequence

from rackhand.agent.plan import Plan
from rackhand.agent.resource import Resource
from rackhand.agent.resources import Current, Retired
from rackhand.settings import App, HostSettings
from roles.gunicorn import instance, switched
from roles.nginx import probe


def rolled_back(releases: Sequence[tuple[App, str]], host: HostSettings) -> Plan:
    """Earlier releases, started beside the current ones, switched to and proven."""
    return _proven(switched(releases), releases, host)


def restarted(instances: Sequence[tuple[App, str, str]], host: HostSettings) -> Plan:
    """The same releases, each as a new instance in place of the one that is named."""
    releases = [(app, release) for app, release, _ in instances]
    started = [instance(app, release, replaces=old) for app, release, old in instances]
    shared = tuple(app.name for app, _ in releases if app.strategy == "restart")
    current = Current(releases=tuple((app.name, release) for app, release in releases), shared=shared)
    return _proven([*started, current], releases, host)


def _proven(resources: Iterable[Resource], releases: Sequence[tuple[App, str]], host: HostSettings) -> Plan:
    current = tuple((app.name, release) for app, release in releases)
    retired = Retired(current=current, venvs=(), keep=host.keep_releases)
    return Plan.of([*resources, *(probe(app) for app, _ in releases), *([retired] if releases else [])])


def smoke_tests(apps: Iterable[App]) -> Plan:
    """Every application asked for its health through nginx."""
    return Plan.of(probe(app) for app in apps)
