"""What a host's variables mean to Rackhand: read once, checked in full, typed.

A class says what each setting is for; the function that fills it says what it may be. All mistakes of a host
are reported together, each with file, line and path.
"""

from __future__ import annotations

import ast
import dataclasses
import ipaddress
import math
import operator
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NewType, TypeVar, get_args, get_origin, get_type_hints

from rackhand import edges
from rackhand.agent.redaction import Redaction
from rackhand.agent.serving import Strategy
from rackhand.bundle import IGNORED
from rackhand.edges import Behind, Edge
from rackhand.errors import UserError
from rackhand.inventory import Host, Origin, Variables, did_you_mean, got, shown
from rackhand.secret_values import SecretValues

Worker = Literal["uvicorn", "sync", "gthread", "asgi"]
Server = Literal["gunicorn", "uvicorn"]
Kind = Literal["ssh", "local"]

# The user and the units of an application are called rackhand-NAME. A user's name has at most 32 characters,
# starts with a small letter or `_`, and may hold `-`, which systemd reads as a slash in names that it
# unescapes. What remains is valid for both, and as it is in paths and in a Python identifier.
_APP_NAME = re.compile(r"[a-z][a-z0-9_]{0,22}")
_MODULE_OBJECT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?", re.ASCII)
# What nginx takes literally everywhere, in no need of quotes or percent signs.
_ROUTE = re.compile(r"/|(/(?!\.{1,2}(/|$))[A-Za-z0-9._~@+-]+)+")
_HEALTH = re.compile(r"/[A-Za-z0-9._~@+/%?=&-]*")
_SERVER_NAME = re.compile(r"_|[A-Za-z0-9*.-]+")
_OWN_SERVER_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*")
# A folder below another one, that nginx takes literally too.
_INNER_FOLDER = re.compile(r"(?!\.{1,2}(/|$))[A-Za-z0-9._~@+-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9._~@+-]+)*")
_GROUP = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

#: More workers or threads than this are a slip of the pen.
_MANY = 1024
#: Variables of an application shorter than this (`info`, `8080`) are words that stand anywhere.
_LEAST = 8

#: MiB in which an application server and one worker do not even start.
_LEAST_MEMORY = 32


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """How to reach a host, from Ansible's variables. `timeout` in seconds. None leaves the choice to SSH's
    own configuration, and for the interpreter to discovery."""

    host: str
    user: str | None = None
    port: int | None = None
    kind: Kind = "ssh"
    private_key_file: Path | None = None
    ssh_common_args: tuple[str, ...] = ()
    password: str | None = field(default=None, repr=False)
    become: bool = False
    become_user: str = "root"
    become_password: str | None = field(default=None, repr=False)
    timeout: int = 10
    python_interpreter: str | None = None


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

    def where(self, setting: str) -> str:
        """The place of a setting, or of the application where it is left out, as messages name it."""
        return f"{self.origins.get(setting, self.origin)}: apps.{self.name}.{setting}"


@dataclass(frozen=True, kw_only=True)
class NginxSettings:
    """The site on port 80. `read_timeout` is how many seconds an application may be silent within one request
    or WebSocket; `max_body_mb` the largest request body in MiB."""

    server_name: str = "_"
    max_body_mb: int = 16
    read_timeout: int = 3600


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """The host's SSH server. None leaves an option as it is; `root_login` is what PermitRootLogin is to say."""

    passwords: bool | None = None
    root_login: str | None = None


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """A TCP port that is open, to everybody or to a network only."""

    port: int
    source: str | None = None

    @property
    def family(self) -> str:
        """As nftables calls the protocol of the network."""
        return "ip6" if ":" in (self.source or "") else "ip"


@dataclass(frozen=True, kw_only=True)
class FirewallSettings:
    """What is open besides SSH, HTTP and HTTPS."""

    allow: tuple[Allowed, ...] = ()


#: Text that must be shown nowhere, as the annotation of a setting of a user's own role.
Secret = NewType("Secret", str)


