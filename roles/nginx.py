"""Nginx on port 80: every application under its route."""

from collections.abc import Iterator

from rackhand.agent import layout
from rackhand.agent.maintenance import PAGE
from rackhand.agent.resource import Resource
from rackhand.agent.resources import Link, NginxSite, Packages, Probe
from rackhand.agent.resources.nginx_site import TOKEN, TOKEN_PATH
from rackhand.agent.serving import PREFIX_HEADER
from rackhand.settings import App
from rackhand.target import Target
from rackhand.templates import render
from roles import serving

PORT = 80
_ETC = "/etc/nginx"
_SITE = f"{_ETC}/conf.d/rackhand.conf"


def nginx(target: Target) -> Iterator[Resource]:
    if target.settings.direct:
        return
    # The package makes this link to its welcome page when there is none; one that leads nowhere, made before the
    # package is installed, keeps the page away.
    yield Link(path=f"{_ETC}/sites-enabled/default", target="/dev/null")
    yield Packages(packages=("nginx",))


def nginx_site(target: Target) -> Iterator[Resource]:
    """The site has all applications of the host, also when only one of them is deployed now."""
    if not target.settings.direct:
        yield NginxSite(path=_SITE, content=site(target), port=PORT)
    for app in target.apps:
        yield probe(app)


def no_site(target: Target) -> Iterator[Resource]:
    """What makes room for an application that listens itself, before that is started."""
    if direct := target.settings.direct:
        yield NginxSite(path=_SITE, content="", port=direct.direct or PORT, keeps=direct.name)


def site(target: Target) -> str:
    settings = target.settings
    apps = [
        {
            "name": app.name,
            "prefix": serving.prefix(app),
            "socket": f"{layout.current(app.name)}/app.sock",
            "streams": serving.is_asgi(app, target),
            "static": [
                (serving.prefix(app) + url, f"{layout.current(app.name)}/release/code/{folder}")
                for url, folder in sorted(app.static.items())
            ],
            "site": app.server_name or settings.nginx.server_name,
        }
        for app in settings.apps
    ]
    # The first one answers requests for all names that no other has.
    names = dict.fromkeys([settings.nginx.server_name, *(str(app["site"]) for app in apps)])
    return render(
        "nginx.conf.j2",
        apps=apps,
        sites=[(name, [app for app in apps if app["site"] == name]) for name in names],
        nginx=settings.nginx,
        ipv6=target.facts["ipv6"],
        prefix_header=PREFIX_HEADER,
        edge=target.settings.edge,
        edges=target.settings.behind.edges if target.settings.behind else (),
        token=TOKEN,
        token_path=TOKEN_PATH,
        drained=layout.DRAINED,
        maintenance=layout.MAINTENANCE,
        maintenance_page=PAGE,
    )


def probe(app: App) -> Probe:
    """Asks for the application's health as its clients do: through nginx, unless it listens itself."""
    port, host = app.direct or PORT, app.server_name or "localhost"
    return Probe(app=app.name, port=port, path=serving.prefix(app) + app.health, host=host)
