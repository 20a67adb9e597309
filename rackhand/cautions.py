"""What the inventory may ask for although there is something better: told once, before any host is changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rackhand.bundle import ASGI_WORKERS, Bundle, names
from rackhand.inventory import shown
from rackhand.settings import App, HostSettings, resolve_workers

if TYPE_CHECKING:
    from rackhand.target import Target

#: Packages that serve, reload or debug an application while it is written.
_DEVELOPMENT = {"aiohttp-devtools", "fastapi-cli", "flask-debugtoolbar", "hupper", "livereload", "watchgod"}
#: The extras that bring fastapi-cli, which is not among the requirements then.
_EXTRA = re.compile(r"^\s*fastapi\s*\[[^]]*?\b(standard|all)\b", re.MULTILINE | re.IGNORECASE)


def cautions(hosts: Iterable[HostSettings], bundles: Mapping[Path, Bundle]) -> tuple[str, ...]:
    """One sentence for each, however many hosts it is about. `bundles` are by the application's folder."""
    found = (text for host in hosts for app in host.apps for text in _of(app, host, bundles))
    return tuple(dict.fromkeys(found))


def shortages(target: Target) -> Iterator[str]:
    """One sentence for each application of a host whose workers may take more memory than that has."""
    for app in target.apps:
        workers, has = resolve_workers(app, target.facts), target.facts["memory_mb"]
        if app.workers != "auto" and workers * app.worker_memory > has:
            yield (
                f"{app.where('workers')}: {workers} workers of {app.worker_memory} MiB each need "
                f"{workers * app.worker_memory} MiB, and {target.settings.name} has {has}: write auto, or say in "
                "worker_memory what one takes"
            )


def _of(app: App, host: HostSettings, bundles: Mapping[Path, Bundle]) -> Iterator[str]:
    requirements = bundles[app.path].requirements
    unfit = sorted(names(requirements) & _DEVELOPMENT)
    if extra := _EXTRA.search(requirements):
        unfit.append(f"fastapi[{extra[1].lower()}]")
    if unfit:
        yield (
            f"{shown(app.path)}: the requirements of {app.name} have {' and '.join(unfit)}, a development server: it "
            "does not serve here, and has no place on a host. Better: require it for development only"
        )
    if app.server == "uvicorn":
        yield _of_uvicorn(app, _worker(app, host, bundles))
    elif app.direct and _worker(app, host, bundles) == "sync":
        yield (
            f"{app.where('direct')}: without nginx a client that is slow keeps a worker, and as many clients as "
            "workers keep all. Better: leave direct out, or worker: gthread"
        )


def _worker(app: App, host: HostSettings, bundles: Mapping[Path, Bundle]) -> str:
    # Loaded only where there is something to say: plans are not made of it here.
    from rackhand.target import Target
    from roles import serving

    return serving.worker(
        app, Target(settings=host, facts={}, bundles={app.name: bundles[app.path]}, apps=(app,), uv="")
    )


def _of_uvicorn(app: App, worker: str) -> str:
    where = app.where("server")
    if worker in ASGI_WORKERS:
        return (
            f"{where}: Uvicorn's workers are then kept by a small master of Rackhand's own, which is younger than "
            "Gunicorn's. Better: server: gunicorn"
        )
    return (
        f"{where}: a WSGI application on Uvicorn is experimental: each request goes through an adapter and a thread, "
        "and workers are kept by a small master of Rackhand's own. Better: server: gunicorn with worker: sync, or with "
        "worker: gthread and threads"
    )
