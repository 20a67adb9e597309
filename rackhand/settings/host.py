"""All that a host's variables say to Rackhand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from rackhand.edges import Behind, Edge
from rackhand.errors import UserError
from rackhand.inventory import Host
from rackhand.secret_values import SecretValues
from rackhand.settings.app import App, app_of
from rackhand.settings.connection import ConnectionSettings, connection_of
from rackhand.settings.fields import Fields
from rackhand.settings.machine import FirewallSettings, SshSettings, firewall_of, ssh_of
from rackhand.settings.roles import APP_ROLES, DEFAULT, EVERY_ROLE, RoleSettings, roles_of
from rackhand.settings.web import NginxSettings, address_of, edge_of, nginx_of


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
    roles: tuple[RoleSettings, ...] = EVERY_ROLE
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


def _variables_of(host: Host) -> Fields:
    return Fields(host.vars, (), host.vars.lazy, [], SecretValues(host.vars.vault))


def _checked(fields: Fields, host: Host, project: Path, sites: Iterable[Path]) -> HostSettings:
    connection = connection_of(fields, host, project)
    # What `tune` has found for this host. It stands in a variable of its own, since `apps` is replaced as a whole.
    tunings = fields.mapping("rackhand_tuning")
    settings = HostSettings(
        name=host.name,
        groups=host.groups,
        connection=connection,
        apps=tuple(app_of(app, tunings.mapping(str(app.path[-1])), project) for app in fields.mappings("apps")),
        nginx=nginx_of(fields.mapping("rackhand_nginx")),
        keep_releases=fields.whole("rackhand_keep_releases", 5, least=1),
        ssh=ssh_of(fields.optional("rackhand_ssh"), connection),
        firewall=firewall_of(fields.optional("rackhand_firewall")),
        confirm_within=fields.whole("rackhand_confirm_within", 30, least=5, most=600),
        edge=edge_of(fields.optional("rackhand_edge"), host),
        roles=roles_of(fields, [folder / "roles" for folder in (*sites, project)]),
    )
    fields.convert("rackhand_address", address_of, None)
    if settings.edge is not None and settings.apps:
        fields.problem(("rackhand_edge",), "an edge passes all requests on, and this host has apps of its own")
    missing = [name for name in APP_ROLES if name not in [role.name for role in settings.roles]]
    if settings.apps and missing and not fields.problems:
        fields.problem(("roles",), f"the host has apps, which need {', '.join(missing)}: add them, or {DEFAULT}")
    if settings.edge is not None and "nginx_site" in missing:
        fields.problem(("roles",), f"an edge needs nginx_site: add it, or {DEFAULT}")
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


def _check_alone(direct: App, settings: HostSettings, fields: Fields) -> None:
    for app in settings.apps:
        if app is not direct:
            message = f"{direct.name} listens itself (direct), and has to be the only application of its host"
            fields.problem(("apps", app.name), message)


def _check_routes(settings: HostSettings, fields: Fields) -> None:
    """Within one site everything has a path of its own."""
    routes: dict[tuple[str | None, str], App] = {}
    for app in settings.apps:
        site = None if app.server_name == settings.nginx.server_name else app.server_name
        static = ((("static", url), app.route.rstrip("/") + url) for url in app.static)
        for key, path in ((("route",), app.route), *static):
            if path and (first := routes.setdefault((site, path), app)) is not app:
                fields.problem(("apps", app.name, *key), f"{path} is the route of {first.name} already")
