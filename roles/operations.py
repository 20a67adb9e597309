"""Plans of the operations on what is deployed already."""

from collections.abc import Iterable, Sequence

from rackhand.agent.plan import Plan
from rackhand.agent.resources import Retired
from rackhand.settings import App, HostSettings
from roles.gunicorn import running
from roles.nginx import probe


def rolled_back(releases: Sequence[tuple[App, str]], host: HostSettings) -> Plan:
    """Earlier releases, started beside the current ones, switched to and proven."""
    return Plan.of(
        [
            *(resource for app, release in releases for resource in running(app, release)),
            *(probe(app) for app, _ in releases),
            Retired(current=tuple((app.name, release) for app, release in releases), venvs=(), keep=host.keep_releases),
        ]
    )


def smoke_tests(apps: Iterable[App]) -> Plan:
    """Every application asked for its health through nginx."""
    return Plan.of(probe(app) for app in apps)
