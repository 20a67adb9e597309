"""A report is folded from events: counts, outcomes, exit codes, and in what state each host is left."""

from __future__ import annotations

from typing import Any

import pytest

from rackhand.report import Event, Report

REFUSED = "no systemd"


def run(*hosts: str, check: bool = False) -> Event:
    return {"event": "run", "run": "r1", "command": "deploy", "check": check, "hosts": list(hosts)}


def begun(stage: str, name: str = "file:/a", host: str = "lab1") -> list[Event]:
    return [{"event": "begin", "host": host, "id": name, "stage": stage}]


def step(stage: str, status: str, name: str = "file:/a", host: str = "lab1", **more: Any) -> list[Event]:
    event = {"event": "resource", "host": host, "id": name, "stage": stage, "status": status, "seconds": 0.1, **more}
    return [*begun(stage, name, host), event]


def end(host: str = "lab1", **given: Any) -> list[Event]:
    counts = {"ok": 0, "changed": 0, "failed": 0, "skipped": 0}
    return [{"event": "end", "host": host, **counts, "undone": False, "interrupted": False, "reason": None, **given}]


def one(event: str, host: str = "lab1", **more: Any) -> list[Event]:
    return [{"event": event, "host": host, **more}]


def done(*, interrupted: bool = False) -> Event:
    return {"event": "done", "seconds": 9.0, "interrupted": interrupted}


def fold(*events: Event) -> Report:
    report = Report()
    for event in events:
        report = report.after(event)
    return report


def planned(host: str = "lab1") -> list[Event]:
    return [
        *one("connecting", host),
        *one("greeted", host),
        *one("facts", host, facts={}),
        *one("planned", host, resources=4),
    ]


FINE = [*planned(), *step("prepare", "ok"), *end(ok=4)]
CHANGED = [*planned(), *step("prepare", "changed"), *end(ok=3, changed=1)]
FAILED = [
    *planned(),
    *step("prepare", "failed", log=["Traceback"]),
    *end(failed=1, skipped=3, reason="file:/a: broken"),
]
SWITCHED = [*planned(), *step("switch", "changed"), *step("verify", "failed", name="probe:p")]
TOLD = one("notice", level="info", text="the switch was undone, and p answers as before")
UNDONE = [*SWITCHED, *TOLD, *end(changed=1, failed=1, skipped=2, undone=True, reason="probe:p: status 502")]
UNREACHABLE = [*one("connecting"), *one("unreachable", reason="no answer")]
PREPARED = [*planned(), *step("prepare", "changed")]
INTERRUPTED = [*PREPARED, *end(changed=1, skipped=3, interrupted=True, reason="interrupted before the switch")]


def test_a_host_moves_through_phases_to_an_outcome() -> None:
    """The phase and the step say at any time what a host is at."""
    report = fold(run("lab1"))
    seen = []
    for event in (
        *planned(),
        *one("upload", bytes=3),
        *step("prepare", "changed"),
        *begun("switch", "current:a"),
        *end(ok=3, changed=1),
    ):
        report = report.after(event)
        host = report.hosts["lab1"]
        seen.append((host.phase, host.step, host.outcome))
    assert seen == [
        ("connecting", None, None),
        ("starting", None, None),
        ("planning", None, None),
        ("planned", None, None),
        ("uploading", None, None),
        ("prepare", "file:/a", None),
        ("prepare", None, None),
        ("switch", "current:a", None),
        ("switch", "current:a", "ok"),
    ]


def test_resources_are_counted_as_they_end() -> None:
    """Before the host's own count has come, the report has one."""
    events = [
        *step("prepare", "ok"),
        *step("prepare", "changed"),
        *step("verify", "skipped"),
        *step("verify", "failed"),
    ]
    host = fold(run("lab1"), *planned(), *events).hosts["lab1"]
    assert (host.ok, host.changed, host.skipped, host.failed, host.done) == (1, 1, 1, 1, 4)