@dataclass(frozen=True, kw_only=True)
class RoleSettings:
    """A role of a host. One of the user's own has a file, the digest of what is in that file's folder, and `values`:
    those of its settings that are set."""

    name: str
    file: Path | None = None
    digest: str = ""
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)


#: Rackhand's own roles in their order, each with the one that must come before it: what `default` stands for.
ROLES: Mapping[str, str | None] = {
    "baseline": None,
    "nginx": None,
    "hardening": "baseline",
    "edge": None,
    "python_app": "baseline",
    "gunicorn": "python_app",
    "nginx_site": "nginx",
}
_DEFAULT = "default"
#: Variables with a meaning of their own, which no role's settings can be in.
_TAKEN = ("apps", "roles")
#: Without all of these, an application is not deployed.
APP_ROLES = ("edge", "python_app", "gunicorn", "nginx_site")


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """All that is set for one host. Without `ssh` or `firewall` these are left alone. `confirm_within` is how many
    seconds the host waits for a new connection after it has changed either. `edge` is what an edge passes requests on
    to, `behind` who passes requests on to this host: that follows from the whole inventory, and is added later."""

    name: str
    groups: tuple[str, ...]
    connection: ConnectionSettings
    apps: tuple[App, ...]
    nginx: NginxSettings
    keep_releases: int
    ssh: SshSettings | None = None
    firewall: FirewallSettings | None = None
    confirm_within: int = 30
    roles: tuple[RoleSettings, ...] = tuple(RoleSettings(name=name) for name in ROLES)
    #: What must be shown nowhere, in each way of writing it.
    secrets: tuple[str, ...] = field(default=(), repr=False)
    edge: Edge | None = None
    behind: Behind | None = None

    @property
    def direct(self) -> App | None:
        """The application that listens itself, and is the only one then."""
        return next((app for app in self.apps if app.direct), None)


def host_settings(host: Host, project: Path, *, sites: Iterable[Path] = ()) -> HostSettings:
    """The settings of a host; relative paths in them start at `project`. The user's own roles are in the folders
    `roles` of the `sites` and of the project. Raises UserError with one line for each mistake."""
    fields = _variables_of(host)
    settings = _checked(fields, host, project, sites)
    if fields.problems:
        raise UserError("\n".join(dict.fromkeys(fields.problems)))
    connection = settings.connection
    common = (connection.host, connection.user or "", *connection.ssh_common_args)
    return replace(settings, secrets=fields.secrets.all(common))


@dataclass(frozen=True, kw_only=True)
class Read:
    """What Rackhand reads of a host's variables: the names that it asks for, whether they are set or not, and the
    mistakes that it finds, each with file, line and path."""

    names: frozenset[str]
    mistakes: tuple[str, ...]


def read(host: Host, project: Path, *, sites: Iterable[Path] = ()) -> Read:
    """What `host_settings` reads, and what would keep it from its end."""
    fields = _variables_of(host)
    _checked(fields, host, project, sites)
    return Read(names=frozenset(fields.asked), mistakes=tuple(dict.fromkeys(fields.problems)))


def _variables_of(host: Host) -> _Fields:
    return _Fields(host.vars, (), host.vars.lazy, [], SecretValues(host.vars.vault))


