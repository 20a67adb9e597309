"""An application's unit, the instance of its release, and the switch to it."""

from collections.abc import Iterator

from rackhand.agent import layout
from rackhand.agent.resource import Resource
from rackhand.agent.resources import Current, Instance, Retired, SystemdUnit
from rackhand.settings import App
from rackhand.target import Target
from roles import serving
from roles.python_app import release, virtualenv


def gunicorn(target: Target) -> Iterator[Resource]:
    for app in target.apps:
        yield SystemdUnit(path=f"{layout.SYSTEMD}/{layout.template_unit(app.name)}", content=serving.unit(app))
    current = {app.name: release(app, target).release for app in target.apps}
    for app in target.apps:
        yield from running(app, current[app.name])
    yield Retired(
        current=tuple(current.items()),
        venvs=tuple(dict.fromkeys(virtualenv(app, target).key for app in target.apps)),
        keep=target.settings.keep_releases,
    )


def running(app: App, release_id: str) -> Iterator[Resource]:
    """One release, started and made current."""
    health = serving.prefix(app) + app.health
    yield Instance(app=app.name, release=release_id, health=health, timeout=app.health_timeout)
    yield Current(app=app.name, release=release_id)