def test_counts_have_the_meaning_that_ansible_gives_them() -> None:
    """What was changed is ok as well; a host whose switch was undone is rescued."""
    counts = fold(run("lab1"), *UNDONE, done()).hosts["lab1"].counts()
    assert list(counts.items()) == [
        ("ok", 1),
        ("changed", 1),
        ("unreachable", 0),
        ("failed", 1),
        ("skipped", 2),
        ("rescued", 1),
        ("ignored", 0),
    ]


def test_a_failure_keeps_its_step_its_log_and_its_reason() -> None:
    host = fold(run("lab1"), *FAILED).hosts["lab1"]
    assert (host.step, host.log, host.reason) == ("file:/a", ("Traceback",), "file:/a: broken")


def test_a_host_takes_the_time_from_connecting_to_its_end() -> None:
    """Stamps of the controller are what counts, and waiting for one's turn does not."""
    events = [{**event, "at": 5.0 + index} for index, event in enumerate(FINE)]
    assert fold(run("lab1"), *events).hosts["lab1"].seconds == len(FINE) - 1


def test_events_leave_the_reports_before_them_alone() -> None:
    before = fold(run("lab1"))
    before.after(one("connecting")[0])
    assert before == fold(run("lab1"))


@pytest.mark.parametrize("event", [{"event": "news"}, {"event": "interrupt"}, {"event": "news", "host": "lab1"}])
def test_unknown_events_change_nothing(event: Event) -> None:
    """A newer agent may say more than this controller knows."""
    assert fold(run("lab1"), event) == fold(run("lab1"))


@pytest.mark.parametrize(
    ("events", "interrupted", "code"),
    [
        ([], False, 0),
        (FINE, False, 0),
        (CHANGED, False, 0),
        (one("answered"), False, 0),
        (FAILED, False, 2),
        (UNDONE, False, 2),
        (one("error", reason="no such release"), False, 2),
        (one("refused", reason=REFUSED), False, 2),
        (UNREACHABLE, False, 4),
        ([*PREPARED, *one("lost", reason="reset")], False, 4),
        ([*FAILED, *one("unreachable", "lab2", reason="no answer")], False, 6),
        (INTERRUPTED, True, 99),
        (FINE, True, 99),
        (INTERRUPTED, False, 99),
        ([*FAILED, *one("unreachable", "lab2", reason="no answer")], True, 99),
    ],
)
def test_exit_codes(events: list[Event], interrupted: bool, code: int) -> None:
    """2 for failed, 4 for unreachable, both make 6, and an interrupt is louder than either."""
    assert fold(run("lab1", "lab2"), *events, done(interrupted=interrupted)).exit_code == code


HELD = [*planned(), *one("held")]
ALONE = "connection ended: the host goes on alone; run the same command again to see how it ended"
SERVES = "what served before goes on serving"


