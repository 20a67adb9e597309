"""What the inventory may ask for although there is something better: told once, before any host is changed."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rackhand.bundle import Bundle
from rackhand.settings import App, HostSettings


def cautions(hosts: Iterable[HostSettings], bundles: Mapping[Path, Bundle]) -> tuple[str, ...]:
    """One sentence for each, however many hosts it is about. `bundles` are by the application's folder."""
    found = (text for host in hosts for app in host.apps for text in _of(app, host, bundles))
    return tuple(dict.fromkeys(found))


def _of(app: App, host: HostSettings, bundles: Mapping[Path, Bundle]) -> Iterator[str]:
    if app.server != "uvicorn":
        return
    # Loaded only where there is something to say: plans are not made of it here.
    from rackhand.target import Target
    from roles import serving

    of = Target(settings=host, facts={}, bundles={app.name: bundles[app.path]}, apps=(app,), uv="")
    where = f"{app.origin}: apps.{app.name}.server: "
    if serving.is_asgi(app, of):
        yield where + (
            "Uvicorn alone manages its workers less well than Gunicorn does: one that hangs is not replaced. "
            "Better: server: gunicorn"
        )
    else:
        yield where + (
            "a WSGI application on Uvicorn is experimental: each request goes through an adapter and a thread, and a "
            "worker that hangs is not replaced. Better: server: gunicorn with worker: sync, or with worker: gthread "
            "and threads"
        )
