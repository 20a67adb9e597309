"""The contract of the kinds of resources that need a real host: the roles' plan, sent as a deploy sends it."""

import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import httpx
import pytest

import roles
from rackhand.agent import layout
from rackhand.agent.plan import Plan
from rackhand.agent.resource import Resource
from rackhand.agent.resources import (
    File,
    Instance,
    Packages,
    Probe,
    Service,
    SystemdUnit,
    Virtualenv,
    firewall,
)
from rackhand.conversation import Conversation
from rackhand.inventory import Origin
from rackhand.lab import Lab, LabHost
from rackhand.planning import plan
from rackhand.settings import App, ConnectionSettings, FirewallSettings, HostSettings, NginxSettings, SshSettings
from rackhand.target import Target
from rackhand.uv import packed
from tests import snapshot
from tests.contract import BUNDLE, HOST_DAMAGES, WSGI_APP, Event, changes, converges, repairs, results, same
from tests.snapshot import Entry

#: Values that end up in systemd's EnvironmentFile, each as hostile as the settings let it be.
ENVIRONMENT = {
    "QUOTES": """a "b" 'c' `d`""",
    "BACKSLASHES": "\\ \\\\ \\n \\x41 \\",
    "DOLLARS": "$HOME ${HOME} $(id) $$",
    "PERCENTS": "%h %% %n %",
    "COMMENTS": "# a ; b",
    "SPACES": "  a \t b  ",
    "EMPTY": "",
    "LETTERS": "ä \u00a0 \u2028 \U0001f40d",
    "ASSIGNMENT": "A=B\\",
}
APP = App(
    name="shop",
    path=WSGI_APP,
    app="app:app",
    route="/~shop@1/a+b.c-d",
    worker="sync",
    workers=1,
    env=ENVIRONMENT,
    drain=1,
    origin=Origin(file="test"),
)


#: A service that reads its file when it starts.
HELPER = """\
[Service]
ExecStart=/bin/sh -c 'exec sleep "$(cat /etc/shop-helper.conf)"'

[Install]
WantedBy=multi-user.target
"""


def extra(_: Target) -> Iterator[Resource]:
    """A package that nothing needs, so that a test may remove it, and a service."""
    yield Packages(packages=("tree",))
    yield File(path="/etc/shop-helper.conf", content="infinity\n")
    yield SystemdUnit(path=f"{layout.SYSTEMD}/shop-helper.service", content=HELPER)
    yield Service(unit="shop-helper.service", files=("/etc/shop-helper.conf",))


class RealHost:
    """A lab host and the plan of a whole web server for it."""

    def __init__(self, lab: Lab, host: LabHost) -> None:
        self.host = host
        self._eye = Path(snapshot.__file__).read_text()
        self._settings = HostSettings(
            name=host.name,
            groups=("all",),
            connection=ConnectionSettings(
                host=host.address,
                user="root",
                private_key_file=lab.private_key,
                ssh_common_args=("-o", f"UserKnownHostsFile={lab.known_hosts}"),
            ),
            apps=(APP,),
            nginx=NginxSettings(),
            keep_releases=2,
            ssh=SshSettings(passwords=False),
            firewall=FirewallSettings(),
        )
        conversation = self._converse()
        conversation.close()
        self._uv = packed(conversation.facts["architecture"])
        target = Target(
            settings=self._settings,
            facts=conversation.facts,
            bundles={"shop": BUNDLE},
            apps=(APP,),
            uv=self._uv.digest,
        )
        self.plan = plan(target, (*roles.DEPLOY, extra))

    def _converse(self) -> Conversation:
        return Conversation(self._settings.connection)

    def run(self, plan: Plan, *, apply: bool) -> list[Event]:
        def blob(digest: str) -> bytes:
            return {BUNDLE.archive: BUNDLE.data}.get(digest) or self._uv.path.read_bytes()

        conversation = self._converse()
        try:
            events = conversation.run(
                plan, run="contract", command="deploy", who="the tests", apply=apply, secrets=(), blob=blob
            )
            return list(events)
        finally:
            conversation.close()

    def shell(self, script: str) -> None:
        (instance,) = (resource for resource in self.plan if isinstance(resource, Instance))
        (venv,) = (resource for resource in self.plan if isinstance(resource, Virtualenv))
        unit = "$(basename $(readlink opt/rackhand/current/shop/unit || echo none))"
        variables = {
            "release": instance.release,
            "unit": unit,
            "socket": "$(readlink opt/rackhand/current/shop/app.sock || echo none)",
            "home": layout.release("shop", instance.release),
            "venv": layout.venv(venv.key),
        }
        assignments = "".join(f"{name}={value};" for name, value in variables.items())
        # What an earlier test has retired or reloaded may drain still, and would change while this one looks.
        drained = (
            "while systemctl list-units --state=deactivating 'rackhand-*' | grep -q rackhand"
            " || pgrep -f '^nginx: worker process is shutting down' > /dev/null; do sleep 0.1; done;"
        )
        self.host.run(["sh", "-ec", f"cd /; {drained}{assignments}{script}"])

    def repairs(self, *damages: tuple[str, str]) -> None:
        """The contract of the resources of these kinds, when all these damages, (kind, what), are done at once."""
        kinds = {kind for kind, _ in damages}
        own = ("shop-helper.service", layout.GUARD_UNIT, firewall.UNIT)  # of this kind, another one is damaged
        spared = {f"systemd_unit:{name}" for name in own}
        damaged = [resource for resource in self.plan if resource.kind in kinds and resource.id not in spared]
        assert len(damaged) == len(damages)
        try:
            repairs(self, self.plan, damaged, ";".join(f"({HOST_DAMAGES[kind][what]})" for kind, what in damages))
        except BaseException:
            self._recover()
            raise

    def _recover(self) -> None:
        """Makes the host good for the next test when Rackhand could not."""
        self.shell(
            "set +e; dpkg --configure -a; systemctl unmask nginx; systemctl --runtime unmask nginx;"
            "rm -rf $home $venv; systemctl stop 'rackhand-shop@*';"
            "sed -i '/^rackhand-shop:/s,/root,/nonexistent,' etc/passwd; systemctl daemon-reload; true"
        )
        changes(self.run(self.plan, apply=True))

    def snapshot(self) -> dict[str, Entry]:
        found: dict[str, Entry] = json.loads(self.host.run(["python3", "-"], input=self._eye).stdout)
        return found


