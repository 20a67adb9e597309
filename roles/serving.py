"""How an application is served: by which worker, how many, under which prefix."""

from rackhand.agent import layout
from rackhand.agent.serving import PREFIX_HEADER, STARTED_FROM
from rackhand.bundle import ASGI_WORKERS, names
from rackhand.protocol import FRAMEWORKS, Protocol
from rackhand.settings import App, Worker, resolve_workers
from rackhand.target import Target
from rackhand.templates import render

#: The group that nginx's workers run as on Debian and Ubuntu.
WEB_GROUP = "www-data"


#: Stands in a unit's text for the release's id, which is a digest of that text among others.
RELEASE = "@RELEASE@"


def worker(app: App, target: Target) -> Worker:
    bundle = target.bundles[app.name]
    return worker_for(app, bundle.requirements, bundle.protocols.get(app.app))


def worker_for(app: App, requirements: str, speaks: Protocol | None) -> Worker:
    """The kind of workers that the inventory names; else one by what the application speaks; where its source does not
    tell, by the frameworks that it requires."""
    if app.worker is not None:
        return app.worker
    frameworks = {FRAMEWORKS[name] for name in names(requirements) & FRAMEWORKS.keys()}
    return "uvicorn" if speaks == "asgi" or speaks is None and "asgi" in frameworks else "sync"


def is_asgi(app: App, target: Target) -> bool:
    """Whether the application speaks ASGI; the others speak WSGI."""
    return worker(app, target) in ASGI_WORKERS


def prefix(app: App) -> str:
    """The route as it stands before every path: nothing for "/"."""
    return app.route.rstrip("/")


#: The file of a release that says how it is served, by application server.
CONFIGURATION = {"gunicorn": "gunicorn.conf.py", "uvicorn": "serve.py"}


def configuration(app: App, target: Target) -> str:
    """The text of that file."""
    return render(
        f"{CONFIGURATION[app.server]}.j2",
        app=app,
        worker=worker(app, target),
        asgi=is_asgi(app, target),
        workers=resolve_workers(app, target.facts),
        prefix_header=PREFIX_HEADER,
    )


def units(app: App, *, ipv6: bool = True, folder: str | None = None) -> dict[str, str]:
    """The units of a release's instances, with RELEASE in place of its id; and, where releases run one after the other,
    those that hold the socket meanwhile. `folder` is the release's own unless it is named."""
    socket, holder = (layout.listener(app.name, kind) for kind in ("socket", "service"))
    others = [file for server, file in CONFIGURATION.items() if server != app.server]
    found = {
        layout.UNIT: render(
            "unit.service.j2",
            app=app,
            id=RELEASE,
            release=folder or layout.release(app.name, RELEASE),
            user=layout.user(app.name),
            web_group=WEB_GROUP,
            socket=socket,
            configuration=CONFIGURATION[app.server],
            started_from=[name for name in STARTED_FROM if name not in others],
            loaded=layout.LOADED,
        )
    }
    if app.strategy == "restart":
        path = layout.shared_socket(app.name)
        found[layout.SOCKET] = render(
            "app.socket.j2", app=app, socket=path, holder=holder, web_group=WEB_GROUP, ipv6=ipv6
        )
        found[layout.HOLDER] = render("app.service.j2", app=app)
    return found
