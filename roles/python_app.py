"""An application's user, environment and release."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from rackhand.agent import layout
from rackhand.agent.resource import Resource
from rackhand.agent.resources import Directory, Packages, Release, User, Virtualenv
from rackhand.bundle import with_server
from rackhand.settings import App
from rackhand.target import Target
from roles import serving


def python_app(target: Target) -> Iterator[Resource]:
    if target.apps:
        yield Packages(packages=("ca-certificates",))  # the package index is asked over TLS
    for app in target.apps:
        yield User(user=layout.user(app.name))
        yield Directory(path=layout.app(app.name))
        yield Directory(path=f"{layout.app(app.name)}/releases")
    environments = {environment.key: environment for environment in (virtualenv(app, target) for app in target.apps)}
    yield from environments.values()
    for app in target.apps:
        yield release(app, target)


def virtualenv(app: App, target: Target) -> Virtualenv:
    """Shared by all that need the same packages for the same interpreter."""
    requirements = with_server(target.bundles[app.name].requirements, serving.worker(app, target), app.server)
    interpreter = f"{target.facts['python']} {target.facts['architecture']}"
    key = hashlib.sha256(f"{interpreter}\n{requirements}".encode()).hexdigest()[:16]
    return Virtualenv(key=key, requirements=requirements, uv=target.uv)


def release(app: App, target: Target) -> Release:
    """Named by all that an instance of it is made of, so that whatever changes is started beside the old. The first
    part of the name is of the application's folder alone, and so the same on all hosts, however these differ."""
    bundle = target.bundles[app.name]
    code = bundle.code
    environment = virtualenv(app, target)
    configuration = serving.configuration(app, target)
    variables = environment_file(app)
    units = serving.units(app, ipv6=target.facts["ipv6"])
    public = tuple(sorted(app.static.values()))
    made_of = [code, environment.key, configuration, variables, units, public]
    name = f"{_digest([code, bundle.requirements])[:8]}.{_digest(made_of)[:6]}"
    own = [(file, text.replace(serving.RELEASE, name), "0644") for file, text in units.items()]
    return Release(
        app=app.name,
        release=name,
        group=layout.user(app.name),
        code=code,
        archive=bundle.archive,
        files=((serving.CONFIGURATION[app.server], configuration, "0640"), ("env", variables, "0600"), *own),
        links=(("venv", layout.venv(environment.key)),),
        public=public,
    )


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def environment_file(app: App) -> str:
    """The variables in the form of systemd's EnvironmentFile=, each value quoted."""
    return "".join(f'{key}="{_escaped(value)}"\n' for key, value in sorted(app.env.items()))


def _escaped(value: str) -> str:
    return "".join(f"\\{character}" if character in '\\"$`' else character for character in value)
