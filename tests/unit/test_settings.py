"""Settings are what the variables of a host say, typed, with defaults for the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rackhand.cautions import shortages
from rackhand.errors import UserError
from rackhand.inventory import Origin, load_inventory
from rackhand.settings import (
    Allowed,
    App,
    ConnectionSettings,
    FirewallSettings,
    HostSettings,
    NginxSettings,
    SshSettings,
    host_settings,
    resolve_workers,
)
from roles.gunicorn import instance
from tests.unit.test_roles import target

Settings = Callable[..., HostSettings]

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of a host `h` with the given variables, in a project with the folder `shop`."""
    (tmp_path / "shop/pages/static").mkdir(parents=True)
    (tmp_path / "id").touch()

    def settings(variables: str = "", extra_vars: tuple[str, ...] = ()) -> HostSettings:
        (tmp_path / "hosts.yml").write_text("all: {hosts: {h: }}")
        (tmp_path / "group_vars").mkdir(exist_ok=True)
        (tmp_path / "group_vars/all.yml").write_text(variables)
        return host_settings(load_inventory(tmp_path / "hosts.yml", extra_vars=extra_vars).host("h"), tmp_path)

    return settings


def test_defaults(settings: Settings) -> None:
    """A host with no variables is reached by its name, has no application and keeps 5 releases."""
    assert settings() == HostSettings(
        name="h",
        groups=("all", "ungrouped"),
        connection=ConnectionSettings(host="h"),
        apps=(),
        nginx=NginxSettings(),
        keep_releases=5,
    )


def test_connection(settings: Settings, tmp_path: Path) -> None:
    """Ansible's variables keep their meaning."""
    connection = settings(
        """
ansible_host: 192.0.2.1
ansible_user: debian
ansible_port: 2222
ansible_ssh_private_key_file: id
ansible_ssh_common_args: -o ProxyJump=bastion -o "User Name=x"
ansible_ssh_extra_args: -v
ansible_become: yes
ansible_become_user: root
ansible_become_password: sesame
ansible_password: 12345
ansible_timeout: 3
ansible_python_interpreter: /usr/bin/python3.11
"""
    ).connection
    assert connection == ConnectionSettings(
        host="192.0.2.1",
        user="debian",
        port=2222,
        private_key_file=tmp_path / "id",
        ssh_common_args=("-o", "ProxyJump=bastion", "-o", "User Name=x", "-v"),
        password="12345",
        become=True,
        become_password="sesame",
        timeout=3,
        python_interpreter="/usr/bin/python3.11",
    )


@pytest.mark.parametrize(
    ("variables", "name", "value"),
    [
        ("ansible_ssh_host: a", "host", "a"),
        ("ansible_host: a\nansible_ssh_host: b", "host", "b"),
        ("ansible_ssh_host: b\nansible_host: a", "host", "b"),
        ("ansible_ssh_user: a", "user", "a"),
        ("ansible_ssh_port: 23", "port", 23),
        ("ansible_port: '23'", "port", 23),
        ("ansible_port: '{{ 22 + 1 }}'", "port", 23),
        ("ansible_ssh_pass: a", "password", "a"),
        ("ansible_become_pass: a", "become_password", "a"),
        ("ansible_sudo_pass: a", "become_password", "a"),
        ("ansible_become: 'False'", "become", False),
        ("ansible_become: 1", "become", True),
        ("ansible_ssh_timeout: 7", "timeout", 7),
        ("ansible_connection: local", "kind", "local"),
        ("ansible_connection: ansible.builtin.ssh", "kind", "ssh"),
        ("ansible_connection: smart", "kind", "ssh"),
        ("ansible_python_interpreter: auto_silent", "python_interpreter", None),
        ("ansible_ssh_args: -C", "ssh_common_args", ("-C",)),
    ],
)
def test_other_names_of_connection_variables(settings: Settings, variables: str, name: str, value: object) -> None:
    """Ansible's older names count as well, and win over the newer ones as they do there; text counts as its number."""
    got = getattr(settings(variables).connection, name)
    assert (got, type(got)) == (value, type(value))


def test_secrets_are_not_in_a_representation(settings: Settings) -> None:
    """Nothing that prints settings prints a password or an application's environment."""
    app = "apps: {shop: {path: shop, app: app:app, route: /, env: {KEY: sentinel}}}"
    shown = repr(settings(f"ansible_password: sentinel\nansible_become_password: sentinel\n{app}"))
    assert "sentinel" not in shown


