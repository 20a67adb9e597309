"""What roles make of a target: pure functions, compared with the golden files of this folder.

After a change that was meant: RACKHAND_GOLDEN=write .venv/bin/pytest tests/unit/test_roles.py, then read `git diff`.
"""

import ast
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import roles
from rackhand.agent import layout
from rackhand.agent.plan import Plan
from rackhand.agent.resource import Resource
from rackhand.agent.resources import File, Instance, Link, Packages, Release, Sshd, SystemdUnit, Virtualenv, firewall
from rackhand.agent.serving import PREFIX_HEADER
from rackhand.bundle import Bundle
from rackhand.candidates import Setting
from rackhand.cautions import cautions, shortages
from rackhand.inventory import Origin
from rackhand.planning import Role, plan
from rackhand.protocol import Protocol
from rackhand.settings import (
    Allowed,
    App,
    ConnectionSettings,
    FirewallSettings,
    HostSettings,
    NginxSettings,
    SshSettings,
)
from rackhand.target import Target
from rackhand.templates import TEMPLATES
from roles import operations, serving, tuning
from roles.hardening import rules
from roles.nginx import site
from roles.python_app import environment_file, release, virtualenv

GOLDEN = Path(__file__).parent / "golden"

FACTS: dict[str, Any] = {
    "python": "3.11.2",
    "architecture": "x86_64",
    "cores": 2,
    "memory_mb": 4096,
    "ipv6": True,
    "ssh_ports": [22],
}
ORIGIN = Origin(file="group_vars/web.yml", line=3)
ASYNC_API = App(
    name="async_api", path=Path("/apps/async_api"), app="app:app", route="/async-api", worker="uvicorn", origin=ORIGIN
)
SYNC_API = App(
    name="sync_api",
    path=Path("/apps/sync_api"),
    app="app:app",
    route="/sync-api",
    worker="gthread",
    threads=4,
    groups=("adm",),
    env={"LOG_LEVEL": "info", "DSN": 'p"$w'},
    drain=20,
    origin=ORIGIN,
)
BUNDLES = {
    "async_api": Bundle(code="file 'app.py' 'a'\n", archive="a" * 64, requirements="fastapi==0.165\n", data=b""),
    "sync_api": Bundle(code="file 'app.py' 'b'\n", archive="b" * 64, requirements="flask==3.1.3\n", data=b""),
}


def target(*apps: App, **facts: object) -> Target:
    """A host to which these applications, of all that it is to have, are deployed."""
    settings = HostSettings(
        name="web1",
        groups=("all", "web"),
        connection=ConnectionSettings(host="192.0.2.1"),
        apps=apps,
        nginx=NginxSettings(),
        keep_releases=5,
    )
    return Target(settings=settings, facts=FACTS | facts, bundles=BUNDLES, apps=apps, uv="c" * 64)


