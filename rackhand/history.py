"""What a fleet had before: which release each of its hosts goes back to, so that all end on the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A release that was made current on a host, and the run that did it last."""

    host: str
    release: str
    run: str


def code(release: str) -> str:
    """The part of a release's id that is the same on all hosts: it names the application's folder alone."""
    return release.partition(".")[0]


def step_before(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """By host, the release of one application that goes back to the step before the newest that any host is on; a host
    that never had that step is not in it. `found` has what the hosts say of the application: its current release and
    its history. Runs are compared by their names, which the controller's clock has given them."""
    made = [
        _Made(host=host, release=release["id"], run=release["run"])
        for host, its in found.items()
        for release in its["releases"]
        if (release["proven"] or release["id"] == its["current"]) and release["run"] and not release["failed"]
    ]
    current = [one for one in made if one.release == found[one.host]["current"]]
    if not current:
        return {}
    newest = _step(current, made)
    earlier = [one for one in made if newest.get(one.host) != one.release]
    return _step(earlier, earlier) if earlier else {}


def _step(among: Iterable[_Made], made: Iterable[_Made]) -> dict[str, str]:
    """What the latest run of some has made, and what earlier ones have made of the same code on other hosts: a fleet is
    often brought to a release by several runs. A run that made something of the same code on one of these hosts too is
    another step: the settings have changed between the two."""
    last = max(among, key=lambda one: one.run)
    step: dict[str, str] = {}
    for run in sorted({one.run for one in made if one.run <= last.run}, reverse=True):
        of_run = {one.host: one.release for one in made if one.run == run and code(one.release) == code(last.release)}
        if not of_run.keys() & step.keys():
            step |= of_run
    return step
