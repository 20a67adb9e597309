"""A plan is ordered by stage, and checked when it is made."""

import json

import pytest

from rackhand.agent.plan import Plan, PlanError
from rackhand.agent.resource import STAGES, Resource
from rackhand.agent.resources import (
    KINDS,
    Current,
    Directory,
    File,
    Firewall,
    Instance,
    Link,
    NginxSite,
    Packages,
    Probe,
    Release,
    Retired,
    Service,
    Sshd,
    SystemdUnit,
    User,
    Virtualenv,
)

#: One of each kind, with values that JSON could lose.
EVERYTHING: tuple[Resource, ...] = (
    Packages(packages=("nginx", "tree")),
    User(user="u"),
    Directory(path="/d", mode="0700"),
    File(path='/f "ü" \udcff', content="\x00\r\n\u2028", validate=("true", "{}")),
    Link(path="/l", target="../t"),
    Release(
        app="a",
        release="r",
        group="u",
        code="",
        archive="0",
        files=(("env", "", "0600"), ("b", "", "0640")),
        links=(("x", "y"),),
        public=("s", "t/u"),
    ),
    Virtualenv(key="k", requirements="", uv="0"),
    SystemdUnit(path="/etc/systemd/system/a@.service", content=""),
    Service(unit="a.service", files=("/f",)),
    Firewall(content=""),
    Sshd(options=(("PermitRootLogin", "no"), ("X", "y"))),
    Instance(app="a", release="r", health="/x/", prefix="/x", timeout=3, drain=4, strategy="restart"),
    Current(releases=(("a", "r"),), only=True, shared=("a",)),
    NginxSite(path="/etc/nginx/conf.d/a.conf", content="", port=80),
    Probe(app="a", port=80, path="/"),
    Retired(current=(("a", "r"),), venvs=("k",), keep=2),
)


def test_stages_in_their_order() -> None:
    """Whatever order roles come in, nothing switches before all is prepared; within a stage the roles' order stays."""
    assert STAGES == ("prepare", "switch", "verify", "retire")
    names = "dbca"
    given = [Link(path=f"{name}/{stage}", target="", stage=stage) for name in names for stage in reversed(STAGES)]
    assert [resource.name for resource in Plan.of(given)] == [f"{name}/{stage}" for stage in STAGES for name in names]


def test_the_stage_of_each_kind() -> None:
    """Only what moves traffic is in the switch, and nothing is removed before the new has proven itself."""
    stages = {resource.kind: resource.stage for resource in EVERYTHING}
    assert {kind for kind, stage in stages.items() if stage == "switch"} == {"current", "nginx_site"}
    assert {kind for kind, stage in stages.items() if stage == "verify"} == {"probe"}
    assert {kind for kind, stage in stages.items() if stage == "retire"} == {"retired"}


def test_two_of_one_id() -> None:
    """Two roles that want the same thing differently are told at once."""
    with pytest.raises(PlanError, match=r"^file:/etc/motd is in the plan twice$"):
        Plan.of([File(path="/etc/motd", content="a"), File(path="/etc/motd", content="b")])


def test_one_name_in_two_kinds() -> None:
    """A name is one of its kind only."""
    assert len(Plan.of([Directory(path="/srv"), Link(path="/srv", target="/")])) == 2


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (
            [Current(releases=(("a", "r"),))],
            "current:applications refers to instance:a/r, which does not come before it",
        ),
        (
            [Retired(current=(("a", "r"),), venvs=(), keep=1)],
            "retired:earlier releases refers to current:applications, which does not come before it",
        ),
        ([EVERYTHING[5], User(user="u")], "release:a/r refers to user:u, which does not come before it"),
    ],
    ids=["absent", "absent in a list", "too late"],
)
def test_dangling_references(resources: list[Resource], message: str) -> None:
    """What a resource needs must be in the plan, and before it."""
    with pytest.raises(PlanError) as raised:
        Plan.of(resources)
    assert str(raised.value) == message


def test_wire_form_of_every_kind() -> None:
    """A plan that went over the channel is equal to the one that was sent, tuples and odd characters included."""
    assert {resource.kind for resource in EVERYTHING} == {kind.kind for kind in KINDS}
    sent = Plan(EVERYTHING)
    assert Plan.from_wire(json.loads(json.dumps(sent.to_wire()))) == sent


def test_ids_name_the_kind() -> None:
    """Kinds have names of their own."""
    assert len({kind.kind for kind in KINDS}) == len(KINDS)
    assert [resource.id.partition(":")[0] for resource in EVERYTHING] == [resource.kind for resource in EVERYTHING]