def check(name: str, text: str) -> None:
    """Fails when the text is not that of the golden file."""
    path = GOLDEN / name
    if os.environ.get("RACKHAND_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name}: see the top of {Path(__file__).name}"


def without_the_loader(text: str) -> str:
    """The text of a configuration but for what is in each of them, word for word."""
    loader = (TEMPLATES / "application.py").read_text(encoding="utf-8")
    assert loader in text
    return text.replace(loader, "# application.py\n")


def ids(resources: Iterable[Resource]) -> str:
    """A line for each resource, with digests that change with every template left out."""
    lines = "".join(f"{resource.stage:8} {resource.id}\n" for resource in resources)
    return re.sub(r"\b([0-9a-f]{12,16}|[0-9a-f]{8}\.[0-9a-f]{6})\b", "DIGEST", lines)


# Golden files


@pytest.mark.parametrize("app", [ASYNC_API, SYNC_API], ids=lambda app: app.name)
@pytest.mark.parametrize("strategy", ["beside", "restart"])
def test_units(app: App, strategy: Any) -> None:
    """Of an instance; and with the strategy restart, those that hold the socket."""
    for file, text in serving.units(replace(app, strategy=strategy)).items():
        check(f"{app.name}.{strategy}.{file}", text)


@pytest.mark.parametrize("worker", ["uvicorn", "asgi", "sync", "gthread"])
def test_gunicorn_configuration(worker: Any) -> None:
    """For every kind of worker; Python can read each."""
    app = replace(ASYNC_API if worker in ("uvicorn", "asgi") else SYNC_API, worker=worker)
    text = serving.configuration(app, target(app))
    ast.parse(text)
    check(f"gunicorn.conf.py.{worker}", without_the_loader(text))


def direct(app: App, **changes: Any) -> App:
    return replace(app, route="/", strategy="restart", direct=80, **changes)


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
@pytest.mark.parametrize("app", [ASYNC_API, replace(SYNC_API, worker=None)], ids=lambda app: app.name)
def test_directly(app: App, server: str) -> None:
    """Without nginx systemd holds the port for an unprivileged server, which believes nothing that clients say."""
    app = direct(app, server=server)
    text = serving.configuration(app, target(app))
    ast.parse(text)
    assert "forwarded" not in text.replace('forwarded_allow_ips = ""', "")
    assert PREFIX_HEADER.lower() not in text.lower()
    units = serving.units(app)
    check(f"{app.name}.direct.socket", units[layout.SOCKET])
    assert "[::]" not in serving.units(app, ipv6=False)[layout.SOCKET]
    resources = plan(target(app), roles.DEPLOY)
    assert not [one for one in resources if "/etc/nginx" in one.id]
    kinds = [resource.kind for resource in resources]
    assert kinds.index("nginx_site") < kinds.index("instance") < kinds.index("probe")
    assert not [one for one in resources if isinstance(one, Packages) and "nginx" in one.packages]
    (probe,) = operations.smoke_tests([replace(app, direct=8080)])
    assert probe.id == "probe:http://localhost:8080/health"


@pytest.mark.parametrize("app", [ASYNC_API, replace(SYNC_API, worker=None)], ids=lambda app: app.name)
def test_uvicorn_alone(app: App) -> None:
    """What serves an application of either protocol, and its unit, which needs no Gunicorn."""
    app = replace(app, server="uvicorn")
    text = serving.configuration(app, target(app))
    ast.parse(text)
    check(f"serve.py.{app.name}", without_the_loader(text))
    (unit,) = serving.units(app).values()
    check(f"{app.name}.uvicorn.unit.service", unit)
    assert "gunicorn" not in unit
    (one,) = (resource for resource in plan(target(app), roles.DEPLOY) if isinstance(resource, Release))
    assert one.files[0][0] == "serve.py"
    assert "gunicorn" not in virtualenv(app, target(app)).requirements


def test_a_candidate_is_a_release_that_is_served_otherwise() -> None:
    """What differs is in a folder of its own, and so is what the unit starts."""
    ((name, text),) = tuning.configuration(
        SYNC_API, Setting(worker="gthread", workers=5, threads=8), target(SYNC_API)
    ).items()
    assert name == "gunicorn.conf.py"
    assert {"workers = 5", "threads = 8", "worker_class = Worker"} <= set(text.splitlines())
    alone = replace(ASYNC_API, server="uvicorn", strategy="restart")
    ((name, text),) = tuning.configuration(alone, Setting(worker="uvicorn", workers=7), target(alone)).items()
    assert name == "serve.py"
    assert "WORKERS = 7" in text.splitlines()
    unit = tuning.unit(alone, "0123456789ab", seconds=90, memory=1000)
    assert "RACKHAND_RELEASE=0123456789ab" in unit
    assert "ExecStart=/run/rackhand-tune/venv/bin/python /run/rackhand-tune/serve.py" in unit.splitlines()
    assert "/opt/rackhand" not in unit
    assert unit.endswith("[Service]\nRestart=no\nRuntimeMaxSec=90\nCPUWeight=20\nMemoryMax=800M\n")
    assert "Sockets=" not in unit


def test_cautions() -> None:
    """Uvicorn alone is told of with its reason and what is better, once for any number of hosts; Gunicorn is not."""
    apps = (replace(ASYNC_API, server="uvicorn"), replace(SYNC_API, worker=None, server="uvicorn"))
    bundles = {app.path: BUNDLES[app.name] for app in apps}
    told = cautions([target(*apps).settings] * 3, bundles)
    where = "group_vars/web.yml:3: apps."
    assert told == (
        f"{where}async_api.server: Uvicorn's workers are then kept by a small master of Rackhand's own, which is "
        "younger than Gunicorn's. Better: server: gunicorn",
        f"{where}sync_api.server: a WSGI application on Uvicorn is experimental: each request goes through an adapter "
        "and a thread, and workers are kept by a small master of Rackhand's own. Better: server: gunicorn with "
        "worker: sync, or with worker: gthread and threads",
    )
    assert cautions([target(ASYNC_API, SYNC_API).settings], bundles) == ()


def test_slow_clients_of_an_application_without_nginx_are_told_of() -> None:
    """Where one of them keeps a whole worker, as the worker that is taken by default does."""
    apps = [direct(replace(SYNC_API, worker=worker)) for worker in (None, "sync", "gthread")] + [direct(ASYNC_API)]
    told = [cautions([target(app).settings], {app.path: BUNDLES[app.name]}) for app in apps]
    assert [len(texts) for texts in told] == [1, 1, 0, 0]
    assert told[0] == (
        "group_vars/web.yml:3: apps.sync_api.direct: without nginx a client that is slow keeps a worker, and as many "
        "clients as workers keep all. Better: leave direct out, or worker: gthread",
    )


@pytest.mark.parametrize(
    ("requirements", "unfit"),
    [
        ("flask\nlivereload==2.7\nflask-debugtoolbar\n", "flask-debugtoolbar and livereload"),
        ("FastAPI[standard, all]>=0.1\n", "fastapi[standard]"),
        ("fastapi[all]==0.165\n", "fastapi[all]"),
        ("fastapi [ opentelemetry , all ]\n", "fastapi[all]"),
        ("fastapi[opentelemetry]\nnot-fastapi[all]\n", None),
        ("fastapi==0.165 \\\n    --hash=sha256:0\nfastapi_cli==0.1\n", "fastapi-cli"),
        ("fastapi[standard-no-fastapi-cloud-cli]\nuvicorn[standard]\n", "fastapi[standard]"),
        ("uvicorn[standard]\nflask\nwerkzeug\n# livereload\n", None),
    ],
)
def test_development_servers_are_told_of(requirements: str, unfit: str | None) -> None:
    bundles = {SYNC_API.path: replace(BUNDLES["sync_api"], requirements=requirements)}
    told = cautions([target(SYNC_API).settings], bundles)
    assert [f"the requirements of sync_api have {unfit}, a development server" in text for text in told] == (
        [] if unfit is None else [True]
    )


@pytest.mark.parametrize(
    ("workers", "worker_memory", "told"),
    [("auto", 9999, 0), (32, 128, 0), (33, 128, 1), ("cores * 2", 1024, 0), ("cores * 2", 1025, 1)],
)
def test_workers_above_memory_are_told_of(workers: int | str, worker_memory: int, told: int) -> None:
    """With the line, and what they need; `auto` never is."""
    app = replace(SYNC_API, workers=workers, worker_memory=worker_memory)
    texts = list(shortages(target(app)))
    assert len(texts) == told
    assert all("apps.sync_api.workers: " in text and "and web1 has 4096: write auto" in text for text in texts)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("both", target(ASYNC_API, SYNC_API)),
        ("root", target(replace(ASYNC_API, route="/"), SYNC_API)),
        ("no-ipv6", target(ASYNC_API, SYNC_API, ipv6=False)),
        ("no-apps", target()),
        (
            "sites",
            target(
                replace(ASYNC_API, route="/", server_name="async.example", static={"/static": "static", "/d": "a/b"}),
                SYNC_API,
            ),
        ),
    ],
    ids=["both", "root", "no-ipv6", "no-apps", "sites"],
)
def test_nginx_site(name: str, of: Target) -> None:
    """Both applications, one at the root, a host without IPv6, and one without applications."""
    check(f"nginx.conf.{name}", site(of))


