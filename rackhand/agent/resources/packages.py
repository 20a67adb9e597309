"""Packages of the distribution, installed in one apt transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from rackhand.agent.resource import Resource, ResourceError, State
from rackhand.agent.system import CommandError, System

#: Seconds to wait for another apt or dpkg to finish.
LOCK_TIMEOUT = 300
#: Seconds for apt itself.
APT_TIMEOUT = 900

_APT = (
    "apt-get",
    "--quiet",
    "--yes",
    "--no-install-recommends",
    f"--option=DPkg::Lock::Timeout={LOCK_TIMEOUT}",
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
    "--option=APT::Color=0",
)
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}


class Packages(Resource):
    kind: ClassVar[str] = "packages"
    mostly_waits: ClassVar[bool] = True

    packages: tuple[str, ...]

    @property
    def name(self) -> str:
        return "apt"

    @property
    def deadline(self) -> int:
        return 2 * (LOCK_TIMEOUT + APT_TIMEOUT)

    def wanted(self) -> State:
        return dict.fromkeys(self.packages, "installed")

    def questions(self, system: System) -> tuple[tuple[str, ...], ...]:
        return (("dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *self.packages),)

    def actual(self, system: System) -> State:
        # dpkg-query fails when it knows nothing of one package, and still prints the others.
        (question,) = self.questions(system)
        try:
            output = system.run(*question)
        except CommandError as error:
            if error.code != 1:
                raise
            output = error.output
        states = dict(line.split(" ", 1) for line in output.splitlines() if line.count(" ") == 1)
        return {package: states.get(package) for package in self.packages}

    def apply(self, system: System, actual: State) -> None:
        missing = [package for package in self.packages if actual[package] != "installed"]
        if not _have_candidates(system, missing):
            _update(system)
        try:
            _apt(system, "install", *missing)
        except CommandError as first:
            # The index may name versions that the mirror no longer has.
            if "apt-get update" not in first.output and "404" not in first.output:
                raise ResourceError(_said(first)) from first
            _update(system)
            try:
                _apt(system, "install", *missing)
            except CommandError as second:
                raise ResourceError(_said(second)) from second


def _have_candidates(system: System, packages: Sequence[str]) -> bool:
    # Of a package that no index has, apt says nothing at all.
    policy = system.run("apt-cache", "policy", *packages)
    candidates = [line.split()[1] for line in policy.splitlines() if line.startswith("  Candidate:")]
    return len(candidates) == len(packages) and "(none)" not in candidates


def _update(system: System) -> None:
    # DPkg::Lock::Timeout does not cover the lock on the lists, so another update is waited for here.
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            _apt(system, "update")
            return
        except CommandError as error:
            if "/var/lib/apt/lists/lock" not in error.output or time.monotonic() > deadline:
                raise ResourceError(_said(error)) from error
            time.sleep(0.5)


def _apt(system: System, *arguments: str) -> None:
    try:
        system.run(*_APT, *arguments, timeout=LOCK_TIMEOUT + APT_TIMEOUT, env=_ENVIRONMENT)
    except CommandError as error:
        # Somebody's installation was killed halfway: dpkg finishes that before it begins anything else.
        if "dpkg --configure -a" not in error.output:
            raise
        finish = ("dpkg", "--force-confdef", "--force-confold", "--configure", "-a")
        system.run(*finish, timeout=LOCK_TIMEOUT + APT_TIMEOUT, env=_ENVIRONMENT)
        system.run(*_APT, *arguments, timeout=LOCK_TIMEOUT + APT_TIMEOUT, env=_ENVIRONMENT)


def _said(error: CommandError) -> str:
    """The lines by which apt says what is wrong, out of all that it prints."""
    lines = [line.strip() for line in error.output.splitlines() if line.startswith(("E:", "W:", "dpkg: error"))]
    return "apt-get: " + ("; ".join(lines[:4]) or str(error))