def _checked(fields: _Fields, host: Host, project: Path, sites: Iterable[Path]) -> HostSettings:
    connection = _connection(fields, host, project)
    # What `tune` has found for this host. It stands in a variable of its own, since `apps` is replaced as a whole.
    tunings = fields.mapping("rackhand_tuning")
    settings = HostSettings(
        name=host.name,
        groups=host.groups,
        connection=connection,
        apps=tuple(_app(app, tunings.mapping(str(app.path[-1])), project) for app in fields.mappings("apps")),
        nginx=_nginx(fields.mapping("rackhand_nginx")),
        keep_releases=fields.whole("rackhand_keep_releases", 5, least=1),
        ssh=_ssh(fields.optional("rackhand_ssh"), connection),
        firewall=_firewall(fields.optional("rackhand_firewall")),
        confirm_within=fields.whole("rackhand_confirm_within", 30, least=5, most=600),
        edge=_edge(fields.optional("rackhand_edge"), host),
        roles=_roles(fields, [folder / "roles" for folder in (*sites, project)]),
    )
    fields.convert("rackhand_address", _address, None)
    if settings.edge is not None and settings.apps:
        fields.problem(("rackhand_edge",), "an edge passes all requests on, and this host has apps of its own")
    missing = [name for name in APP_ROLES if name not in [role.name for role in settings.roles]]
    if settings.apps and missing and not fields.problems:
        fields.problem(("roles",), f"the host has apps, which need {', '.join(missing)}: add them, or {_DEFAULT}")
    if settings.edge is not None and "nginx_site" in missing:
        fields.problem(("roles",), f"an edge needs nginx_site: add it, or {_DEFAULT}")
    if settings.direct:
        _check_alone(settings.direct, settings, fields)
    else:
        _check_routes(settings, fields)
    tunings.refuse_unknown()
    # Other variables belong to the user; only these cannot be anything but ours.
    fields.refuse_unknown("rackhand_")
    return settings


def passed_on(settings: HostSettings, behind: Behind | None) -> HostSettings:
    """The settings of a host with those who pass requests on to it. Raises UserError."""
    if behind is not None and settings.direct is not None:
        why = f"{settings.name} is behind an edge, whose word on its clients only nginx takes: leave this out"
        raise UserError(f"{settings.direct.where('direct')}: {why}")
    return replace(settings, behind=behind)


def _check_alone(direct: App, settings: HostSettings, fields: _Fields) -> None:
    for app in settings.apps:
        if app is not direct:
            message = f"{direct.name} listens itself (direct), and has to be the only application of its host"
            fields.problem(("apps", app.name), message)


def _check_routes(settings: HostSettings, fields: _Fields) -> None:
    """Within one site everything has a path of its own."""
    routes: dict[tuple[str | None, str], App] = {}
    for app in settings.apps:
        site = None if app.server_name == settings.nginx.server_name else app.server_name
        static = ((("static", url), app.route.rstrip("/") + url) for url in app.static)
        for key, path in ((("route",), app.route), *static):
            if path and (first := routes.setdefault((site, path), app)) is not app:
                fields.problem(("apps", app.name, *key), f"{path} is the route of {first.name} already")