def test_what_starts_at_boot() -> None:
    made = {resource.name: resource for resource in plan(target(), roles.PROVISION)}
    for path in (layout.BOOT, "rackhand.service"):
        resource = made[path]
        assert isinstance(resource, File)
        check(f"boot.{resource.name.rpartition('/')[2]}", resource.content)


@pytest.mark.parametrize(
    ("name", "of", "role"),
    [
        ("deploy", target(ASYNC_API, SYNC_API), roles.DEPLOY),
        ("provision", target(ASYNC_API, SYNC_API), roles.PROVISION),
        ("deploy-one", replace(target(ASYNC_API, SYNC_API), apps=(SYNC_API,)), roles.DEPLOY),
    ],
    ids=["deploy", "provision", "deploy-one"],
)
def test_whole_plans(name: str, of: Target, role: Iterable[Role]) -> None:
    """All that a run goes through, in order: a new host, one without applications, one application of two."""
    check(f"plan.{name}", ids(plan(of, role)))


HARDENED = replace(
    target(ASYNC_API, SYNC_API, ssh_ports=[2222, 22]),
    settings=replace(
        target(ASYNC_API, SYNC_API).settings,
        ssh=SshSettings(passwords=False, root_login="prohibit-password"),
        firewall=FirewallSettings(
            allow=(Allowed(port=8080), Allowed(port=5432, source="10.0.0.0/8"), Allowed(port=53, source="fd00::/8"))
        ),
    ),
)


