"""To which release each host of a fleet goes back, so that all end on the same."""

from __future__ import annotations

from typing import Any

from rackhand.history import code, step_before


def host(
    current: str | None, *releases: tuple[str, str], failed: tuple[str, ...] = (), unproven: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What a host says of an application: `releases` are ids with the run that made them current last."""
    return {
        "current": current,
        "releases": [
            {
                "id": id,
                "proven": bool(run) and id not in unproven,
                "run": run or None,
                "failed": "why" if id in failed else None,
            }
            for id, run in releases
        ],
    }


def test_the_code_of_a_release_is_the_same_on_unlike_hosts() -> None:
    assert code("8319d399.d28b01") == code("8319d399.f00f00") == "8319d399"


def test_unlike_hosts_go_back_to_the_same_code() -> None:
    found = {
        "a": host("new.1", ("new.1", "r2"), ("old.1", "r1")),
        "b": host("new.2", ("new.2", "r2"), ("old.2", "r1")),
    }
    assert step_before(found) == {"a": "old.1", "b": "old.2"}


def test_a_host_that_never_had_it_is_left_out() -> None:
    """It joined later, or has only what is even older."""
    found = {
        "a": host("new.1", ("new.1", "r3"), ("old.1", "r2")),
        "late": host("new.1", ("new.1", "r3")),
        "absent": host("new.1", ("new.1", "r3"), ("ancient.1", "r1")),
        "bare": host(None),
    }
    assert step_before(found) == {"a": "old.1"}


def test_a_host_that_the_last_run_did_not_reach_stays() -> None:
    """Where only the canary got the new release, the others have what it goes back to."""
    found = {
        "canary": host("new.1", ("new.1", "r2"), ("old.1", "r1")),
        "b": host("old.1", ("old.1", "r1"), ("older.1", "r0")),
    }
    assert step_before(found) == {"canary": "old.1", "b": "old.1"}


def test_a_release_that_several_runs_brought_is_one_step() -> None:
    """As when a host was down, and got it by a later run."""
    found = {
        "a": host("new.1", ("new.1", "r2"), ("old.1", "r1")),
        "b": host("new.1", ("new.1", "r3"), ("old.1", "r1")),
    }
    assert step_before(found) == {"a": "old.1", "b": "old.1"}


def test_other_settings_of_the_same_code_are_a_step() -> None:
    """Also where they have reached a part of the hosts only."""
    found = {
        "a": host("code.2", ("code.2", "r2"), ("code.1", "r1"), ("old.1", "r0")),
        "b": host("code.1", ("code.1", "r1"), ("old.1", "r0")),
    }
    assert step_before(found) == {"a": "code.1", "b": "code.1"}


def test_twice_goes_back_and_forth() -> None:
    found = {name: host("old.1", ("old.1", "r3"), ("new.1", "r2")) for name in "ab"}
    assert step_before(found) == {"a": "new.1", "b": "new.1"}


def test_what_has_failed_or_never_served_is_no_step() -> None:
    found = {
        name: host("new.1", ("new.1", "r4"), ("bad.1", "r3"), ("unused.1", ""), ("old.1", "r1"), failed=("bad.1",))
        for name in "ab"
    }
    assert step_before(found) == {"a": "old.1", "b": "old.1"}


def test_what_was_cut_off_before_anybody_saw_it_answer_is_no_step_to_go_back_to() -> None:
    """But one to go back from."""
    releases = (("new.1", "r4"), ("cut.1", "r3"), ("old.1", "r1"))
    assert step_before({"a": host("new.1", *releases, unproven=("cut.1",))}) == {"a": "old.1"}
    assert step_before({"a": host("new.1", *releases, unproven=("cut.1", "new.1"))}) == {"a": "old.1"}


def test_a_first_release_has_nothing_before_it() -> None:
    assert step_before({"a": host("new.1", ("new.1", "r1")), "b": host(None)}) == {}
    assert step_before({"a": host(None)}) == {}