def _connection(fields: _Fields, host: Host, project: Path) -> ConnectionSettings:
    def key_file(value: object) -> Path:
        path = project / Path(_text(value)).expanduser()
        if not path.is_file():
            raise ValueError(f"should be a file: {shown(path)} is not one")
        return path

    fields.choice("ansible_become_method", ("sudo",), "sudo")
    interpreter = fields.text("ansible_python_interpreter", "auto")
    return ConnectionSettings(
        host=fields.word(fields.last("ansible_host", "ansible_ssh_host"), host.name),
        user=fields.word(fields.last("ansible_user", "ansible_ssh_user"), "") or None,
        port=fields.whole(fields.last("ansible_port", "ansible_ssh_port"), 0, least=1, most=65535) or None,
        kind=fields.convert("ansible_connection", _kind, "ssh"),
        private_key_file=fields.convert(
            fields.last("ansible_private_key_file", "ansible_ssh_private_key_file"), key_file, None
        ),
        ssh_common_args=tuple(
            argument
            for name in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
            for argument in fields.convert(name, _arguments, ())
        ),
        password=fields.secret(fields.last("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")),
        become=fields.flag("ansible_become", False),
        become_user=fields.word(fields.last("ansible_become_user", "ansible_sudo_user"), "root"),
        become_password=fields.secret(
            fields.last("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
        ),
        timeout=fields.whole(fields.last("ansible_timeout", "ansible_ssh_timeout"), 10, least=1),
        python_interpreter=None if interpreter.startswith("auto") else interpreter,
    )


def _app(fields: _Fields, tuning: _Fields, project: Path) -> App:
    """What `tuning` says is stronger."""

    def folder(value: object) -> Path:
        path = project / _text(value)
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
        app=fields.required("app", _matching(_MODULE_OBJECT, "module:object, as app:app"), ""),
        route=route("route", _matching(_ROUTE, "a path like /shop, or /"), "/" if direct else ""),
        worker=tuning.choice("worker", get_args(Worker), worker := fields.choice("worker", get_args(Worker), None)),
        server=fields.choice("server", get_args(Server), "gunicorn"),
        workers=tuning.convert("workers", _workers, fields.convert("workers", _workers, "auto")),
        threads=tuning.whole("threads", fields.whole("threads", 2, least=1, most=_MANY), least=1, most=_MANY),
        health=fields.convert("health", _matching(_HEALTH, "a path like /health"), "/health"),
        env=dict(_env(fields.mapping("env"))),
        static=dict(_static(fields.mapping("static"), path)),
        direct=direct,
        timeout=fields.whole("timeout", 30, least=1),
        drain=fields.whole("drain", 30, least=1),
        groups=fields.convert("groups", _groups, ()),
        server_name=fields.convert("server_name", _own_server_name, None),
        health_timeout=fields.whole("health_timeout", 30, least=1),
        settle=fields.whole("settle", 0, least=0, most=_MANY),
        strategy=fields.choice("strategy", get_args(Strategy), "restart" if direct else "beside"),
        worker_memory=fields.whole("worker_memory", 128, least=1),
        memory_limit=fields.whole("memory_limit", 0, least=_LEAST_MEMORY) or None,
        origin=fields.origin(()),
        origins={str(key): fields.origin((key,)) for key in fields.values},
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


def _check_direct(app: App, fields: _Fields) -> None:
    for key in ("server_name", "static"):
        if key in fields.values:
            fields.problem((key,), "is nginx's, and without it (direct) there is none")
    if app.route != "/":
        fields.problem(("route",), "is a path below the site of nginx: without it (direct) there is only /")
    if app.strategy != "restart":
        fields.problem(
            ("strategy",), f"{app.strategy} needs nginx to switch: without it (direct) there is only restart"
        )


def _roles(fields: _Fields, folders: list[Path]) -> tuple[RoleSettings, ...]:
    names = fields.convert("roles", _names, None)
    if names is None:
        return HostSettings.roles
    expanded = [one for name in names for one in (ROLES if name == _DEFAULT else [name])]
    found: dict[str, RoleSettings] = {}
    for name in expanded:
        needed = ROLES.get(name)
        if name in found:
            fields.problem(("roles",), f"{name} is there twice")
        elif needed is not None and needed not in found:
            fields.problem(("roles",), f"{name} needs {needed} before it")
        found[name] = RoleSettings(name=name) if name in ROLES else _own_role(fields, name, folders)
    return tuple(found.values())


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"should be a list of names, got {got(value)}")
    return value


def _own_role(fields: _Fields, name: str, folders: list[Path]) -> RoleSettings:
    """A role of the user's own, whose settings are in the variable of its name."""
    # Here, because most hosts have none.
    from rackhand import own_roles

    if name in _TAKEN:
        fields.problem(("roles",), f"{name} is no name for a role: its settings would be in the variable {name}")
        return RoleSettings(name=name)
    file = next((folder / f"{name}.py" for folder in folders if (folder / f"{name}.py").is_file()), None)
    if file is None or not name.isidentifier():
        there = sorted({_DEFAULT, *ROLES, *(path.stem for folder in folders for path in folder.glob("[a-z]*.py"))})
        where = " or ".join(dict.fromkeys(shown(folder / f"{name}.py") for folder in folders))
        fields.problem(("roles",), f"there is no role {name!r}{did_you_mean(name, there)}: {where} would be it")
        return RoleSettings(name=name)
    try:
        own = own_roles.load(name, file.resolve())
    except UserError as error:
        fields.problem(("roles",), str(error))
        return RoleSettings(name=name)
    if own.settings is None:
        if name in fields.values:
            fields.problem((name,), f"the role takes no settings ({shown(file)})")
        return RoleSettings(name=name, file=file.resolve(), digest=own.digest)
    below = fields.mapping(name)
    before = len(fields.problems)
    values = dict(_set(fields, below, own.settings))
    below.refuse_unknown()
    if len(fields.problems) == before:
        try:
            own.settings(**values)
        except Exception as error:  # of its own __post_init__, which may do anything
            said = str(error) if isinstance(error, ValueError) else own_roles.told(file, error)
            said = Redaction(fields.secrets.all(())).text(said)
            fields.problem((name,) if name in fields.values else ("roles",), said)
    return RoleSettings(name=name, file=file.resolve(), digest=own.digest, values=values)