def test_hardening() -> None:
    """The two that can cut the controller off come last, together, behind what puts them back."""
    check("plan.hardened", ids(plan(HARDENED, roles.PROVISION)))
    check("firewall.nft", rules(HARDENED))
    found = {resource.name: resource for resource in plan(HARDENED, roles.PROVISION)}
    for unit in (layout.GUARD_UNIT, firewall.UNIT):
        resource = found[unit]
        assert isinstance(resource, SystemdUnit)
        check(unit, resource.content)
    options = found["00-rackhand.conf"]
    assert isinstance(options, Sshd)
    check("sshd.conf", options.content)


def test_hardening_is_off_by_default() -> None:
    """Nothing that can cut the controller off is touched unless the inventory asks for it."""
    assert not [resource for resource in plan(target(ASYNC_API, SYNC_API), roles.DEPLOY) if resource.cuts_off]


def test_a_host_whose_ssh_server_is_not_seen() -> None:
    """Its usual port is open, rather than none."""
    unseen = replace(HARDENED, facts={**HARDENED.facts, "ssh_ports": []})
    assert "tcp dport { 22, 80, 443, 8080 } accept" in rules(unseen)


def test_the_firewall_lets_in_what_is_served_directly() -> None:
    alone = replace(HARDENED, settings=replace(HARDENED.settings, apps=(replace(direct(ASYNC_API), direct=8000),)))
    assert re.search(r"tcp dport \{[^}]* 8000[,\s]", rules(alone))


def test_operations() -> None:
    """A rollback switches both applications in one go; a smoke test looks only."""
    settings = target(ASYNC_API, SYNC_API).settings
    check("plan.rollback", ids(operations.rolled_back([(ASYNC_API, "a" * 12), (SYNC_API, "b" * 12)], settings)))
    check("plan.smoke", ids(operations.smoke_tests(settings.apps)))
    assert all(resource.observes for resource in operations.smoke_tests(settings.apps))


