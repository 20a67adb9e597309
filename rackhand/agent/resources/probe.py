"""A probe: does the application answer through port 80?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from rackhand.agent import http
from rackhand.agent.resource import Resource, ResourceError, Stage, State
from rackhand.agent.system import System

#: Seconds after which an answer that is an error is taken as final.
PATIENCE = 2


class Probe(Resource):
    """`path` must answer with a status of 200 to 299, within `timeout` seconds. An answer that is an error is final
    soon: what answers was healthy before on its own socket."""

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
        records = [before["record"] for resource, before in undone if resource.kind == "current"]
        return all(isinstance(record, Mapping) and self.app in record for record in records)

    def wanted(self) -> State:
        return {"healthy": True}

    def actual(self, system: System) -> State:
        started = time.monotonic()
        while True:
            patience = self.timeout
            try:
                status, body = http.get(self.port, self.path, host=self.host)
            except OSError as error:
                said = f"no answer: {error}"
                log: tuple[str, ...] = ()
            else:
                if http.healthy(status):
                    return {"healthy": True}
                said = f"status {status}"
                log = tuple(body.splitlines()[:10])
                patience = min(PATIENCE, self.timeout)
            if time.monotonic() > started + patience:
                raise ResourceError(said, log)
            time.sleep(0.1)

    def apply(self, system: System, actual: State) -> None:
        raise AssertionError("a probe that does not answer raises when it is read")
