"""Work that begins before its turn: environments are made while apt installs, which mostly waits for the network and
the disk."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable

from rackhand.agent.resource import Resource
from rackhand.agent.system import System, ends_with


class Ahead:
    """Done by a process of its own, which ends with the run, however that ends. Nothing depends on it: what it has not
    made, the resource makes in its turn."""

    def __init__(self, plan: Iterable[Resource], system: System) -> None:
        self._later = [resource for resource in plan if resource.begins_early]
        self._system = system
        self._child: int | None = None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            os.kill(self._child, signal.SIGKILL)
            self._wait()

    def before(self, resource: Resource) -> None:
        """To be called before a resource is applied: what can begin early begins beside one that mostly waits, and has
        ended before its own turn."""
        if resource.mostly_waits and self._later and self._child is None:
            self._begin()
        elif resource.begins_early and self._child is not None:
            self._wait()

    def _begin(self) -> None:
        agent = os.getpid()
        tie = ends_with(agent)
        self._child = os.fork()
        if self._child:
            return
        try:
            tie()
            for resource in self._later:
                with contextlib.suppress(Exception):  # it will be said when its turn comes
                    resource.begin(self._system)
        finally:
            os._exit(0)

    def _wait(self) -> None:
        assert self._child is not None
        os.waitpid(self._child, 0)
        self._child = None
        self._later = []