@pytest.fixture(scope="module")
def fresh(lab: Lab) -> RealHost:
    (host,) = lab.up(["contract1"])
    return RealHost(lab, host)


def test_converges(fresh: RealHost) -> None:
    """On a fresh host a check changes nothing and foretells all that an apply does; a second apply touches nothing."""
    done = converges(fresh, fresh.plan)
    assert done == [resource.id for resource in fresh.plan if not resource.observes and resource.stage != "retire"]


@pytest.fixture(scope="module")
def bench(fresh: RealHost) -> RealHost:
    """The host with its plan applied."""
    changes(fresh.run(fresh.plan, apply=True))
    return fresh


#: (Kind, what) of all damages that are repaired, one of each kind at a time.
ROUNDS = [
    [damage for damage in together if damage is not None]
    for together in zip_longest(
        *([(kind, what) for what in damages] for kind, damages in HOST_DAMAGES.items() if kind != Probe.kind)
    )
]


@pytest.mark.parametrize(
    "together", ROUNDS, ids=lambda together: ", ".join(f"{kind} {what}" for kind, what in together)
)
def test_damage_is_seen_and_repaired(bench: RealHost, together: list[tuple[str, str]]) -> None:
    """What a hand has done is seen by a check, which changes nothing, and put right by an apply."""
    bench.repairs(*together)


def test_repairs_leave_nothing_to_do(bench: RealHost) -> None:
    """After all that, a check finds everything as wanted."""
    assert changes(bench.run(bench.plan, apply=False)) == {}


@pytest.mark.parametrize("damage", HOST_DAMAGES[Probe.kind].values(), ids=HOST_DAMAGES[Probe.kind])
def test_what_cannot_be_repaired_is_said(bench: RealHost, damage: str) -> None:
    """A probe repairs nothing: without an answer it fails, in a check as in an apply, and changes nothing."""
    (probe,) = (resource for resource in bench.plan if isinstance(resource, Probe))
    alone = Plan((Probe(**{**vars(probe), "timeout": 1}),))
    bench.shell(damage)
    try:
        before = bench.snapshot()
        for apply in (False, True):
            events = bench.run(alone, apply=apply)
            assert list(results(events, "failed")) == [probe.id]
            assert events[-1]["reason"] == f"{probe.id}: no answer: [Errno 111] Connection refused"
        same(before, bench.snapshot(), "a probe changed")
    finally:
        changes(bench.run(bench.plan, apply=True))
    assert list(results(bench.run(alone, apply=False), "ok")) == [probe.id]


def test_no_value_of_the_environment_is_read_as_anything_else(bench: RealHost) -> None:
    """Variables reach the application as the inventory has them, through systemd's own parser, whatever is in them."""
    answer = httpx.get(f"http://{bench.host.address}{APP.route}/").json()
    assert {key: answer["environment"].get(key) for key in ENVIRONMENT} == ENVIRONMENT


def test_no_route_is_read_as_anything_else(bench: RealHost) -> None:
    """An application is under its route, whatever signs the route has that mean something to nginx or to Python."""
    answer = httpx.get(f"http://{bench.host.address}{APP.route}/x").json()
    assert answer["script_name"] == APP.route
    assert httpx.get(f"http://{bench.host.address}/shop@1/a+b.c-d/x").status_code == 404
