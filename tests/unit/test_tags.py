"""`--tags` and `--skip-tags`: which resources of a plan are meant."""

from collections.abc import Sequence

import pytest

import roles
from rackhand.agent.plan import Plan
from rackhand.agent.resources import Packages
from rackhand.errors import UserError
from rackhand.planning import selected
from rackhand.settings import HostSettings
from rackhand.tags import selection
from tests.unit.test_roles import ASYNC_API, SYNC_API, direct, target

HOSTS = [target().settings]


def chosen(tags: Sequence[str] = (), skip: Sequence[str] = (), hosts: Sequence[HostSettings] = HOSTS) -> Plan:
    """The plan of what is meant, of a host with both applications."""
    made, left_out = selected(target(ASYNC_API, SYNC_API), roles.DEPLOY, selection(tags, skip, hosts))
    everything, nothing = selected(target(ASYNC_API, SYNC_API), roles.DEPLOY)
    assert nothing == ()
    ids = [one.id for one in made]
    # All that is in neither list would be forgotten, and nothing changes its place.
    assert sorted([*ids, *left_out]) == sorted(one.id for one in everything)
    assert ids == [one.id for one in everything if one.id in ids]
    return made


def kinds(plan: Plan) -> set[str]:
    return {one.kind for one in plan}


def ids(plan: Plan) -> list[str]:
    return [one.id for one in plan]


def test_a_role() -> None:
    """All that it wants, and nothing else."""
    assert ids(chosen(["nginx"])) == ["link:/etc/nginx/sites-enabled/default", "packages:apt"]


def test_a_kind_and_an_id() -> None:
    """An id may be a pattern."""
    assert kinds(chosen(["user"])) == {"user"}
    assert ids(chosen(["file:/opt/rackhand/boot"])) == ["file:/opt/rackhand/boot"]
    assert ids(chosen(["user:*async*"])) == ["user:rackhand-async_api"]
    assert ids(chosen(["*:/opt/rackhand/b*"])) == ["file:/opt/rackhand/boot"]


def test_several() -> None:
    """With commas, and as several options."""
    assert ids(chosen(["nginx, user:rackhand-sync_api", "file:/opt/rackhand/boot"])) == [
        *ids(chosen(["file:/opt/rackhand/boot"])),
        *ids(chosen(["nginx"])),
        "user:rackhand-sync_api",
    ]


def test_skipping() -> None:
    """All but what is skipped; it is stronger than what is asked for."""
    (packages,) = (one for one in chosen(skip=["nginx"]) if isinstance(one, Packages))
    assert "nginx" not in packages.packages
    assert ids(chosen(["nginx"], ["packages"])) == ["link:/etc/nginx/sites-enabled/default"]


def test_what_belongs_to_a_switch_stays_together() -> None:
    """Half of one would leave the host with an instance that nothing leads to, or without proof."""
    whole = {"release", "virtualenv", "user", "instance", "current", "probe", "retired"}
    assert kinds(chosen(["current"])) - {"directory"} == whole
    assert kinds(chosen(["instance"])) == kinds(chosen(["current"])) == kinds(chosen(["retired"]))
    assert kinds(chosen(["nginx_site"])) >= {"nginx_site", "probe"}


@pytest.mark.parametrize("tag", ["instance", "current", "nginx_site"])
def test_nginx_makes_room_for_what_is_started_in_its_place(tag: str) -> None:
    """And never without that: nobody would answer."""
    made, _ = selected(target(direct(SYNC_API)), roles.DEPLOY, selection([tag], [], HOSTS))
    assert kinds(made) >= {"release", "nginx_site", "instance", "current", "probe", "retired"}


@pytest.mark.parametrize("kind", ["current", "retired", "probe", "release", "instance"])
def test_half_of_a_switch_is_refused(kind: str) -> None:
    """With what to do."""
    with pytest.raises(UserError, match=rf"--skip-tags leaves out {kind}:.*, which .* cannot do without: skip both"):
        chosen(skip=[kind])


UNKNOWN = {
    "nginks": 'there is no such role or kind (did you mean "nginx"?): the hosts have the roles baseline, nginx, ',
    "flie:/etc/motd": 'there is no such role or kind (did you mean "file"?)',
    "gunicorn:x": "there is no such role or kind",
    "/etc/motd": "there is no such role or kind",
}


@pytest.mark.parametrize("tag", UNKNOWN)
@pytest.mark.parametrize("option", ["--tags", "--skip-tags"])
def test_unknown_tags_are_refused(tag: str, option: str) -> None:
    """Before any host is touched; a role that only another host has is known."""
    with pytest.raises(UserError) as raised:
        selection([tag] if option == "--tags" else [], [tag] if option == "--skip-tags" else [], HOSTS)
    assert str(raised.value).startswith(f"{option} {tag}: {UNKNOWN[tag]}")


def test_ids_that_nothing_has_are_told() -> None:
    """By what a host's plan has, which is known late; roles and kinds may well have nothing to say there."""
    meant = selection(["file:/etc/*", "user", "nginx", "*:/opt/*"], ["file:/opt/rackhand/boot"], HOSTS)
    assert list(meant.strays(["file:/opt/rackhand/boot", "user:x"])) == [
        "--tags file:/etc/*: no resource has such an id"
    ]
    assert list(meant.strays(["file:/etc/motd"])) == [
        "--tags *:/opt/*: no resource has such an id",
        "--skip-tags file:/opt/rackhand/boot: no resource has such an id",
    ]


@pytest.mark.parametrize("given", [[""], [","], [" , "]])
def test_tags_that_are_empty_are_refused(given: list[str]) -> None:
    """A variable of a script that is unset must not mean everything."""
    with pytest.raises(UserError, match="--tags is empty"):
        selection(given, [], HOSTS)
    with pytest.raises(UserError, match="--skip-tags is empty"):
        selection([], given, HOSTS)