# Plans


def test_packages_are_one_transaction() -> None:
    """However many roles want packages, apt is asked once, where the first of them is, for each package once."""

    def more(*packages: str) -> Role:
        return lambda _: [Link(path=f"/{packages[0]}", target=""), Packages(packages=packages)]

    made = plan(target(), (more("b", "a"), more("c", "b")))
    assert list(made) == [
        Link(path="/b", target=""),
        Packages(packages=("a", "b", "c")),
        Link(path="/c", target=""),
    ]


def test_nginx_never_serves_its_welcome_page() -> None:
    """The link in the place of the default site is there when the package that would make it is installed."""
    made = [resource.id for resource in plan(target(ASYNC_API), roles.PROVISION)]
    assert made.index("link:/etc/nginx/sites-enabled/default") < made.index("packages:apt")


def test_a_plan_without_packages() -> None:
    assert len(plan(target(), ())) == 0


def test_the_site_has_what_is_not_deployed_now() -> None:
    """Deploying one application takes the other's route away from nobody."""
    both = target(ASYNC_API, SYNC_API)
    assert site(both) == site(replace(both, apps=(SYNC_API,)))


def test_plans_are_the_same_each_time() -> None:
    """Nothing in a plan comes from the clock, from chance or from the order of a set."""
    both = target(ASYNC_API, SYNC_API)
    assert plan(both, roles.DEPLOY) == plan(both, roles.DEPLOY)


# Environments and releases


def test_an_environment_is_shared_by_what_needs_the_same() -> None:
    """Same packages, same interpreter, same environment, which is in the plan once."""
    twin = replace(SYNC_API, name="twin", route="/twin")
    of = replace(target(SYNC_API, twin), bundles={**BUNDLES, "twin": BUNDLES["sync_api"]})
    assert virtualenv(SYNC_API, of) == virtualenv(twin, of)
    assert len([resource for resource in plan(of, roles.DEPLOY) if isinstance(resource, Virtualenv)]) == 1


@pytest.mark.parametrize(
    "other",
    [
        target(SYNC_API, python="3.13.5"),
        target(SYNC_API, architecture="aarch64"),
        replace(target(SYNC_API), bundles={"sync_api": replace(BUNDLES["sync_api"], requirements="flask==3.1.4\n")}),
    ],
    ids=["python", "architecture", "requirements"],
)
def test_another_interpreter_or_package_is_another_environment(other: Target) -> None:
    of = target(SYNC_API)
    assert virtualenv(SYNC_API, of).key != virtualenv(SYNC_API, other).key
    assert release(SYNC_API, of).release != release(SYNC_API, other).release


@pytest.mark.parametrize(
    ("app", "bundle"),
    [
        (SYNC_API, replace(BUNDLES["sync_api"], code="file 'app.py' 'c'\n")),
        (replace(SYNC_API, env={"LOG_LEVEL": "debug"}), BUNDLES["sync_api"]),
        (replace(SYNC_API, worker="sync"), BUNDLES["sync_api"]),
        (replace(SYNC_API, server="uvicorn"), BUNDLES["sync_api"]),
        (replace(SYNC_API, workers=7), BUNDLES["sync_api"]),
        (replace(SYNC_API, static={"/static": "static"}), BUNDLES["sync_api"]),
        (replace(SYNC_API, drain=99), BUNDLES["sync_api"]),
        (replace(SYNC_API, strategy="restart"), BUNDLES["sync_api"]),
        (replace(SYNC_API, groups=()), BUNDLES["sync_api"]),
        (replace(SYNC_API, app="app:other"), BUNDLES["sync_api"]),
    ],
    ids=["code", "env", "worker", "server", "workers", "static", "drain", "strategy", "unit", "object"],
)
def test_whatever_changes_is_another_release(app: App, bundle: Bundle) -> None:
    """Because what changes is started beside the old, and not in its place."""
    other = replace(target(app), bundles={"sync_api": bundle})
    assert release(app, other).release != release(SYNC_API, target(SYNC_API)).release