APP = "apps:\n  shop:\n    path: shop\n    app: app:app\n    route: /shop\n"


def test_app_defaults(settings: Settings, tmp_path: Path) -> None:
    """Path, object and route are all that an application must say."""
    (app,) = settings(APP).apps
    assert app == App(name="shop", path=tmp_path / "shop", app="app:app", route="/shop", origin=app.origin)
    assert (app.worker, app.server, app.workers, app.threads) == (None, "gunicorn", "auto", 2)
    assert (app.health, app.env, app.groups, app.worker_memory) == ("/health", {}, (), 128)
    assert app.memory_limit is None
    assert (app.timeout, app.drain, app.health_timeout) == (30, 30, 30)
    assert app.origin.line == 2


def test_app(settings: Settings) -> None:
    """Every key reaches its field."""
    more = """\
    worker: gthread
    workers: cores * 2
    threads: 8
    health: /status?full=1
    env: {A: text, B: 8, C: 1.5, D: "yes", E: "", F: 'a "b" $c \\ é'}
    timeout: 60
    drain: 10
    health_timeout: 90
    worker_memory: 256
    memory_limit: 1500
    groups: [adm]
    server_name: Shop.example
    static: {/a/b: pages, /files: pages/static}
"""
    (app,) = settings(APP + more).apps
    assert (app.worker, app.workers, app.threads, app.health) == ("gthread", "cores * 2", 8, "/status?full=1")
    assert app.env == {"A": "text", "B": "8", "C": "1.5", "D": "yes", "E": "", "F": 'a "b" $c \\ é'}
    assert (app.timeout, app.drain, app.health_timeout, app.worker_memory) == (60, 10, 90, 256)
    assert app.memory_limit == 1500
    assert app.groups == ("adm",)
    assert (app.server_name, app.static) == ("shop.example", {"/a/b": "pages", "/files": "pages/static"})


@pytest.mark.parametrize("route", ["/", "/shop", "/a/b", "/v1.2", "/~me", "/a-b_c+d@e", "/.well-known", "/...", "/A"])
def test_routes(settings: Settings, route: str) -> None:
    """A route is `/`, or segments of characters that need no quotes."""
    assert settings(APP.replace("/shop", route)).apps[0].route == route


def test_nested_routes(settings: Settings) -> None:
    """Routes within one another are no conflict: the longest that fits takes the request."""
    other = APP.partition("\n")[2].replace("shop:", "inner:").replace("/shop", "/shop/inner")
    assert [app.route for app in settings(APP + other).apps] == ["/shop", "/shop/inner"]


def test_the_same_route_in_two_sites(settings: Settings) -> None:
    """A site of its own has routes of its own."""
    other = APP.partition("\n")[2].replace("shop:", "inner:") + "    server_name: inner.example\n"
    assert [app.server_name for app in settings(APP + other).apps] == [None, "inner.example"]


def test_direct(settings: Settings) -> None:
    """An application that listens itself is at the root, and its releases run one after the other."""
    found = settings(APP.replace("    route: /shop\n", "    direct: 8080\n"))
    (app,) = found.apps
    assert found.direct == app
    assert (app.direct, app.route, app.strategy) == (8080, "/", "restart")
    assert settings(APP).direct is None


def test_the_longest_app_name_makes_a_valid_user(settings: Settings) -> None:
    """Debian's useradd takes at most 32 characters, and the user is called rackhand-NAME."""
    (app,) = settings(APP.replace("shop:", "a" * 23 + ":")).apps
    assert len(f"rackhand-{app.name}") == 32


