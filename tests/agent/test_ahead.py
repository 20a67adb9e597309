"""What begins before its turn: that it does, that nothing depends on it, and that it ends with the run. The resources
are stand-ins; an environment and apt are met in tests/lab/test_hosts.py."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

from rackhand.agent import files
from rackhand.agent.ahead import Ahead
from rackhand.agent.engine import Outcome, run
from rackhand.agent.events import Emitter
from rackhand.agent.plan import Plan
from rackhand.agent.resource import Resource, ResourceError, State
from rackhand.agent.resources import Directory, File
from rackhand.agent.system import System
from tests.agent.test_system import ends

#: Seconds after which something is taken not to come.
PATIENCE = 20

#: An agent of its own, for these resources behind one that has waited as soon as the first one began.
CODE = """
import sys
from pathlib import Path
from tests.agent.test_ahead import Mark, Wait, carry_out
marks = [eval(text) for text in sys.argv[2:]]
sys.exit(carry_out(Path(sys.argv[1]), Wait(until=marks[0].mark + ".begun"), *marks).reason)
"""


def there(path: Path) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.exists()


class Mark(Resource):
    """A file; `begin` writes another one before, then fails, or hangs."""

    kind: ClassVar[str] = "mark"
    begins_early: ClassVar[bool] = True

    mark: str
    hangs: bool = False
    fails: bool = False

    @property
    def name(self) -> str:
        return self.mark

    def wanted(self) -> State:
        return {"there": True}

    def actual(self, system: System) -> State:
        return {"there": os.path.exists(system.path(self.mark))}

    def begin(self, system: System) -> None:
        begun = Path(system.path(f"{self.mark}.begun"))
        begun.with_suffix(".new").write_text(str(os.getpid()))
        begun.with_suffix(".new").rename(begun)
        if self.fails:
            raise ResourceError("never mind")
        while self.hangs:
            time.sleep(1)

    def abandon(self, system: System) -> None:
        Path(system.path(f"{self.mark}.abandoned")).touch()

    def apply(self, system: System, actual: State) -> None:
        Path(system.path(self.mark)).touch()


class Wait(Resource):
    """Waits for a file, which somebody else must write meanwhile."""

    kind: ClassVar[str] = "wait"
    mostly_waits: ClassVar[bool] = True

    until: str = "."
    breaks: bool = False

    @property
    def name(self) -> str:
        return self.until

    def wanted(self) -> State:
        return {"done": True}

    def actual(self, system: System) -> State:
        return {"done": os.path.exists(system.path("done"))}

    def apply(self, system: System, actual: State) -> None:
        if not there(Path(system.path(self.until))):
            raise ResourceError(f"{self.until} did not come")
        if self.breaks:
            raise ResourceError("broke")
        Path(system.path("done")).touch()


def carry_out(folder: Path, *resources: Resource) -> Outcome:
    reading, writing = os.pipe()
    plan, system = Plan.of(resources), System(str(folder))
    try:
        with Ahead(plan, system) as ahead:
            return run(plan, system, Emitter(writing), apply=True, ahead=ahead)
    finally:
        os.close(reading)
        os.close(writing)


def test_it_begins_beside_what_waits(tmp_path: Path) -> None:
    outcome = carry_out(tmp_path, Wait(until="two.begun"), Mark(mark="one"), Mark(mark="two"))
    assert (outcome.reason, outcome.changed) == (None, 3)


def test_nothing_begins_before_it_may(tmp_path: Path) -> None:
    """Nothing that waits has to be applied, so there is nothing to begin beside."""
    (tmp_path / "done").touch()
    outcome = carry_out(tmp_path, Wait(until="one.begun"), Mark(mark="one"), Mark(mark="two"))
    assert (outcome.reason, outcome.changed) == (None, 2)
    assert not (tmp_path / "one.begun").exists()


def test_each_is_waited_for_alone(tmp_path: Path) -> None:
    """The first one has its turn while the second one hangs, which is waited for when its own turn comes."""
    hanging = Mark(mark="two", hangs=True)
    with subprocess.Popen([sys.executable, "-c", CODE, tmp_path, "Mark(mark='one')", repr(hanging)]) as agent:
        try:
            assert there(tmp_path / "one")
            assert there(tmp_path / "two.begun")
            time.sleep(0.3)
            assert not (tmp_path / "two").exists()
            os.kill(int((tmp_path / "two.begun").read_text()), signal.SIGKILL)
            assert there(tmp_path / "two")
            assert agent.wait(PATIENCE) == 0
        finally:
            agent.kill()


def test_what_stands_between_may_be_needed(tmp_path: Path) -> None:
    """A file, say. Users and folders are not."""
    between = File(path="/between", content="", owner=files.owner(tmp_path.stat()), mode="0644")
    outcome = carry_out(tmp_path, Wait(), Directory(path="/folder", owner=between.owner), between, Mark(mark="one"))
    assert (outcome.reason, outcome.changed) == (None, 4)
    assert not (tmp_path / "one.begun").exists()
    (tmp_path / "done").unlink()
    (tmp_path / "one").unlink()
    folder = Directory(path="/another", owner=between.owner)
    assert carry_out(tmp_path, Wait(until="one.begun"), folder, Mark(mark="one")).reason is None


def test_what_fails_has_its_turn_all_the_same(tmp_path: Path) -> None:
    outcome = carry_out(tmp_path, Wait(until="two.begun"), Mark(mark="one", fails=True), Mark(mark="two"))
    assert (outcome.reason, outcome.changed) == (None, 3)
    assert (tmp_path / "one").exists()


def test_it_ends_with_a_run_that_fails(tmp_path: Path) -> None:
    outcome = carry_out(tmp_path, Wait(until="one.begun", breaks=True), Mark(mark="one", hangs=True))
    assert outcome.reason == "wait:one.begun: broke"
    assert ends(int((tmp_path / "one.begun").read_text()), within=PATIENCE)
    assert (tmp_path / "one.abandoned").exists()


def test_it_ends_when_the_agent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CODE, tmp_path, "Mark(mark='one', hangs=True)"]) as agent:
        try:
            assert there(tmp_path / "one.begun")
        finally:
            agent.kill()
    begun = int((tmp_path / "one.begun").read_text())
    try:
        assert ends(begun, within=PATIENCE)
    except AssertionError:
        os.kill(begun, signal.SIGKILL)
        pytest.fail("it went on alone")