def _set(fields: _Fields, below: _Fields, kind: type[Any]) -> Iterable[tuple[str, Any]]:
    """The settings that are set, out of the fields of a dataclass."""
    hints = get_type_hints(kind)
    for one in dataclasses.fields(kind):
        value = _typed(below, one.name, hints[one.name])
        if one.name in below.values:
            yield one.name, value
        elif one.default is one.default_factory is dataclasses.MISSING:
            fields.problem(("roles",), f"{below.path[-1]}.{one.name} is missing")
        elif Secret in (hints[one.name], *get_args(hints[one.name])) and one.default:
            fields.secrets.add(str(one.default), 1)


def _typed(below: _Fields, key: str, hint: Any) -> Any:
    """The value of a key as an annotation wants it. What is secret, and what is in a mapping, is read by itself."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if type(None) in get_args(hint) else [hint]
    if kinds == [Secret]:
        return below.secret(key)
    if get_origin(kinds[0]) in (dict, Mapping):
        inner = below.mapping(key)
        return {name: _typed(inner, name, get_args(kinds[0])[1]) for name in inner.values}
    return below.convert(key, partial(_by_annotation, hint), None)


def _by_annotation(hint: Any, value: object) -> Any:
    """A value as a field of this type holds it: text, numbers, flags, choices, and tuples of these."""
    origin, arguments = get_origin(hint), get_args(hint)
    if type(None) in arguments:
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _by_annotation(hint, value)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"should be {' or '.join(map(str, arguments))}, got {got(value)}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"should be a list, got {got(value)}")
        return tuple(_by_annotation(arguments[0], item) for item in value)
    convert: Callable[[object], Any] | None = {str: _text, int: _whole, bool: _flag}.get(hint)
    if convert is None:
        raise ValueError(f"is declared as {hint}, which no setting can be: see docs/roles.md")
    return hint(convert(value))


def _groups(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) and _GROUP.fullmatch(name) for name in value):
        raise ValueError(f"should be a list of group names, got {value!r}")
    return tuple(value)


def _env(fields: _Fields) -> Iterable[tuple[str, str]]:
    for key in fields.values:
        if not isinstance(key, str) or not _ENV_KEY.fullmatch(key):
            fields.problem((key,), "the name of an environment variable has letters, digits and _, no digit first")
        yield key, fields.secret(key, least=_LEAST) or ""


def _own_server_name(value: object) -> str:
    name = str(value).lower()  # as nginx compares it
    if not isinstance(value, str) or len(name) > 253 or not _OWN_SERVER_NAME.fullmatch(name):
        raise ValueError(f"should be a host name like shop.example, got {got(value)}")
    return name


def _static(fields: _Fields, path: Path) -> Iterable[tuple[str, str]]:
    def folder(value: object) -> str:
        inner = _matching(_INNER_FOLDER, "a folder in the application, as static")(value)
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


def _nginx(fields: _Fields) -> NginxSettings:
    settings = NginxSettings(
        server_name=fields.convert("server_name", _matching(_SERVER_NAME, "a host name"), "_"),
        max_body_mb=fields.whole("max_body_mb", 16, least=1),
        read_timeout=fields.whole("read_timeout", 3600, least=1),
    )
    fields.refuse_unknown()
    return settings


def _ssh(fields: _Fields | None, connection: ConnectionSettings) -> SshSettings | None:
    if fields is None:
        return None
    settings = SshSettings(
        passwords=fields.convert("passwords", _flag, None), root_login=fields.convert("root_login", _root_login, None)
    )
    fields.refuse_unknown()
    if connection.kind == "ssh":
        root = connection.user == "root"
        if root and settings.root_login == "no":
            fields.problem(("root_login",), "would lock Rackhand out, which connects as root: set another ansible_user")
        if root and settings.root_login == "prohibit-password" and connection.password is not None:
            fields.problem(("root_login",), "would lock Rackhand out, which connects as root with ansible_password")
        if settings.passwords is False and connection.password is not None:
            fields.problem(("passwords",), "would lock Rackhand out, which connects with ansible_password: use a key")
    return settings


def _root_login(value: object) -> str:
    if value == "prohibit-password":
        return value
    try:
        return "yes" if _flag(value) else "no"
    except ValueError:
        raise ValueError(f"should be true, false or prohibit-password, got {got(value)}") from None


def _edge(fields: _Fields | None, host: Host) -> Edge | None:
    if fields is None:
        return None
    found = fields.required("to", lambda value: edges.edge(_text(value), host.vars.namespace()), None)
    keepalive = fields.whole("keepalive", 0, least=0, most=10_000)
    fields.refuse_unknown()
    return found and replace(found, keepalive=keepalive)


def _address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(_text(value)))
    except ValueError:
        raise ValueError(f"should be an IP address, got {got(value)}") from None


def _firewall(fields: _Fields | None) -> FirewallSettings | None:
    if fields is None:
        return None
    settings = FirewallSettings(allow=fields.convert("allow", _allowed, ()))
    fields.refuse_unknown()
    return settings


def _allowed(value: object) -> tuple[Allowed, ...]:
    if not isinstance(value, list):
        raise ValueError(f"should be a list of ports, got {got(value)}")
    return tuple(map(_allowed_one, value))


def _allowed_one(value: object) -> Allowed:
    try:
        source, _, port = str(value).rpartition(":") if isinstance(value, str) else ("", "", value)
        number = _whole(port)
        if not 1 <= number <= 65535 or (":" in source and "/" not in source):
            raise ValueError
        return Allowed(port=number, source=str(ipaddress.ip_network(source)) if source else None)
    except ValueError:
        raise ValueError(
            f'each should be a port, or a network and a port ("10.0.0.0/8:5432"), got {got(value)}'
        ) from None


# Values


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"should be text, got {got(value)}")
    if _CONTROL.search(str(value)):
        raise ValueError("may not contain line breaks or control characters")
    return str(value)


def _word(value: object) -> str:
    """For what becomes an argument of a command: it must not look like an option, nor like several words."""
    text = _text(value)
    if not text or text.startswith("-") or re.search(r"\s", text):
        raise ValueError(f"should be one word that does not begin with a dash, got {text!r}")
    return text


def _secret(written: str | None, value: object) -> str:
    """For what no message may show, given as it was written, too."""
    if value is None:
        raise ValueError('has no value: write "" for an empty one')
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("should be text: quote it")
    if not isinstance(value, str) and written is not None and str(value) != written:
        raise ValueError("is a number that YAML would write differently: quote it")
    if _CONTROL.search(str(value)):
        raise ValueError("may not contain line breaks or control characters")
    return str(value)


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[object], str]:
    def convert(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"should be {what}, got {got(value)}")
        return value

    return convert


def _whole(value: object) -> int:
    # Text, because that is what templates and --extra-vars give.
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"should be a whole number, got {got(value)}")
    return value


def _flag(value: object) -> bool:
    """As Ansible reads a boolean."""
    for answer, words in (
        (True, ("yes", "on", "1", "true", "t", "y")),
        (False, ("no", "off", "0", "false", "f", "n")),
    ):
        if value is answer or str(value).lower() in words:
            return answer
    raise ValueError(f"should be true or false, got {got(value)}")


def _kind(value: object) -> Kind:
    name = _text(value).removeprefix("ansible.builtin.")
    if name in ("ssh", "smart", "paramiko", "paramiko_ssh"):
        return "ssh"
    if name == "local":
        return "local"
    raise ValueError(f"should be ssh or local, got {name!r}")


def _arguments(value: object) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(_text(value)))
    except ValueError as error:
        raise ValueError(f"is not a list of arguments: {error}") from None


def _workers(value: object) -> int | str:
    try:
        number = _whole(value)
    except ValueError:
        pass
    else:
        if not 1 <= number <= _MANY:
            raise ValueError(f"should be from 1 to {_MANY}, got {number}")
        return number
    if isinstance(value, str):
        if value == "auto":
            return value
        try:
            _evaluate(_parse(value), dict.fromkeys(_FACTS, 1))
            return value
        except ArithmeticError:  # With these facts, but perhaps not with a host's.
            return value
        except ValueError:
            pass
    raise ValueError(f'should be a whole number, "auto" or an expression, got {got(value)}')


T = TypeVar("T")
D = TypeVar("D")


class _Fields:
    """One mapping among a host's variables while it is checked. Its methods hand out typed values and note
    each problem they meet; the default they return in its place is never used, since a problem ends the
    run."""

    def __init__(
        self,
        variables: Variables,
        path: tuple[str | int, ...],
        values: Mapping[Any, Any],
        problems: list[str],
        secrets: SecretValues,
    ) -> None:
        self.path = path
        self.values = values
        self._variables = variables
        self.problems = problems
        self.secrets = secrets
        self.asked: set[str] = set()

    def origin(self, below: tuple[str | int, ...]) -> Origin:
        name, *rest = (*self.path, *below)
        origin = self._variables.origin(str(name), *rest)
        if origin is None:
            raise KeyError(name)
        return origin

    def _written(self, key: str) -> str | None:
        name, *rest = (*self.path, key)
        return self._variables.text(str(name), *rest)

    def problem(self, below: tuple[str | int, ...], message: str) -> None:
        path = ".".join(map(str, (*self.path, *below)))
        self.problems.append(f"{self.origin(below)}: {path}: {self._variables.vault.hide(message)}")

    def convert(self, key: str, convert: Callable[[object], T], default: D, *, secret: bool = False) -> T | D:
        self.asked.add(key)
        if key not in self.values:
            return default
        try:
            value = self.values[key]
            if not secret and self.path and self._reveals(value):
                raise ValueError(
                    "was encrypted, and would be readable on the host: only passwords, env and what a role declares as "
                    "Secret are secret"
                )
            return convert(value)
        except ValueError as error:
            self.problem((key,), str(error))
        except UserError as error:  # Of its template: says where by itself.
            self.problems.append(str(error))
        return default

    def _reveals(self, value: object) -> bool:
        """Whether an ordinary setting has what was encrypted by itself. A shorter one may be there by chance."""
        encrypted = [text for text in self._variables.vault.values if len(text) >= _LEAST]
        return isinstance(value, (str, list)) and any(text in str(value) for text in encrypted)

    def required(self, key: str, convert: Callable[[object], T], default: D) -> T | D:
        if key not in self.values:
            self.problem((), f"{key} is missing")
        return self.convert(key, convert, default)

    def text(self, key: str, default: str) -> str:
        return self.convert(key, _text, default)

    def word(self, key: str, default: str) -> str:
        return self.convert(key, _word, default)

    def secret(self, key: str, *, least: int = 1) -> str | None:
        """A text that is shown nowhere, if it has `least` characters."""
        text = self.convert(key, partial(_secret, self._written(key)), None, secret=True)
        if text is not None:
            self.secrets.add(text, least)
        return text

    def flag(self, key: str, default: bool) -> bool:
        return self.convert(key, _flag, default)

    def whole(self, key: str, default: int, *, least: int, most: int | None = None) -> int:
        def convert(value: object) -> int:
            number = _whole(value)
            if number < least or (most is not None and number > most):
                bounds = f"at least {least}" if most is None else f"from {least} to {most}"
                raise ValueError(f"should be {bounds}, got {number}")
            return number

        return self.convert(key, convert, default)

    def choice(self, key: str, options: tuple[Any, ...], default: T) -> T:
        either = " or ".join(filter(None, (", ".join(options[:-1]), options[-1])))

        def convert(value: object) -> Any:
            if value not in options:
                hint = did_you_mean(value, options) if isinstance(value, str) else ""
                raise ValueError(f"should be {either}, got {got(value)}{hint}")
            return value

        return self.convert(key, convert, default)

    def last(self, *keys: str) -> str:
        """Of several names for one setting, the last that is set: the one that Ansible lets count."""
        self.asked.update(keys)
        return next((key for key in reversed(keys) if key in self.values), keys[0])

    def mapping(self, key: str) -> _Fields:
        """The mapping below a key; an empty one when it is not set."""

        def convert(value: object) -> Mapping[Any, Any]:
            if not isinstance(value, Mapping):
                raise ValueError(f"should be a mapping, got {got(value)}")
            return value

        values = self.convert(key, convert, None)
        # Of what is no mapping nothing more can be said.
        problems = [] if values is None else self.problems
        return _Fields(self._variables, (*self.path, key), values or {}, problems, self.secrets)

    def optional(self, key: str) -> _Fields | None:
        """The mapping below a key, or None when it is not set."""
        below = self.mapping(key)
        return below if key in self.values else None

    def mappings(self, key: str) -> list[_Fields]:
        """The mappings below the mapping below a key."""
        outer = self.mapping(key)
        return [outer.mapping(inner) for inner in outer.values]

    def refuse_unknown(self, prefix: str = "") -> None:
        """Notes the keys that nothing has asked for."""
        known = sorted(key for key in self.asked if key.startswith(prefix))
        for key in self.values:
            if key not in self.asked and str(key).startswith(prefix):
                hint = did_you_mean(str(key), known) or f": there are {', '.join(known)}"
                self.problem((key,), f"unknown key{hint}")


# How many workers

_FACTS = ("cores", "memory_mb")
_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def resolve_workers(app: App, facts: Mapping[str, Any]) -> int:
    """How many workers an application has on a host with these facts: at least 1. `auto` is one more than the
    cores, as long as the memory holds them. Raises UserError when the expression has no usable value
    there."""
    if isinstance(app.workers, int):
        return app.workers
    if app.workers == "auto":
        return max(1, min(int(facts["cores"]) + 1, int(facts["memory_mb"]) // app.worker_memory))
    try:
        number = _evaluate(_parse(app.workers), facts)
        if not math.isfinite(number) or number > _MANY:
            raise ValueError(f"it is no number up to {_MANY}")
    except (ArithmeticError, ValueError) as error:
        given = ", ".join(f"{name} {facts[name]}" for name in _FACTS)
        raise UserError(f"{app.where('workers')}: {app.workers!r} has no usable value for {given}: {error}") from None
    return max(1, int(number))


def _parse(expression: str) -> ast.expr:
    """Raises ValueError when it is not an expression."""
    if len(expression) > 200:
        raise ValueError("is too long")
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError("is not an expression") from None


def _evaluate(node: ast.expr, facts: Mapping[str, Any]) -> float:
    """Raises ValueError for anything but numbers, facts, arithmetic, min and max."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name) if name in _FACTS:
            return float(facts[name])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(left, facts), _evaluate(right, facts))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, facts)
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[_, *_] as arguments, keywords=[]):
            return (min if name == "min" else max)(_evaluate(argument, facts) for argument in arguments)
    raise ValueError("is not an expression")
