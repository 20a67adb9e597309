"""An application: what it is, and how it is served."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from rackhand.agent.serving import Strategy
from rackhand.bundle import IGNORED
from rackhand.inventory import Origin, got, shown
from rackhand.settings.fields import LEAST, Fields
from rackhand.settings.values import matching, text
from rackhand.settings.workers import MANY, workers_of

Worker = Literal["uvicorn", "sync", "gthread", "asgi"]
Server = Literal["gunicorn", "uvicorn"]
# The user and the units of an application are called rackhand-NAME. A user's name has at most 32 characters,
# starts with a small letter or `_`, and may hold `-`, which systemd reads as a slash in names that it
# unescapes. What remains is valid for both, and as it is in paths and in a Python identifier.
_APP_NAME = re.compile(r"[a-z][a-z0-9_]{0,22}")
_MODULE_OBJECT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?", re.ASCII)
# What nginx takes literally everywhere, in no need of quotes or percent signs.
_ROUTE = re.compile(r"/|(/(?!\.{1,2}(/|$))[A-Za-z0-9._~@+-]+)+")
_HEALTH = re.compile(r"/[A-Za-z0-9._~@+/%?=&-]*")
_OWN_SERVER_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*")
# A folder below another one, that nginx takes literally too.
_INNER_FOLDER = re.compile(r"(?!\.{1,2}(/|$))[A-Za-z0-9._~@+-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9._~@+-]+)*")
_GROUP = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: MiB in which an application server and one worker do not even start.
_LEAST_MEMORY = 32


@dataclass(frozen=True, kw_only=True)
class App:
    """One application. `path` is an existing folder on the controller, `app` its `module:object`. Times in
    seconds: `timeout` for one request, `drain` for an old instance to end what it has begun, `health_timeout` for
    a new one to become healthy, `settle` for which it must then stay so before it serves. `worker_memory` is what
    one worker takes, and `memory_limit` what an instance may take as a whole, in MiB; None: a part of the host's.
    `worker` None: by what the object is. `origin` is where the application is declared."""

    name: str
    path: Path
    app: str
    route: str
    worker: Worker | None = None
    server: Server = "gunicorn"
    workers: int | str = "auto"
    threads: int = 2
    health: str = "/health"
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: int = 30
    drain: int = 30
    health_timeout: int = 30
    settle: int = 0
    strategy: Strategy = "beside"
    worker_memory: int = 128
    memory_limit: int | None = None
    #: Further groups of the host, for what the application may read (adm: nginx's logs).
    groups: tuple[str, ...] = ()
    #: The site that the route is in, by its name; None for the one of all names that have none of their own.
    server_name: str | None = None
    #: Paths below the route whose files nginx serves, each from a folder of the application.
    static: Mapping[str, str] = field(default_factory=dict)
    #: The port that it listens on itself, without nginx, at the route "/".
    direct: int | None = None
    origin: Origin = field(compare=False, repr=False)
    #: Where each setting that is set stands.
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False, repr=False)
    #: Of these, those that a tuning of the host says, which is stronger.
    tuned: tuple[str, ...] = field(default=(), compare=False)

    def variable(self, setting: str) -> str:
        """The variable of the host that says what a setting is."""
        return "rackhand_tuning" if setting in self.tuned else "apps"

    def where(self, setting: str) -> str:
        """The place of a setting, or of the application where it is left out, as messages name it."""
        return f"{self.origins.get(setting, self.origin)}: {self.variable(setting)}.{self.name}.{setting}"


def app_of(fields: Fields, tuning: Fields, project: Path) -> App:
    """What `tuning` says is stronger."""

    def folder(value: object) -> Path:
        path = project / text(value)
        if not path.is_dir():
            raise ValueError(f"should be a folder: {shown(path)} is not one")
        return path.resolve()

    name = str(fields.path[-1])
    if not _APP_NAME.fullmatch(name):
        fields.problem((), "an application's name has at most 23 small letters, digits and _, a letter first")
    path = fields.required("path", folder, project)
    direct = fields.whole("direct", 0, least=1, most=65535) or None
    route = fields.convert if direct else fields.required
    app = App(
        name=name,
        path=path,
        app=fields.required("app", matching(_MODULE_OBJECT, "module:object, as app:app"), ""),
        route=route("route", matching(_ROUTE, "a path like /shop, or /"), "/" if direct else ""),
        worker=tuning.choice("worker", get_args(Worker), worker := fields.choice("worker", get_args(Worker), None)),
        server=fields.choice("server", get_args(Server), "gunicorn"),
        workers=tuning.convert("workers", workers_of, fields.convert("workers", workers_of, "auto")),
        threads=tuning.whole("threads", fields.whole("threads", 2, least=1, most=MANY), least=1, most=MANY),
        health=fields.convert("health", matching(_HEALTH, "a path like /health"), "/health"),
        env=dict(_env(fields.mapping("env"))),
        static=dict(_static(fields.mapping("static"), path)),
        direct=direct,
        timeout=fields.whole("timeout", 30, least=1),
        drain=fields.whole("drain", 30, least=1),
        groups=fields.convert("groups", _groups, ()),
        server_name=fields.convert("server_name", _own_server_name, None),
        health_timeout=fields.whole("health_timeout", 30, least=1),
        settle=fields.whole("settle", 0, least=0, most=MANY),
        strategy=fields.choice("strategy", get_args(Strategy), "restart" if direct else "beside"),
        worker_memory=fields.whole("worker_memory", 128, least=1),
        memory_limit=fields.whole("memory_limit", 0, least=_LEAST_MEMORY) or None,
        origin=fields.origin(()),
        origins={str(key): place.origin((key,)) for place in (fields, tuning) for key in place.values},
        tuned=tuple(map(str, tuning.values)),
    )
    for place, kind in ((fields, worker), (tuning, app.worker)):
        if kind not in (None, "gthread") and "threads" in place.values:
            place.problem(("threads",), f"only the worker gthread has threads, and this is {kind}")
    tuning.refuse_unknown()
    if app.server == "uvicorn" and app.worker not in (None, "uvicorn"):
        place = tuning if "worker" in tuning.values else fields
        place.problem(("worker",), f"only gunicorn has workers of the kind {app.worker}, and the server is uvicorn")
    if direct:
        _check_direct(app, fields)
    fields.refuse_unknown()
    return app


def _check_direct(app: App, fields: Fields) -> None:
    for key in ("server_name", "static"):
        if key in fields.values:
            fields.problem((key,), "is nginx's, and without it (direct) there is none")
    if app.route != "/":
        fields.problem(("route",), "is a path below the site of nginx: without it (direct) there is only /")
    if app.strategy != "restart":
        fields.problem(
            ("strategy",), f"{app.strategy} needs nginx to switch: without it (direct) there is only restart"
        )


def _groups(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) and _GROUP.fullmatch(name) for name in value):
        raise ValueError(f"should be a list of group names, got {value!r}")
    return tuple(value)


def _env(fields: Fields) -> Iterable[tuple[str, str]]:
    for key in fields.values:
        if not isinstance(key, str) or not _ENV_KEY.fullmatch(key):
            fields.problem((key,), "the name of an environment variable has letters, digits and _, no digit first")
        yield key, fields.secret(key, least=LEAST) or ""


def _own_server_name(value: object) -> str:
    name = str(value).lower()  # as nginx compares it
    if not isinstance(value, str) or len(name) > 253 or not _OWN_SERVER_NAME.fullmatch(name):
        raise ValueError(f"should be a host name like shop.example, got {got(value)}")
    return name


def _static(fields: Fields, path: Path) -> Iterable[tuple[str, str]]:
    def folder(value: object) -> str:
        inner = matching(_INNER_FOLDER, "a folder in the application, as static")(value)
        # Not through a link: nginx is let into this folder, and no other.
        if (path / inner).resolve() != path / inner or not (path / inner).is_dir():
            raise ValueError(f"should be a folder in the application: {shown(path / inner)} is not one")
        if left_out := IGNORED.intersection(inner.split("/")):
            raise ValueError(f"should be a folder that is deployed, and {min(left_out)} never is")
        return inner

    for url in fields.values:
        if not isinstance(url, str) or url == "/" or not _ROUTE.fullmatch(url):
            fields.problem((url,), f"should be a path below the route, like /static, got {got(url)}")
        elif (found := fields.convert(url, folder, None)) is not None:
            yield url, found