def test_apps_may_come_from_templates(settings: Settings) -> None:
    """A whole declaration, a part of one and a value may be templates."""
    variables = """
level: info
base: {KEY: "{{ level }}", NUMBER: "{{ 7 }}"}
all_apps: {shop: {path: shop, app: "app:app", route: "/{{ level }}", env: "{{ base }}", timeout: "{{ 7 }}"}}
"""
    (app,) = settings(variables + "apps: '{{ all_apps }}'").apps
    assert (app.route, app.env, app.timeout) == ("/info", {"KEY": "info", "NUMBER": "7"}, 7)
    (app,) = settings(variables + APP + "    env: {NUMBER: '{{ 7 }}'}").apps
    assert app.env == {"NUMBER": "7"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("v=1",), "1"),
        (("v=1 w=2",), "1"),
        (("v='a b'",), "a b"),
        (('v="a b" w=c',), "a b"),
        (("v={{ other }}",), "seen"),
        (("v=1", "v=2"), "2"),
        (('{"v": 3}',), 3),
        (("{v: [1, 2]}",), [1, 2]),
        (("v=a=b",), "a=b"),
        (("v=",), ""),
        (("@extra.yml",), "file"),
    ],
)
def test_extra_variables(
    settings: Settings, options: tuple[str, ...], expected: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They win over every file, and the templates of files see them. What stands behind `=` is text, as in Ansible."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "extra.yml").write_text("v: file\n")
    (app,) = settings("v: 0\nother: seen\n" + APP + "    env: {V: '{{ v | tojson }}'}\n", options).apps
    assert json.loads(app.env["V"]) == expected


def test_the_example_inventory_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host of it has settings, and those of `web` serve both example applications."""
    monkeypatch.chdir(PROJECT)
    for host in load_inventory(PROJECT / "inventory").select("web"):
        assert [app.route for app in host_settings(host, PROJECT).apps] == ["/async-api", "/sync-api"]


def test_tuning(settings: Settings) -> None:
    """What `tune` has written is stronger than what the application says, and leaves the rest as it is."""
    own = APP + "    worker: gthread\n    workers: 9\n    threads: 8\n"
    (app,) = settings(own + "rackhand_tuning: {shop: {worker: sync, workers: 3}}\n").apps
    assert (app.worker, app.workers, app.route) == ("sync", 3, "/shop")
    (app,) = settings(own + "rackhand_tuning: {shop: {threads: 4}}\n").apps
    assert (app.worker, app.workers, app.threads) == ("gthread", 9, 4)


def test_where_a_setting_stands(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that counts, in the variable that it is in: what `tune` has written, else what the application says,
    else the application."""
    monkeypatch.chdir(tmp_path)
    own = APP + "    worker: gthread\n    workers: 9\n    threads: 8\n"
    (app,) = settings(own + "rackhand_tuning:\n  shop:\n    workers: 5\n    threads: 4\n").apps
    assert [app.where(setting) for setting in ("worker", "workers", "threads", "health")] == [
        "group_vars/all.yml:6: apps.shop.worker",
        "group_vars/all.yml:11: rackhand_tuning.shop.workers",
        "group_vars/all.yml:12: rackhand_tuning.shop.threads",
        "group_vars/all.yml:2: apps.shop.health",
    ]
    (told,) = shortages(target(app, memory_mb=64))
    assert told.startswith("group_vars/all.yml:11: rackhand_tuning.shop.workers: 5 workers of 128 MiB each")


def test_a_worker_that_is_refused_is_named_where_it_is_set(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the host, too, which is told the place with the plan."""
    monkeypatch.chdir(tmp_path)
    own = APP + "    worker: gthread\n"
    (app,) = settings(own + "rackhand_tuning:\n  shop:\n    workers: 5\n").apps
    assert instance(app, "r").worker_set == "group_vars/all.yml:6: apps.shop.worker"
    (app,) = settings(own + "rackhand_tuning:\n  shop:\n    worker: sync\n").apps
    assert instance(app, "r").worker_set == "group_vars/all.yml:9: rackhand_tuning.shop.worker"
    (app,) = settings(APP + "rackhand_tuning:\n  shop:\n    worker: sync\n").apps
    assert instance(app, "r").worker_set == "group_vars/all.yml:8: rackhand_tuning.shop.worker"


def workers(wanted: Any, cores: int, memory_mb: int, worker_memory: int = 128) -> int:
    app = App(
        name="a", path=Path(), app="a:a", route="/", workers=wanted, worker_memory=worker_memory,
        origin=Origin(file="web.yml", line=7),
    )  # fmt: skip
    return resolve_workers(app, {"cores": cores, "memory_mb": memory_mb, "os": "debian"})


@pytest.mark.parametrize(
    ("wanted", "cores", "memory_mb", "number"),
    [
        ("auto", 4, 8000, 5),
        ("auto", 1, 8000, 2),
        ("auto", 16, 1024, 8),
        ("auto", 4, 100, 1),
        (3, 64, 1, 3),
        ("cores * 2", 4, 1, 8),
        ("cores*2+1", 4, 1, 9),
        ("min(cores, 4)", 8, 1, 4),
        ("max(2, cores - 1)", 2, 1, 2),
        ("min(cores + 1, memory_mb // 200)", 8, 1000, 5),
        ("(cores + 1) / 2", 4, 1, 2),
        ("cores // 2", 1, 1, 1),
        ("-cores", 4, 1, 1),
        ("cores % 3 + 1", 5, 1, 3),
        (" 2 * 3 ", 1, 1, 6),
    ],
)
def test_workers(wanted: int | str, cores: int, memory_mb: int, number: int) -> None:
    """`auto` is one more than the cores, bounded by the memory; an expression is rounded down; never less than 1."""
    assert workers(wanted, cores, memory_mb) == number


def test_workers_by_the_memory_that_one_takes() -> None:
    """worker_memory says how much that is."""
    assert workers("auto", 8, 2000, worker_memory=500) == 4


@pytest.mark.parametrize("text", ["4", "cores", "min(1, 2)", "1 / (cores - 1)"])
def test_workers_may_be_any_arithmetic(settings: Settings, text: str) -> None:
    """Text that is a number counts as one; a division that fails with some cores only is judged on the host."""
    assert settings(APP + f"    workers: '{text}'\n").apps[0].workers == (4 if text == "4" else text)


@pytest.mark.parametrize(
    "text",
    [
        *("nodes", "cores + x", "2 ** 8", "cores.real", "[1][0]", "min()", "min(1, key=2)", "abs(1)", "True + 1"),
        *("'a' * 9", "lambda: 1", "1 if cores else 2", "cores; 1", "(1", "", "1j", "x := 1", "+".join("1" * 150)),
    ],
)
def test_workers_may_be_nothing_but_arithmetic(settings: Settings, text: str) -> None:
    """Everything that is more than numbers, facts, + - * / // %, min and max is refused before a host is touched."""
    quoted = text.replace("'", "''")
    with pytest.raises(UserError, match=r'apps\.shop\.workers: should be a whole number, "auto" or an expression'):
        settings(APP + f"    workers: '{quoted}'\n")


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("1 / (cores - 1)", "float division by zero"),
        ("memory_mb * 9", "it is no number up to 1024"),
        ("1e308 * 10 - 1e308 * 10", "it is no number up to 1024"),
        ("1e308 * 10 * cores", "it is no number up to 1024"),
    ],
)
def test_expressions_without_a_usable_value(expression: str, reason: str) -> None:
    """Are refused with the host's facts, once these are known."""
    with pytest.raises(UserError) as raised:
        workers(expression, 1, 2048)
    assert str(raised.value) == (
        f"web.yml:7: apps.a.workers: {expression!r} has no usable value for cores 1, memory_mb 2048: {reason}"
    )