@pytest.mark.parametrize(
    "other",
    [
        target(SYNC_API, python="3.13.5", architecture="aarch64", cores=8),
        target(replace(SYNC_API, env={"HOST": "web2"}, workers=7, worker="sync")),
    ],
    ids=["another machine", "other settings"],
)
def test_the_same_code_has_the_same_name_on_all_hosts(other: Target) -> None:
    """The first part of a release's id; the second one tells what else differs."""
    one, two = release(SYNC_API, target(SYNC_API)).release, release(other.apps[0], other).release
    assert one != two
    assert one.partition(".")[0] == two.partition(".")[0]


@pytest.mark.parametrize("change", [{"code": "file 'app.py' 'c'\n"}, {"requirements": "flask==3.1.4\n"}])
def test_another_folder_has_another_name(change: dict[str, Any]) -> None:
    other = replace(target(SYNC_API), bundles={"sync_api": replace(BUNDLES["sync_api"], **change)})
    one, two = release(SYNC_API, target(SYNC_API)).release, release(SYNC_API, other).release
    assert one.partition(".")[0] != two.partition(".")[0]


@pytest.mark.parametrize(
    "other",
    [
        target(SYNC_API, ASYNC_API),
        target(SYNC_API, ipv6=False, memory_mb=8192),
        replace(target(SYNC_API), uv="d" * 64),
        target(replace(SYNC_API, route="/other", server_name="other.example")),
    ],
    ids=["another application", "facts that do not matter", "another uv", "another route"],
)
def test_what_does_not_matter_makes_no_new_release(other: Target) -> None:
    """Or every deploy would restart everything."""
    assert release(SYNC_API, other) == release(SYNC_API, target(SYNC_API))


def test_a_release_is_what_its_instance_runs() -> None:
    """The ids agree; the environment that it links to is the one of the plan; its secrets are root's alone."""
    made = plan(target(SYNC_API), roles.DEPLOY)
    (one,) = (resource for resource in made if isinstance(resource, Release))
    (instance,) = (resource for resource in made if isinstance(resource, Instance))
    (environment,) = (resource for resource in made if isinstance(resource, Virtualenv))
    assert instance.release == one.release
    assert dict(one.links) == {"venv": layout.venv(environment.key)}
    assert {name: mode for name, _, mode in one.files} == {
        **{"gunicorn.conf.py": "0640", "env": "0600", "unit.service": "0644"}
    }
    (unit,) = (text for name, text, _ in one.files if name == "unit.service")
    assert f"WorkingDirectory={one.path}/code\n" in unit
    assert serving.RELEASE not in unit
    assert (instance.health, instance.prefix) == ("/sync-api/health", "/sync-api")


# How an application is served


@pytest.mark.parametrize(
    ("requirements", "worker"),
    [
        ("flask==3.1\n", "sync"),
        ("fastapi\n", "uvicorn"),
        ("Starlette>=1\n", "uvicorn"),
        ("# fastapi\nflask\n", "sync"),
        ("fastapi-utils\n", "sync"),
        ("", "sync"),
    ],
)
def test_worker_by_default(requirements: str, worker: str) -> None:
    """An application that requires an ASGI framework, and does not say how it is served, gets Uvicorn workers; unless
    its source tells what it speaks."""
    app = replace(SYNC_API, worker=None)
    bundle = replace(BUNDLES["sync_api"], requirements=requirements)
    of = replace(target(app), bundles={"sync_api": bundle})
    assert serving.worker(app, of) == worker
    assert serving.worker(replace(app, worker="asgi"), of) == "asgi"
    protocols: list[tuple[Protocol, str]] = [("asgi", "uvicorn"), ("wsgi", "sync")]
    for speaks, by_source in protocols:
        told = replace(of, bundles={"sync_api": replace(bundle, protocols={app.app: speaks})})
        assert serving.worker(app, told) == by_source
        assert serving.worker(replace(app, app="other:app"), told) == worker


