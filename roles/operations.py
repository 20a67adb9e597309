"""Plans of the operations on what is deployed already."""

from collections.abc import Iterable, Sequence

from rackhand.agent.plan import Plan
from rackhand.agent.resources import Instance, Retired
from rackhand.settings import App, HostSettings
from roles.gunicorn import instance, switched
from roles.nginx import probe


def rolled_back(releases: Sequence[tuple[App, str]], host: HostSettings) -> Plan:
    """Earlier releases, started beside the current ones, switched to and proven."""
    return _proven(releases, [instance(app, release) for app, release in releases], host)


def restarted(instances: Sequence[tuple[App, str, str]], host: HostSettings) -> Plan:
    """The same releases, each as a new instance in place of the one that is named."""
    started = [instance(app, release, replaces=old) for app, release, old in instances]
    return _proven([(app, release) for app, release, _ in instances], started, host)


def _proven(releases: Sequence[tuple[App, str]], started: Sequence[Instance], host: HostSettings) -> Plan:
    current = tuple((app.name, release) for app, release in releases)
    retired = Retired(current=current, venvs=(), keep=host.keep_releases)
    return Plan.of([*switched(releases, started), *(probe(app) for app, _ in releases), retired])


def smoke_tests(apps: Iterable[App]) -> Plan:
    """Every application asked for its health through nginx."""
    return Plan.of(probe(app) for app in apps)
