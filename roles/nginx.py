"""Nginx on port 80: every application under its route."""

from collections.abc import Iterator

from rackhand.agent import layout
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


def nginx(target: Target) -> Iterator[Resource]:
    # The package makes this link to its welcome page when there is none; one that leads nowhere, made before the
    # package is installed, keeps the page away.
    yield Link(path=f"{_ETC}/sites-enabled/default", target="/dev/null")
    yield Packages(packages=("nginx",))


def nginx_site(target: Target) -> Iterator[Resource]:
    """The site has all applications of the host, also when only one of them is deployed now."""
    yield NginxSite(path=f"{_ETC}/conf.d/rackhand.conf", content=site(target), port=PORT)
    for app in target.apps:
        yield probe(app)


def site(target: Target) -> str:
    apps = [
        {
            "name": app.name,
            "prefix": serving.prefix(app),
            "socket": f"{layout.current(app.name)}/app.sock",
            "streams": serving.is_asgi(app, target),
        }
        for app in target.settings.apps
    ]
    return render(
        "nginx.conf.j2",
        apps=apps,
        nginx=target.settings.nginx,
        ipv6=target.facts["ipv6"],
        prefix_header=PREFIX_HEADER,
        edge=target.settings.edge,
        edges=target.settings.behind.edges if target.settings.behind else (),
        token=TOKEN,
        token_path=TOKEN_PATH,
    )


def probe(app: App) -> Probe:
    """Asks for the application's health through nginx."""
    return Probe(app=app.name, port=PORT, path=serving.prefix(app) + app.health)
