"""The engine: in what order things happen, what stops a run, what is undone, what is told."""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rackhand.agent.engine import Outcome, ask, compare, run
from rackhand.agent.events import Emitter
from rackhand.agent.plan import Plan
from rackhand.agent.resource import Failure, Resource, ResourceError, Stage, State
from rackhand.agent.resources import Current, File, Probe, Release
from rackhand.agent.system import System
from tests.agent.waiting import until


class Step(Resource):
    """A resource whose whole state is a file, and which notes in another file all that is done to it."""

    kind: ClassVar[str] = "step"
    secret: ClassVar[frozenset[str]] = frozenset({"password"})

    step: str
    value: str = "new"
    password: str = ""
    after: tuple[str, ...] = ()
    breaks: type[Exception] | None = None
    works: bool = True
    undo_breaks: bool = False
    warning: str = ""

    @property
    def name(self) -> str:
        return self.step

    def follows(self, system: System) -> tuple[str, ...]:
        return self.after

    def wanted(self) -> State:
        return {"value": self.value, "password": self.password}

    def actual(self, system: System) -> State:
        path = Path(system.path(self.step))
        value, _, password = path.read_text().partition(" ") if path.exists() else (None, "", "")
        return {"value": value, "password": password}

    def apply(self, system: System, actual: State) -> None:
        self._note(system, "apply")
        if self.works:
            Path(system.path(self.step)).write_text(f"{self.value} {self.password}")
        if self.breaks is not None:
            raise self.breaks(f"{self.step} broke")

    def warnings(self, system: System) -> tuple[str, ...]:
        return (f"{self.step} {self.actual(system)['value']}: {self.warning}",) if self.warning else ()

    def proven(self, system: System) -> None:
        if self.stage == "switch":
            self._note(system, "proven")

    def undo(self, system: System, before: State, failure: Failure) -> None:
        self._note(system, "undo")
        if self.undo_breaks:
            raise ResourceError(f"{self.step} cannot be undone")
        if before["value"] is None:
            Path(system.path(self.step)).unlink(missing_ok=True)
        else:
            Path(system.path(self.step)).write_text(f"{before['value']} {before['password']}")

    def _note(self, system: System, what: str) -> None:
        with Path(system.path("notes")).open("a") as file:
            file.write(f"{what} {self.step}\n")


class Look(Resource):
    """Observes that a step has a value."""

    kind: ClassVar[str] = "look"
    observes: ClassVar[bool] = True

    step: str
    value: str = "new"
    matters: bool = True

    @property
    def name(self) -> str:
        return self.step

    def wanted(self) -> State:
        return {"seen": True}

    def actual(self, system: System) -> State:
        if Path(system.path(self.step)).read_text().strip() != self.value:
            raise ResourceError(f"{self.step} is not {self.value}", ("line 1", "line 2"))
        return {"seen": True}

    def matters_after(self, undone: Sequence[tuple[Resource, State]]) -> bool:
        return self.matters


class Asking(Resource):
    """Reads the file of a step by asking a program, which counts how often it was asked."""

    kind: ClassVar[str] = "asking"

    folder: str
    step: str

    @property
    def name(self) -> str:
        return f"about {self.step}"

    def questions(self, system: System) -> tuple[tuple[str, ...], ...]:
        return (("sh", "-c", f"cd {self.folder}; cat {self.step} || true; echo {self.step} >> asked"),)

    def wanted(self) -> State:
        return {"said": "new"}

    def actual(self, system: System) -> State:
        (question,) = self.questions(system)
        return {"said": system.run(*question).strip()}

    def apply(self, system: System, actual: State) -> None:
        """A change of what it reads is the step's."""


class Hanging(Step):
    """A step that waits for what never comes."""

    kind: ClassVar[str] = "hanging"

    @property
    def deadline(self) -> int:
        return 1

    def apply(self, system: System, actual: State) -> None:
        self._note(system, "apply")
        reading, _ = os.pipe()
        os.read(reading, 1)