@pytest.mark.parametrize(
    ("events", "check", "words"),
    [
        ([], False, "not started, untouched"),
        (FINE, False, "all 4 as wanted, nothing to change"),
        (FINE, True, "all 4 as wanted, nothing to change"),
        (CHANGED, False, "changed 1 of 4"),
        (CHANGED, True, "would change 1 of 4"),
        (UNREACHABLE, False, "unreachable, untouched"),
        (HELD, False, "not started, untouched"),
        (one("refused", reason=REFUSED), False, "failed, nothing was changed"),
        (FAILED, False, f"failed at file:/a, {SERVES}"),
        (FAILED, True, "failed at file:/a, nothing was changed"),
        (
            [*planned(), *one("upload", bytes=1), *end(failed=1, skipped=4, reason="data arrived damaged")],
            False,
            "failed, nothing was changed",
        ),
        (
            [*planned(), *step("verify", "failed"), *end(ok=3, failed=1, reason="status 500")],
            False,
            "failed at file:/a, nothing was changed",
        ),
        (
            [*PREPARED, *step("verify", "failed", "probe:p"), *end(changed=1, failed=1, reason="status 500")],
            False,
            f"failed at probe:p, {SERVES}",
        ),
        (UNDONE, False, "failed at probe:p, the switch was undone, what served before serves again"),
        (
            [
                *SWITCHED,
                *one("notice", level="error", text="could not undo current:a"),
                *TOLD,
                *end(changed=1, failed=1, skipped=2, undone=True, reason="probe:p: status 502"),
            ],
            False,
            "failed at probe:p, the switch was undone, with the errors above",
        ),
        (
            [
                *PREPARED,
                *step("prepare", "failed", "instance:a"),
                *one("notice", level="error", text="could not undo instance:a"),
                *end(changed=1, failed=1, skipped=2, reason="instance:a: broken"),
            ],
            False,
            f"failed at instance:a, {SERVES}",
        ),
        ([*PREPARED, *one("lost", reason="reset")], False, ALONE),
        ([*planned(), *begun("switch"), *one("lost", reason="reset")], False, ALONE),
        ([*PREPARED, *one("lost", reason="reset")], True, "connection ended, untouched"),
        ([*one("connecting"), *one("lost", reason="reset")], False, "connection ended, untouched"),
        ([*one("connecting"), *one("greeted"), *one("lost", reason="reset")], False, "connection ended, untouched"),
        (
            INTERRUPTED,
            False,
            f"interrupted before the switch: {SERVES}; run the same command again to go on",
        ),
        (
            [*planned(), *end(skipped=4, interrupted=True, reason="interrupted before the switch")],
            False,
            "interrupted before anything was changed",
        ),
        # The run ends while these are still at work: a second Ctrl-C.
        (one("connecting"), False, "interrupted before anything was changed"),
        ([*one("connecting"), *one("greeted")], False, "interrupted before anything was changed"),
        ([*UNREACHABLE, *one("greeted")], False, "unreachable, untouched"),
        (planned(), False, ALONE),
        (PREPARED, False, ALONE),
    ],
)
def test_it_says_in_what_state_a_host_is_left(events: list[Event], check: bool, words: str) -> None:
    """Never calls a host untouched that may not be."""
    assert fold(run("lab1", check=check), *events, done(interrupted=True)).standing("lab1") == words


OTHER = [
    *one("other", of="r0", said={"event": "start", "command": "deploy", "who": "me@here", "time": "now"}),
    *one("other", of="r0", said={"event": "begin", "id": "file:/b", "stage": "switch"}),
    *one("other", of="r0", said={"event": "resource", "id": "file:/b", "stage": "switch", "status": "changed"}),
]


def test_nothing_of_another_run_is_counted() -> None:
    """The host is queued behind it, then goes through its own phases with its own counts."""
    waiting = fold(run("lab1"), *planned(), *OTHER).hosts["lab1"]
    assert (waiting.phase, waiting.behind, waiting.done, waiting.step) == (
        "queued",
        "behind run r0 at file:/b",
        0,
        None,
    )
    report = fold(run("lab1"), *planned(), *OTHER, *one("start"), *step("prepare", "ok"), *end(ok=4), done())
    host = report.hosts["lab1"]
    assert (host.behind, host.changed, host.outcome, report.exit_code) == (None, 0, "ok", 0)


def test_another_run_that_fails_is_not_this_ones_failure() -> None:
    said = {"event": "end", "ok": 0, "changed": 1, "failed": 1, "skipped": 2, "reason": "file:/b: broken"}
    report = fold(run("lab1"), *planned(), *OTHER, *one("other", of="r0", said=said), *end(ok=4), done())
    assert (report.hosts["lab1"].outcome, report.exit_code) == ("ok", 0)


def test_an_interrupt_behind_another_run_leaves_the_host_as_it_was() -> None:
    """Whether the agent has said so or, after a second interrupt, is not waited for."""
    stopped = end(skipped=4, interrupted=True, reason="interrupted while another run was changing the host")
    for last in (stopped, []):
        report = fold(run("lab1"), *planned(), *OTHER, {"event": "interrupt"}, *last, done(interrupted=True))
        assert report.standing("lab1") == "interrupted before anything was changed"
        assert report.exit_code == 99
