"""A host under test, with the site that is deployed to it."""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rackhand import PROJECT
from rackhand.lab import Lab, LabHost
from tests.faults import halt, places
from tests.faults.witness import ask
from tests.lab.site import Result, Site

APPS = Path(__file__).parent / "apps"
#: Versions of a small package that the applications require and answer with.
VERSIONS = ("3.10", "3.9", "3.8", "3.7", "3.6", "3.5")
#: One that no host has had before.
UNSEEN = "3.4"

#: Seconds after which a command of a user is taken to hang, and its exit code then.
PATIENCE, HANGS = 240, -1


@dataclass(frozen=True, kw_only=True)
class Edition:
    """What both applications are made of, and answer with."""

    mark: str
    version: str

    @property
    def says(self) -> str:
        return f"{self.mark} idna-{self.version}"


class Subject:
    """Both applications are always of the same edition on the controller: on the host they should be, too. A `spoiled`
    one may hold what a case has left behind."""

    spoiled = False
    #: Whether its clock is a year ahead of the controller's.
    ahead = False

    def __init__(self, folder: Path, lab: Lab, host: LabHost) -> None:
        self.lab, self.host = lab, host
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.site = Site(folder, lab, [host], APPS)
        self.site.variables["apps"] = {
            app: {
                "path": str(self.site.apps / app), "app": "app:app", "route": f"/{app}", "workers": 1,
                "worker": worker, "drain": 1, "health_timeout": 15,
            }
            for app, worker in zip(places.APPS, ("sync", "uvicorn"), strict=True)
        }  # fmt: skip
        self.site.variables["rackhand_keep_releases"] = places.KEEP
        # So that a cut network is noticed in seconds.
        self.site.variables["ansible_ssh_extra_args"] = "-o ServerAliveInterval=1 -o ServerAliveCountMax=4"
        self.site.write()
        self._numbers = itertools.count(1)
        self._versions = itertools.cycle(VERSIONS[1:] + VERSIONS[:1])
        self.edition = Edition(mark="m0", version=VERSIONS[0])
        self.edit(self.edition)

    @property
    def says(self) -> str:
        """What the applications on the controller would answer."""
        return self.edition.says

    def edit(self, edition: Edition, *further: str) -> None:
        """Makes both applications this edition, with further lines of requirements."""
        self.edition = edition
        for app in places.APPS:
            folder = self.site.apps / app
            (folder / "mark.txt").write_text(f"{edition.mark}\n")
            (folder / "requirements.txt").write_text("\n".join([f"idna=={edition.version}", *further]) + "\n")

    def next_code(self, ending: str = "") -> None:
        """The code changes."""
        self.edit(Edition(mark=f"m{next(self._numbers)}{ending}", version=self.edition.version))

    def next_dependency(self, version: str | None = None) -> None:
        """Code and a dependency change. The comment makes an environment of its own of a version that was there."""
        edition = Edition(mark=f"m{next(self._numbers)}", version=version or next(self._versions))
        self.edit(edition, f"# for {edition.mark}")

    def next_site(self) -> None:
        """The code and a setting of nginx change."""
        self.next_code()
        nginx: dict[str, Any] = self.site.variables.setdefault("rackhand_nginx", {})
        nginx["max_body_mb"] = nginx.get("max_body_mb", 16) + 1
        self.site.write()

    def settle(self, seconds: int) -> None:
        """For how long new instances must stay up before they serve."""
        for app in self.site.variables["apps"].values():
            app["settle"] = seconds
        self.site.write()

    def invoke(self, *arguments: str) -> Result:
        """A command as a user types it, for this host alone."""
        command = [str(PROJECT / "invoke"), *arguments, "--host", self.host.name, "--json"]
        with self.controller(halt.AHEAD, *arguments) if self.ahead else self.start(command) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                return Result(HANGS, out, err)
        return Result(process.returncode, out, err)

    def must(self, *arguments: str) -> None:
        """A command that only prepares something."""
        result = self.invoke(*arguments)
        if result.code != 0:
            raise RuntimeError(
                f"{' '.join(arguments)} on {self.host.name} ended with {result.code}: {result.out[-2000:]}"
            )

    def controller(self, point: str, *arguments: str) -> "subprocess.Popen[str]":
        """The same command with an agent that halts at this point."""
        module = [sys.executable, "-m", "tests.faults.controller", point]
        return self.start([*module, *arguments, "--host", self.host.name, "--json"])

    def start(self, command: Sequence[str]) -> "subprocess.Popen[str]":
        environment: Mapping[str, str] = {**os.environ, "RACKHAND_INVENTORY": str(self.site.inventory)}
        return subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def look(self) -> set[str | None]:
        """What the applications say at this moment."""
        return {ask(self.host.address, app).says for app in places.APPS}

    def close(self) -> None:
        """The host is not needed any more."""
        self.host.destroy()
        shutil.rmtree(self.folder, ignore_errors=True)
