"""The contract of the kinds of resources that need nothing but files, in a scratch folder."""

import json
import subprocess
from pathlib import Path

import pytest

from rackhand.agent import engine
from rackhand.agent.events import Emitter
from rackhand.agent.plan import Plan
from rackhand.agent.resource import Resource
from rackhand.agent.resources import KINDS, Directory, File, Link
from rackhand.agent.system import System
from tests.contract import BUNDLE, FILE_CASES, HOST_DAMAGES, Case, Event, changes, converges, repairs
from tests.snapshot import Entry, snapshot


class Scratch:
    """A folder in the place of a host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder / "root"
        self._root.mkdir()
        self._archive = folder / "archive"
        self._archive.write_bytes(BUNDLE.data)

    def run(self, plan: Plan, *, apply: bool) -> list[Event]:
        blobs = {BUNDLE.archive: str(self._archive)}
        with (self._folder / "events").open("w+b") as file:
            emit = Emitter(file.fileno())
            outcome = engine.run(plan, System(str(self._root), blobs.__getitem__), emit, apply=apply)
            emit("end", reason=outcome.reason)
            file.seek(0)
            return [json.loads(line) for line in file]

    def shell(self, script: str) -> None:
        subprocess.run(["sh", "-ec", script], cwd=self._root, check=True)

    def snapshot(self) -> dict[str, Entry]:
        return snapshot(str(self._root), contents=True)


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path)


def test_every_kind_has_a_case() -> None:
    """A new kind of resource needs a case: in FILE_CASES when files are all that it needs, else in HOST_DAMAGES."""
    assert {case.resource.kind for case in FILE_CASES} | HOST_DAMAGES.keys() == {kind.kind for kind in KINDS}


@pytest.mark.parametrize("case", FILE_CASES, ids=lambda case: case.resource.kind)
def test_converges(scratch: Scratch, case: Case) -> None:
    """A check changes nothing and foretells all; an apply converges; a second one touches nothing."""
    scratch.shell(case.given)
    assert converges(scratch, Plan((case.resource,))) == [case.resource.id]


@pytest.mark.parametrize(
    ("case", "damage"),
    [
        pytest.param(case, damage, id=f"{case.resource.kind} {what}")
        for case in FILE_CASES
        for what, damage in case.damages.items()
    ],
)
def test_damage_is_seen_and_repaired(scratch: Scratch, case: Case, damage: str) -> None:
    """What a hand has done is seen by a check and put right by an apply, to how it was before, with no leftovers."""
    plan = Plan((case.resource,))
    scratch.shell(case.given)
    scratch.run(plan, apply=True)
    before = scratch.snapshot()
    repairs(scratch, plan, [case.resource], damage)
    after = scratch.snapshot()
    assert {path: after[path][:3] for path in before} == {path: entry[:3] for path, entry in before.items()}
    assert after.keys() - before.keys() <= {"etc/mine"}


@pytest.mark.parametrize(
    ("resource", "given", "message"),
    [
        (
            Directory(path="/srv"),
            "echo precious > srv",
            "/srv is there, and is not a directory: move it away, then run this again",
        ),
        (
            Directory(path="/srv"),
            "mkdir mine; ln -s mine srv",
            "/srv is there, and is not a directory: move it away, then run this again",
        ),
        (
            File(path="/srv", content="text"),
            "mkdir srv; touch srv/precious",
            "/srv is a directory: move it away, then run this again",
        ),
        (
            Link(path="/srv", target="there"),
            "mkdir srv; touch srv/precious",
            "/srv is a directory: move it away, then run this again",
        ),
    ],
    ids=[
        "file for directory",
        "link for directory",
        "directory for file",
        "directory for link",
    ],
)
def test_what_may_be_precious_is_left_alone(scratch: Scratch, resource: Resource, given: str, message: str) -> None:
    """What is in the way and may hold somebody's work is not replaced: the run fails, says why, and leaves it."""
    scratch.shell(given)
    before = scratch.snapshot()
    events = scratch.run(Plan((resource,)), apply=True)
    assert events[-1]["reason"] == f"{resource.id}: {message}"
    assert scratch.snapshot() == before


def test_others_can_read_what_is_public_of_a_release(scratch: Scratch) -> None:
    """And find their way to it. Of all else, they cannot even see the names."""
    (case,) = (case for case in FILE_CASES if case.resource.kind == "release")
    scratch.shell(case.given)
    changes(scratch.run(Plan((case.resource,)), apply=True))
    scratch.shell(
        "cd opt/rackhand/apps/shop/releases/*/; test $(stat --format=%a . code code/bin code/bin/job code/app.py env"
        " | paste --serial --delimiters=,) = 755,751,755,755,640,600"
    )


def test_invalid_content_replaces_nothing(scratch: Scratch) -> None:
    """A file whose validation fails stays as it was, and the failure tells what the validating program said."""
    scratch.shell("mkdir etc; echo good > etc/conf")
    before = {path: entry[:3] for path, entry in scratch.snapshot().items()}
    script = "cat $1; echo is bad; exit 3"
    resource = File(path="/etc/conf", content="news\n", validate=("sh", "-c", script, "sh", "{}"))
    events = scratch.run(Plan((resource,)), apply=True)
    assert "/etc/conf was left as it was" in events[-1]["reason"]
    assert events[-1]["reason"].endswith("ended with 3: news\nis bad")
    assert {path: entry[:3] for path, entry in scratch.snapshot().items()} == before


def test_what_a_killed_run_left_is_in_nobodys_way(scratch: Scratch) -> None:
    """Half-made files and folders beside their places do not stop the next run, and do not stay."""
    for case in FILE_CASES:
        scratch.shell(case.given.replace("mkdir ", "mkdir -p "))
    scratch.shell(
        "echo half > etc/.rackhand.conf.rackhand;"
        "mkdir -p opt/rackhand/apps/shop/releases/.0123456789ab.partial/code/half"
    )
    assert changes(scratch.run(Plan(tuple(case.resource for case in FILE_CASES)), apply=True))
    assert not [path for path in scratch.snapshot() if "half" in path or path.endswith((".rackhand", ".partial"))]
