"""The instances of an application's release, and the switch to them."""

from collections.abc import Iterable, Iterator, Sequence

from rackhand.agent.resource import Resource
from rackhand.agent.resources import Current, Instance, Retired
from rackhand.settings import App
from rackhand.target import Target
from roles import serving
from roles.nginx import no_site
from roles.python_app import release, virtualenv


def gunicorn(target: Target) -> Iterator[Resource]:
    """With all applications of the host at once, one that is declared no longer stops serving."""
    only = target.apps == target.settings.apps
    chosen = [(app, release(app, target).release) for app in target.apps]
    yield from no_site(target)
    started = [instance(app, name, venv=virtualenv(app, target).key) for app, name in chosen]
    yield from switched(chosen, started, only=only)
    yield Retired(
        current=tuple((app.name, release_id) for app, release_id in chosen),
        venvs=tuple(dict.fromkeys(virtualenv(app, target).key for app in target.apps)),
        keep=target.settings.keep_releases,
        only=only,
    )


def switched(
    chosen: Sequence[tuple[App, str]], started: Iterable[Instance], *, only: bool = False
) -> Iterator[Resource]:
    """Releases, started and made current."""
    yield from started
    yield Current(
        releases=tuple((app.name, release_id) for app, release_id in chosen),
        only=only,
        shared=tuple(app.name for app, _ in chosen if app.strategy == "restart"),
    )


def instance(app: App, release_id: str, *, replaces: str = "", venv: str = "") -> Instance:
    return Instance(
        app=app.name,
        release=release_id,
        health=serving.prefix(app) + app.health,
        prefix=serving.prefix(app),
        timeout=app.health_timeout,
        settle=app.settle,
        drain=app.drain,
        strategy=app.strategy,
        replaces=replaces,
        venv=venv,
        app_set=app.where("app"),
        worker_set=app.where("worker") if app.worker is not None else "",
        # With this strategy, starting the new one stops the old one.
        stage="switch" if app.strategy == "restart" else "prepare",
    )
