"""Every kind of fault hits a deploy at least once; and the harness that does it can see what is wrong."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults import boundary, places, table
from tests.faults.case import Case, Outcome, tried
from tests.faults.faults import FAULTS
from tests.faults.invariants import inside
from tests.faults.run import Planned, Range, run, shooting_range, subset
from tests.faults.scenario import CODE, code_only
from tests.faults.troubles import TROUBLES
from tests.faults.witness import Witness


@pytest.fixture(scope="module")
def ground() -> Iterator[Range]:
    with shooting_range() as ground:
        yield ground


@pytest.fixture(scope="module")
def outcomes(ground: Range) -> dict[tuple[str, str, str], Outcome]:
    """Of the subset, two hosts at once."""
    found = run(ground, subset(), at_once=2)
    return {(outcome.scenario, outcome.fault, outcome.boundary): outcome for outcome in found}


def _parameters() -> Iterator[Any]:
    for planned in subset():
        where = f" at {planned.point}" if planned.point else ""
        yield pytest.param(planned, id=f"{planned.scenario.name}: {planned.named}{where}")


@pytest.mark.parametrize("planned", list(_parameters()))
def test_what_becomes_of_a_fault(outcomes: dict[tuple[str, str, str], Outcome], planned: Planned) -> None:
    """The old or the new release serves, never neither or both; the next run converges, and nothing is left over."""
    outcome = outcomes[planned.scenario.name, planned.named, planned.point]
    assert not outcome.violations, table.history(outcome)


def test_there_is_a_boundary_at_every_kind_of_operation(ground: Range) -> None:
    """What the agent does to data, files, folders and, by other programs, to all else."""
    points = ground.dry_run(CODE)
    operations = ("receive", "replace", "rename", "exchange", "remove", "systemctl start", "systemctl stop")
    assert [name for name in operations if not any(f" > {name} " in point for point in points)] == []


def test_the_subset_has_every_fault() -> None:
    tried_ones = {(planned.fault or planned.trouble) for planned in subset()}
    assert tried_ones == {*FAULTS, *TROUBLES}


def _nothing_wrong(case: Case) -> str:
    case.run(*case.trial.command)
    return case.settle()


def _try(ground: Range, body: Callable[[Case], str]) -> Outcome:
    clean = ground.clean("serving")
    with ground.subject("serving") as subject:
        return tried(subject, code_only, clean, body, scenario="code", fault="none", boundary="")


def test_without_a_fault_nothing_is_violated(ground: Range) -> None:
    outcome = _try(ground, _nothing_wrong)
    assert (outcome.word, outcome.violations) == ("new serves", ()), table.history(outcome)


def test_a_leftover_file_is_a_violation(ground: Range) -> None:
    def body(case: Case) -> str:
        (inside(case.subject.host) / "opt/rackhand/.file.partial").touch()
        return _nothing_wrong(case)

    outcome = _try(ground, body)
    assert outcome.violations == ("left over: /opt/rackhand/.file.partial",), table.history(outcome)


def test_another_answer_is_a_violation(ground: Range) -> None:
    """For a while the applications are of an edition that nobody deployed in this case."""

    def body(case: Case) -> str:
        declared = case.subject.edition
        case.subject.edit(dataclasses.replace(declared, mark="stranger"))
        case.run("deploy")
        case.subject.edit(declared)
        return _nothing_wrong(case)

    outcome = _try(ground, body)
    assert any("answered with stranger" in violation for violation in outcome.violations), table.history(outcome)


def test_a_mixture_is_a_violation(ground: Range) -> None:
    def body(case: Case) -> str:
        case.run("deploy", "--app", places.APPS[0])
        return case.settle()

    outcome = _try(ground, body)
    assert any("a mixture serves" in violation for violation in outcome.violations), table.history(outcome)


def test_lost_requests_are_a_violation(ground: Range) -> None:
    def body(case: Case) -> str:
        word = _nothing_wrong(case)
        case.subject.host.run(["systemctl", "restart", "nginx.service"])
        case.subject.host.run(["systemctl", "stop", "nginx.service"])
        _wait_for_failure(case.witness)
        case.subject.host.run(["systemctl", "start", "nginx.service"])
        return word

    outcome = _try(ground, body)
    assert any("requests lost" in violation for violation in outcome.violations), table.history(outcome)


def _wait_for_failure(witness: Witness) -> None:
    while None not in witness.look().values():
        pass


def test_a_boundary_is_where_the_host_differs() -> None:
    """A step that changes nothing makes no boundary; the last one is behind the last change."""
    passed = """point before the data is asked for
point data > receive ID
point before a
point before b
point b > replace x
changed b
point before c
point before d
point d > replace y
point d > replace z
changed d
point before e
point before end
"""
    data = ["before the data is asked for", "data > receive ID"]
    assert boundary.boundaries(passed, within=False) == [*data, "before b", "before d", "before e"]
    inside_of = ["before b", "b > replace x", "before d", "d > replace y", "d > replace z", "before e"]
    assert boundary.boundaries(passed, within=True) == [*data, *inside_of]
