"""A probe: does the application answer through port 80?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rackhand.agent import http
from rackhand.agent.resource import Resource, ResourceError, Stage, State
from rackhand.agent.resources.current import Current
from rackhand.agent.system import System


@dataclass(frozen=True, kw_only=True)
class Probe(Resource):
    """`path` must answer with a status of 200 to 299 within `timeout` seconds."""

    kind: ClassVar[str] = "probe"
    observes: ClassVar[bool] = True

    app: str
    port: int
    path: str
    host: str = "localhost"
    timeout: int = 10
    stage: Stage = "verify"

    @property
    def name(self) -> str:
        return f"http://{self.host}:{self.port}{self.path}"

    def matters_after(self, undone: Sequence[tuple[Resource, State]]) -> bool:
        """An application that had no release before has nothing to answer with."""
        first = (resource.app for resource, before in undone if isinstance(resource, Current) and not before["release"])
        return self.app not in first

    def wanted(self) -> State:
        return {"healthy": True}

    def actual(self, system: System) -> State:
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                status, body = http.get(self.port, self.path, self.host)
            except OSError as error:
                said = f"no answer: {error}"
                log: tuple[str, ...] = ()
            else:
                if 200 <= status < 300:
                    return {"healthy": True}
                said = f"status {status}"
                log = tuple(body.splitlines()[:10])
            if time.monotonic() > deadline:
                raise ResourceError(said, log)
            time.sleep(0.1)

    def apply(self, system: System, actual: State) -> None:
        raise AssertionError("a probe that does not answer raises when it is read")
