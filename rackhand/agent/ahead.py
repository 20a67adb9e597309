"""Work that begins before its turn: environments are made while apt installs, which waits for the disk and for other
machines most of the time."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import NoReturn

from rackhand.agent.plan import Plan
from rackhand.agent.resource import Resource
from rackhand.agent.system import System, ends_with_this

#: Kinds that may stand between, because nothing that begins early needs anything of them. What else stands there, say a
#: file of a user's own role, may be there for its sake.
_PASSED = ("user", "directory")


class Ahead:
    """Done by a process of its own, which ends with the run, however that ends. Nothing depends on it: what it has not
    made, a resource makes in its turn."""

    def __init__(self, plan: Plan, system: System) -> None:
        self._plan = plan
        self._system = system
        self._child: int | None = None
        #: What was begun and has not had its turn, and a pipe on which the child says that it is done with one of them.
        self._begun: list[Resource] = []
        self._done: int = -1

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        """What has not had its turn leaves nothing behind."""
        if self._child is None:
            return
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        os.close(self._done)
        for resource in self._begun:
            with contextlib.suppress(OSError):
                resource.abandon(self._system)

    def before(self, resource: Resource) -> None:
        """To be called before a resource is applied. Beside one that mostly waits, what may begin early begins; it is
        waited for when its own turn comes."""
        if resource.mostly_waits and self._child is None:
            self._begin(self._behind(resource))
        while resource in self._begun:
            os.read(self._done, 1)  # which is at its end when the child has ended
            self._begun.pop(0)

    def _behind(self, waiting: Resource) -> list[Resource]:
        found = []
        resources = self._plan.resources
        for resource in resources[resources.index(waiting) + 1 :]:
            if resource.begins_early:
                found.append(resource)
            elif resource.kind not in _PASSED:
                break
        return found

    def _begin(self, resources: list[Resource]) -> None:
        if not resources:
            return
        tie = ends_with_this()
        self._done, done = os.pipe()
        try:
            child = os.fork()
        except OSError:  # there is no room for another process
            os.close(self._done)
        else:
            if child == 0:
                tie()
                _work(resources, self._system, done)
            self._child = child
            self._begun = resources
        os.close(done)


def _work(resources: list[Resource], system: System, done: int) -> NoReturn:
    try:
        # Where memory is short, this goes, and not what is being installed.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
        for resource in resources:
            with contextlib.suppress(Exception):  # its turn will tell
                resource.begin(system)
            os.write(done, b".")
    finally:
        os._exit(0)