@pytest.mark.parametrize(("cores", "memory", "workers"), [(1, 4096, 2), (8, 4096, 9), (8, 512, 4), (2, 64, 1)])
def test_workers_follow_the_host(cores: int, memory: int, workers: int) -> None:
    """One more than the cores, as far as memory goes, in the configuration that gunicorn reads."""
    configuration = serving.configuration(SYNC_API, target(SYNC_API, cores=cores, memory_mb=memory))
    assert f"\nworkers = {workers}\n" in configuration


@pytest.mark.parametrize(
    ("nginx", "line"),
    [
        (NginxSettings(server_name="example.org"), "server_name example.org;"),
        (NginxSettings(max_body_mb=64), "client_max_body_size 64m;"),
        (NginxSettings(read_timeout=77), "proxy_read_timeout 77s;"),
    ],
    ids=["server_name", "max_body_mb", "read_timeout"],
)
def test_nginx_settings_are_used(nginx: NginxSettings, line: str) -> None:
    of = target(ASYNC_API)
    assert line in site(replace(of, settings=replace(of.settings, nginx=nginx)))


def test_a_probe_asks_by_the_name_of_its_site() -> None:
    (probe,) = operations.smoke_tests([replace(ASYNC_API, server_name="async.example")])
    assert probe.id == "probe:http://async.example:80/async-api/health"


def test_an_application_in_a_site_with_the_name_of_all_others() -> None:
    """Is in that site: two of one name are one too many for nginx."""
    of = target(ASYNC_API, replace(SYNC_API, server_name="example.org"))
    text = site(replace(of, settings=replace(of.settings, nginx=NginxSettings(server_name="example.org"))))
    assert text.count("server {") == 1
    assert "location /sync-api/ {" in text


# Hostile values. tests/lab/test_contract.py asks systemd's own parser, nginx and Python the same.


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain", 'KEY="plain"\n'),
        ("", 'KEY=""\n'),
        ('"', 'KEY="\\""\n'),
        ('" X="y', 'KEY="\\" X=\\"y"\n'),
        ("\\", 'KEY="\\\\"\n'),
        ("\\n", 'KEY="\\\\n"\n'),
        ("$HOME ${HOME} $(id)", 'KEY="\\$HOME \\${HOME} \\$(id)"\n'),
        ("`id`", 'KEY="\\`id\\`"\n'),
        ("%h %%", 'KEY="%h %%"\n'),
        ("'# ;", 'KEY="\'# ;"\n'),
    ],
)
def test_variables_are_quoted(value: str, line: str) -> None:
    """Nothing in a value ends its quotes or is expanded."""
    assert environment_file(replace(SYNC_API, env={"KEY": value})) == line


def test_variables_are_in_one_order() -> None:
    """The order in the inventory does not make another release."""
    one = environment_file(replace(SYNC_API, env={"B": "2", "A": "1"}))
    assert one == 'A="1"\nB="2"\n'


def test_variables_are_in_the_environment_file_alone() -> None:
    """What may be secret is in no unit, no configuration and no site."""
    app = replace(SYNC_API, env={"PASSWORD": "s3nt1nel"})
    made = plan(target(app), roles.DEPLOY)
    for resource in made:
        told = dict(vars(resource))
        if isinstance(resource, Release):
            told["files"] = tuple(file for file in resource.files if file[0] != "env")
        assert "s3nt1nel" not in repr(told)
    assert "s3nt1nel" not in repr(app)
    assert "s3nt1nel" in repr(Plan(tuple(made)).to_wire())
