"""How an application is served: by which worker, how many, under which prefix."""

from rackhand.agent import layout
from rackhand.bundle import names
from rackhand.settings import App, resolve_workers
from rackhand.target import Target
from rackhand.templates import render

#: Frameworks that speak ASGI: an application that requires one gets Uvicorn workers, unless it says otherwise.
_ASGI_FRAMEWORKS = frozenset({"fastapi", "starlette", "litestar", "quart", "sanic", "blacksheep", "channels"})

#: The group that nginx's workers run as on Debian and Ubuntu.
WEB_GROUP = "www-data"


def worker(app: App, target: Target) -> str:
    if app.worker is not None:
        return app.worker
    return "uvicorn" if names(target.bundles[app.name].requirements) & _ASGI_FRAMEWORKS else "sync"


def prefix(app: App) -> str:
    """The route as it stands before every path: nothing for "/"."""
    return app.route.rstrip("/")


def configuration(app: App, target: Target) -> str:
    """The text of gunicorn.conf.py."""
    return render(
        "gunicorn.conf.py.j2",
        app=app,
        worker=worker(app, target),
        workers=resolve_workers(app, target.facts),
        prefix=prefix(app),
    )


def unit(app: App) -> str:
    """The text of the template unit."""
    return render(
        "unit.service.j2",
        app=app,
        unit=layout.template_unit(app.name),
        user=layout.user(app.name),
        release=layout.release(app.name, "%i"),
        web_group=WEB_GROUP,
    )
