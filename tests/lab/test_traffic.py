"""Under steady mixed traffic through port 80 no request is lost, whatever is done to what serves it.

The longest time without an answer is measured by `invoke bench.traffic`."""

from collections.abc import Callable

import pytest

from rackhand.lab import Lab
from tests.lab import traffic
from tests.lab.traffic import DRAIN, GUNICORN, TRAFFIC, WORKERS, Kill, Served
from tests.load import Tally


@pytest.fixture(scope="module")
def declared(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return traffic.declared(lab, tmp_path_factory.mktemp("traffic"))


@pytest.fixture
def served(declared: Served) -> Served:
    """As its site says, whatever an earlier test has left."""
    declared.settle()
    return declared


def under_load(served: Served, action: Callable[[], object]) -> Tally:
    """Shown by -rP."""
    tally = traffic.under_load(served, action)
    print(tally)
    return tally


def assert_kept(tally: Tally, *, switches: int) -> None:
    """No request is lost; those in flight end where they began; WebSockets are told that the service restarts, and
    event streams end in order, not before the drain time is over."""
    assert not tally.lost, tally
    assert {app: len(names) for app, names in tally.instances.items()} == dict.fromkeys(WORKERS, switches + 1), tally
    assert {ending.code for ending in tally.websockets} <= {1001, 1012}, tally
    assert all(ending.complete for ending in tally.events), tally
    if switches:
        assert tally.spanning > 0, tally
        told = [(ending.app, ending.instance) for ending in tally.websockets]
        # The drain time begins when the old instance is told, which the new one's first answer may come after.
        ended = [(ending.app, ending.instance) for ending in tally.events if (ending.after or 0) > DRAIN - 0.5]
        assert sorted(told) == sorted(ended), tally
        assert len(told) == 2 * sum(each.streams for each in TRAFFIC) * switches, tally


def test_new_code(served: Served) -> None:
    assert_kept(under_load(served, served.deploy_new_code), switches=1)


def test_changed_dependencies(served: Served) -> None:
    tally = under_load(served, lambda: served.deploy_other_dependencies("1.0.0", "0.12.1"))
    assert_kept(tally, switches=1)
    assert all("/0.12.1/" in names[-1] for names in tally.instances.values()), tally


def test_another_number_of_workers(served: Served) -> None:
    assert_kept(under_load(served, lambda: served.deploy_more_workers(1)), switches=1)
    assert {app: len(served.workers(app)) for app in GUNICORN} == {app: n + 1 for app, (_, n) in GUNICORN.items()}


@pytest.mark.parametrize("command", ["rollback", "restart"])
def test_a_command(served: Served, command: str) -> None:
    assert_kept(under_load(served, lambda: served.do(command)), switches=1)


def test_ten_deploys(served: Served) -> None:
    """One after the other, while instances from before are still draining."""

    def deploys() -> None:
        for _ in range(10):
            served.deploy_new_code()

    tally = under_load(served, deploys)
    assert not tally.lost, tally
    assert {app: len(names) for app, names in tally.instances.items()} == dict.fromkeys(WORKERS, 11), tally
    assert {ending.code for ending in tally.websockets} <= {1001, 1012}, tally
    assert all(ending.complete for ending in tally.events), tally


def test_workers_that_are_told_to_end(served: Served) -> None:
    """By an operator, or by whoever frees memory."""

    assert_kept(under_load(served, lambda: served.kill_workers("TERM")), switches=0)


def test_workers_that_are_killed(served: Served) -> None:
    """What a killed worker was working on is lost where it may not be asked twice or the answer has begun. Nothing
    else is: no other request, and no GET that had no answer yet."""
    kills: list[Kill] = []

    def kill() -> None:
        kills.append(served.kill_workers("KILL"))

    tally = under_load(served, kill)
    assert tally.sent > 0
    for lost in tally.lost:
        assert any(lost.start <= kill.end and kill.start <= lost.end for kill in kills), lost
        assert "get" not in lost.kind or "502" not in str(lost.error), lost
    assert {len(names) for names in tally.instances.values()} == {1}, tally