@pytest.mark.parametrize(
    ("variables", "ssh"),
    [
        ("rackhand_ssh: {}", SshSettings()),
        ("rackhand_ssh: {passwords: no}", SshSettings(passwords=False)),
        ("rackhand_ssh: {passwords: yes, root_login: yes}", SshSettings(passwords=True, root_login="yes")),
        ("rackhand_ssh: {root_login: prohibit-password}", SshSettings(root_login="prohibit-password")),
        ("{ansible_user: debian, rackhand_ssh: {root_login: false}}", SshSettings(root_login="no")),
        (
            "{ansible_connection: local, ansible_user: root, rackhand_ssh: {root_login: false}}",
            SshSettings(root_login="no"),
        ),
    ],
)
def test_ssh(settings: Settings, variables: str, ssh: SshSettings) -> None:
    """What is not set is left alone; who does not come by SSH may shut it for root."""
    assert settings(variables).ssh == ssh


def test_firewall(settings: Settings) -> None:
    """Ports are open to all, or to a network of either family."""
    found = settings(
        "rackhand_firewall: {allow: [8080, '81', '10.0.0.0/8:5432', '10.1.2.3:22', 'fd00::/8:53']}"
    ).firewall
    assert found == FirewallSettings(
        allow=(
            Allowed(port=8080),
            Allowed(port=81),
            Allowed(port=5432, source="10.0.0.0/8"),
            Allowed(port=22, source="10.1.2.3/32"),
            Allowed(port=53, source="fd00::/8"),
        )
    )
    assert [one.family for one in found.allow][2:] == ["ip", "ip", "ip6"]
    assert settings("rackhand_firewall: {}").firewall == FirewallSettings()