class Trial:
    """A scratch root in which plans are run; keeps the outcome and the events of the last run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = folder / "root"
        self.root.mkdir()
        self.outcome = Outcome()
        self.events: list[dict[str, Any]] = []

    def has(self, **steps: str) -> None:
        for step, value in steps.items():
            (self.root / step).write_text(f"{value} ")

    def run(
        self,
        *resources: Resource,
        apply: bool = True,
        cancelled: Callable[[], bool] = lambda: False,
        before_change: Callable[[], None] = lambda: None,
        asked: Sequence[str] = (),
    ) -> None:
        """Asks about the steps that should be `asked` about before the run begins."""
        plan, system = Plan(resources), System(str(self.root))
        if asked:
            ask(plan, system)
            until(lambda: self.asked == asked)
        with (self._folder / "events").open("w+b") as file:
            emit = Emitter(file.fileno())
            self.outcome = run(
                plan,
                system,
                emit,
                apply=apply,
                cancelled=cancelled,
                before_change=before_change,
            )
            file.seek(0)
            self.events = [json.loads(line) for line in file]

    @property
    def notes(self) -> list[str]:
        return self._lines("notes")

    @property
    def asked(self) -> list[str]:
        return sorted(self._lines("asked"))

    def _lines(self, name: str) -> list[str]:
        path = self.root / name
        return path.read_text().splitlines() if path.exists() else []

    @property
    def statuses(self) -> dict[str, str]:
        return {event["id"]: event["status"] for event in self.events if event["event"] == "resource"}

    @property
    def warnings(self) -> list[str]:
        return [event["text"] for event in self.events if event["event"] == "warning"]

    @property
    def notices(self) -> list[tuple[str, str]]:
        return [(event["level"], event["text"]) for event in self.events if event["event"] == "notice"]


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


# What stops a run


def test_only_what_differs_is_applied(trial: Trial) -> None:
    """A resource that is as wanted is left alone."""
    trial.has(a="new", b="old")
    trial.run(Step(step="a"), Step(step="b"), Step(step="c"))
    assert trial.notes == ["apply b", "apply c"]
    assert trial.statuses == {"step:a": "ok", "step:b": "changed", "step:c": "changed"}
    assert (trial.outcome.ok, trial.outcome.changed, trial.outcome.reason) == (1, 2, None)


def test_something_may_be_done_before_each_change(trial: Trial) -> None:
    """And before changes alone: not when all is as wanted, nor by a check."""
    trial.has(a="new", b="old")
    noted: list[list[str]] = []
    trial.run(Step(step="b"), apply=False, before_change=lambda: noted.append(trial.notes))
    trial.run(Step(step="a"), before_change=lambda: noted.append(trial.notes))
    assert noted == []
    trial.run(Step(step="a"), Step(step="b"), Step(step="c"), before_change=lambda: noted.append(trial.notes))
    assert noted == [[], ["apply b"]]


def test_a_check_applies_nothing(trial: Trial) -> None:
    """A check goes through the whole plan and says what differs."""
    trial.has(a="old")
    trial.run(Step(step="a"), Step(step="b"), apply=False)
    assert trial.notes == []
    assert trial.statuses == {"step:a": "changed", "step:b": "changed"}


@pytest.mark.parametrize("apply", [True, False])
def test_warnings_of_what_is_there(trial: Trial, apply: bool) -> None:
    """They are told in every run, of what is as wanted by then, and fail none; of what has failed the failure is."""
    trial.has(a="new")
    trial.run(Step(step="a", warning="slow"), Step(step="b", warning="old"), Step(step="c"), apply=apply)
    assert trial.warnings == ["a new: slow", f"b {'new' if apply else None}: old"]
    assert trial.outcome.reason is None
    trial.run(Step(step="d", warning="no", breaks=ResourceError))
    assert trial.warnings == []


def test_the_first_failure_ends_the_run(trial: Trial) -> None:
    """What comes after a failure is not looked at, and is counted as skipped."""
    trial.has(c="old")
    trial.run(Step(step="a"), Step(step="b", breaks=ResourceError), Step(step="c"), Look(step="d"))
    assert trial.statuses == {"step:a": "changed", "step:b": "failed"}
    assert (trial.outcome.changed, trial.outcome.failed, trial.outcome.skipped) == (1, 1, 2)
    assert trial.outcome.reason == "step:b: b broke"


@pytest.mark.parametrize(
    "error",
    [
        ResourceError,
        OSError,
        KeyError,
    ],
)
def test_no_error_gets_past_the_undoing(trial: Trial, error: type[Exception]) -> None:
    """Whatever goes wrong in a resource fails the run and undoes the switch."""
    trial.run(Step(step="a", stage="switch"), Step(step="b", breaks=error, stage="switch"))
    assert trial.statuses == {"step:a": "changed", "step:b": "failed"}
    assert trial.outcome.undone
    assert not (trial.root / "a").exists()


def test_what_hangs_is_broken_off(trial: Trial) -> None:
    """It has failed, and what came before it is taken back."""
    trial.run(Step(step="a"), Hanging(step="b"), Step(step="c"))
    assert trial.outcome.reason == "hanging:b: was not done within 1 s"
    assert trial.notes == ["apply a", "apply b", "undo a"]


def test_every_step_says_how_long_it_may_take(trial: Trial) -> None:
    """The controller gives up on a host that has been silent for longer."""
    trial.run(Step(step="a"), Hanging(step="b"), apply=False)
    assert [event["within"] for event in trial.events if event["event"] == "begin"] == [300, 1]


def test_an_unknown_owner_is_a_failure(trial: Trial) -> None:
    """A file for a user that the host does not have fails as other resources do."""
    trial.run(File(path="/file", content="", owner="nobody-of-this-name:root"))
    assert trial.outcome.failed == 1


def test_a_failing_command_is_told_with_what_it_said(trial: Trial) -> None:
    """The reason of a failure holds the command and its words; the log that a resource gives is passed on."""
    trial.has(a="old")
    trial.run(Look(step="a"))
    (event,) = [event for event in trial.events if event.get("status") == "failed"]
    assert (event["message"], event["log"]) == ("a is not new", ["line 1", "line 2"])
    trial.run(File(path="/file", content="x", validate=("sh", "-c", "echo because; exit 4")))
    assert trial.outcome.reason is not None
    assert re.search(r"sh -c echo because; exit 4: ended with 4: because$", trial.outcome.reason)


def test_an_apply_is_believed_only_when_the_state_is_so(trial: Trial) -> None:
    """A resource that was applied and still is not as wanted has failed."""
    trial.run(Step(step="a", works=False))
    assert trial.outcome.reason == "step:a: was applied, and still differs in: value"


# What is undone


def test_undo_goes_backwards_and_takes_back_what_was_applied_only(trial: Trial) -> None:
    """The failed one first, for it is half done, then those before it; not what was as wanted all along."""
    trial.has(a="old", b="new", c="old", d="old")
    switch = [Step(step=step, stage="switch") for step in "abc"]
    trial.run(*switch, Step(step="d", stage="switch", breaks=ResourceError), Step(step="e", stage="verify"))
    assert trial.notes == ["apply a", "apply c", "apply d", "undo d", "undo c", "undo a"]
    left = {step: (trial.root / step).read_text().strip() for step in "abcd"}
    assert left == {"a": "old", "b": "new", "c": "old", "d": "old"}
    assert trial.outcome.undone


def test_what_is_as_it_was_before_is_not_undone(trial: Trial) -> None:
    """A resource that failed without having changed anything needs no undoing."""
    trial.has(a="old", b="old")
    trial.run(Step(step="a", stage="switch"), Step(step="b", stage="switch", works=False, breaks=ResourceError))
    assert trial.notes == ["apply a", "apply b", "undo a"]


def test_preparations_alone_are_no_switch_that_was_undone(trial: Trial) -> None:
    """A failure before the switch takes preparations back, and does not claim to have undone a switch."""
    trial.run(Step(step="a"), Step(step="b", breaks=ResourceError), Look(step="a"))
    assert trial.outcome.sound
    assert trial.notes == ["apply a", "apply b", "undo b", "undo a"]
    assert not trial.outcome.undone
    assert trial.notices == []


def test_what_fails_behind_the_proof_undoes_nothing(trial: Trial) -> None:
    """Once the new has proven itself the old may be told to stop: going back to it would be worse than a leftover."""
    trial.has(a="old")
    trial.run(Step(step="a", stage="switch"), Step(step="b", stage="retire", breaks=OSError))
    assert trial.notes == ["apply a", "proven a", "apply b"]
    assert (trial.outcome.failed, trial.outcome.undone) == (1, False)


def test_what_was_applied_is_proven_once_the_probes_answer(trial: Trial) -> None:
    """Not what was there before, nor what they find bad."""
    look = Look(step="b", stage="verify")
    switch = (Step(step="a", stage="switch"), Step(step="b", stage="switch"))
    trial.has(a="new")
    trial.run(*switch, look)
    assert trial.notes == ["apply b", "proven b"]
    trial.has(a="old", b="bad")
    trial.run(switch[0], look)
    assert trial.notes[2:] == ["apply a", "undo a"]


def test_a_check_that_fails_undoes_nothing(trial: Trial) -> None:
    """Without an apply there is nothing to undo."""
    trial.has(a="new", b="old")
    trial.run(Step(step="a", stage="switch"), Look(step="b", stage="verify"), apply=False)
    assert (trial.outcome.failed, trial.outcome.undone, trial.notes) == (1, False, [])


def test_one_undo_that_fails_does_not_keep_the_others_from_being_done(trial: Trial) -> None:
    """It is told, and the rest is taken back nevertheless."""
    trial.has(a="old", b="old")
    trial.run(
        Step(step="a", stage="switch"),
        Step(step="b", stage="switch", undo_breaks=True),
        Step(step="c", stage="switch", breaks=OSError),
    )
    assert trial.notes[-3:] == ["undo c", "undo b", "undo a"]
    assert trial.notices == [("error", "could not undo step:b: b cannot be undone")]
    assert not trial.outcome.sound
    assert (trial.root / "a").read_text().strip() == "old"


@pytest.mark.parametrize(
    ("before", "matters", "notices"),
    [
        ("old", True, [("info", "the switch was undone, and a answers as before")]),
        ("bad", True, [("error", "after undoing the switch, look:a: a is not old")]),
        ("bad", False, []),
    ],
)
def test_what_observes_is_asked_again_after_undoing(
    trial: Trial, before: str, matters: bool, notices: list[tuple[str, str]]
) -> None:
    """The probe that failed on the new release tells whether the old one serves; unless there was none."""
    trial.has(a=before)
    trial.run(Step(step="a", stage="switch"), Look(step="a", value="old", stage="verify", matters=matters))
    assert trial.outcome.reason == "look:a: a is not old"
    assert trial.outcome.undone
    assert trial.outcome.sound == (before == "old" or not matters)
    assert trial.notices == notices


def test_the_probe_of_a_first_release_does_not_matter_after_undoing() -> None:
    """An application that had no release before has nothing to answer with."""
    probe = Probe(app="shop", port=80, path="/health")
    switch = Current(releases=(("shop", "new"), ("other", "new")))
    assert not probe.matters_after([(switch, {"record": {"other": ("old-1", "socket")}})])
    assert probe.matters_after([(switch, {"record": {"shop": ("old-1", "socket")}})])
    assert probe.matters_after([])


# Cancelling


@pytest.mark.parametrize("after", ["prepare", "switch"])
def test_cancelled_before_the_switch(trial: Trial, after: Stage) -> None:
    """What was prepared is taken back, and the rest is skipped, also when it was the last preparation."""
    trial.run(
        Step(step="a"),
        Step(step="b", stage=after),
        Step(step="c", stage="switch"),
        cancelled=lambda: (trial.root / "a").exists(),
    )
    assert trial.notes == ["apply a", "undo a"]
    assert (trial.outcome.interrupted, trial.outcome.reason) == (True, "interrupted before the switch")
    assert (trial.outcome.changed, trial.outcome.skipped, trial.outcome.undone) == (1, 2, False)


def test_a_switch_that_has_begun_is_brought_to_its_end(trial: Trial) -> None:
    """From the switch on, nobody can stop a run in the middle."""
    trial.run(
        Step(step="a"),
        Step(step="b", stage="switch"),
        Step(step="c", stage="switch"),
        Look(step="c", stage="verify"),
        Step(step="d", stage="retire"),
        cancelled=lambda: (trial.root / "b").exists(),
    )
    assert trial.notes == ["apply a", "apply b", "apply c", "proven c", "proven b", "apply d"]
    assert (trial.outcome.interrupted, trial.outcome.reason) == (False, None)


# What a check can foretell


def test_what_observes_is_not_asked_while_changes_are_pending(trial: Trial) -> None:
    """What a probe would see before the changes says nothing about after them."""
    trial.has(b="new")
    trial.run(Step(step="a"), Look(step="b"), apply=False)
    assert trial.statuses == {"step:a": "changed", "look:b": "skipped"}
    trial.has(a="new")
    trial.run(Step(step="a"), Look(step="b"), apply=False)
    assert trial.statuses == {"step:a": "ok", "look:b": "ok"}


def test_what_follows_a_change_is_foretold(trial: Trial) -> None:
    """A resource that a change of another always changes too is told as changing, though it is as wanted now."""
    trial.has(b="new")
    trial.run(Step(step="a"), Step(step="b", after=("step:a",)), Step(step="c", after=("step:x",)), apply=False)
    assert trial.statuses == {"step:a": "changed", "step:b": "changed", "step:c": "changed"}
    changes = {event["id"]: event["changes"] for event in trial.events if event.get("status") == "changed"}
    assert changes["step:b"] == [{"key": "follows", "before": None, "after": "step:a"}]
    assert changes["step:c"] == [{"key": "value", "before": None, "after": "new"}]


# What is told of a difference

RELEASE = Release(app="a", release="r", group="g", code="", archive="", files=(), links=())


def changes_of(before: object, after: object, key: str = "key") -> list[dict[str, Any]]:
    return compare(RELEASE, {key: after}, {key: before})


def test_equal_states_have_no_changes() -> None:
    """Keys that nobody wants anything of do not count."""
    assert compare(RELEASE, {"a": 1, "b": ()}, {"b": (), "a": 1, "c": "whatever"}) == []


@pytest.mark.parametrize(
    ("before", "after"), [("0644", "0600"), (None, "0600"), (False, True), (("a",), ()), ("a\nb", None)]
)
def test_small_values_are_told_as_they_are(before: object, after: object) -> None:
    assert changes_of(before, after) == [{"key": "key", "before": before, "after": after}]


def test_a_missing_key_differs() -> None:
    """An actual state may leave out what makes no sense, as the owner of a file that is not there."""
    assert compare(RELEASE, {"owner": "root"}, {}) == [{"key": "owner", "before": None, "after": "root"}]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("one\ntwo\n", "one\n2\n", [" one", "-two", "+2"]),
        (None, "one\ntwo\n", ["+one", "+two"]),
        ("one\ntwo\n", "one", [" one", "-two"]),
        (7, "one\ntwo\n", ["+one", "+two"]),
    ],
)
def test_text_is_told_as_a_diff(before: object, after: object, lines: list[str]) -> None:
    """A unified diff with two lines of context, whose head names the resource."""
    ((change),) = changes_of(before, after)
    head, of, position, *body = change["diff"].splitlines()
    assert (head, of) == ("--- a/r/key (now)", "+++ a/r/key (wanted)")
    assert position.startswith("@@ ")
    assert body == lines


@pytest.mark.parametrize(("before", "after"), [("a\nb", "a\nb\n"), ("a\r\nb\r\n", "a\nb\n"), ("a\x0cb\n", "a\nb\n")])
def test_a_difference_in_line_ends_is_told(before: str, after: str) -> None:
    """A change is never shown as an empty diff."""
    ((change),) = changes_of(before, after)
    assert change["diff"]


@pytest.mark.parametrize(
    ("before", "told"), [(None, None), ("KEY=hunter1", "********"), ("KEY=hunter1\nB=2\n", "********")]
)
def test_secret_keys_are_told_as_being_different_only(before: str | None, told: str | None) -> None:
    """Neither what a secret was nor what it will be is in a change, nor a diff of it."""
    assert changes_of(before, "KEY=hunter2\nB=2\n", key="env") == [{"key": "env", "before": told, "after": "********"}]


def test_secret_keys_stay_out_of_all_events(trial: Trial) -> None:
    """Also when nobody has told the emitter of the secret."""
    trial.has(a="old")
    (trial.root / "a").write_text("new hunter1")
    trial.run(Step(step="a", password="hunter2"))
    assert trial.statuses == {"step:a": "changed"}
    assert (trial.root / "a").read_text() == "new hunter2"
    assert "hunter" not in json.dumps(trial.events)


# How it is told


def test_every_resource_begins_and_ends(trial: Trial) -> None:
    """The events of a run, in order; those that end one carry how long it took."""
    trial.has(a="new")
    trial.run(Step(step="a"), Step(step="b", stage="switch"))
    told = [(event["event"], event["id"], event["stage"]) for event in trial.events]
    assert told == [
        ("begin", "step:a", "prepare"),
        ("resource", "step:a", "prepare"),
        ("begin", "step:b", "switch"),
        ("resource", "step:b", "switch"),
    ]
    assert all(event["seconds"] >= 0 for event in trial.events if event["event"] == "resource")


def test_a_broken_channel_does_not_stop_the_run(trial: Trial, pipe: tuple[int, int], tmp_path: Path) -> None:
    """The run goes on to its end without its controller, and the journal has all of it."""
    reading, writing = pipe
    os.close(reading)
    emit = Emitter(writing)
    emit.journal(str(tmp_path / "journal"))
    outcome = run(Plan((Step(step="a"), Step(step="b"))), System(str(trial.root)), emit, apply=True)
    assert (outcome.changed, trial.notes) == (2, ["apply a", "apply b"])
    journal = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    assert [event["id"] for event in journal if event["event"] == "resource"] == ["step:a", "step:b"]


def test_a_full_disk_does_not_stop_the_undoing(trial: Trial, pipe: tuple[int, int]) -> None:
    """A journal that cannot be written does not end a run between the switch and its undoing."""
    emit = Emitter(pipe[1])
    emit.journal("/dev/full")
    switch = (Step(step="a", stage="switch"), Step(step="b", stage="switch", breaks=OSError))
    assert run(Plan(switch), System(str(trial.root)), emit, apply=True).undone


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe; a test may close the first."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(writing)


def test_questions_are_begun_with_before_they_are_needed(trial: Trial) -> None:
    """And asked once, where nothing changes."""
    trial.has(one="new", two="new")
    trial.run(*(Asking(folder=str(trial.root), step=step) for step in ("one", "two")), asked=["one", "two"])
    assert (trial.outcome.ok, trial.outcome.changed) == (2, 0)
    assert trial.asked == ["one", "two"]


def test_what_was_asked_before_a_change_is_asked_again(trial: Trial) -> None:
    """The answer is of before."""
    trial.run(Step(step="one"), Asking(folder=str(trial.root), step="one"), asked=["one"])
    assert (trial.outcome.ok, trial.outcome.changed, trial.outcome.failed) == (1, 1, 0)
