"""The record of a run on the controller: its events, one JSON object a line, as in its output."""

import contextlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rackhand.errors import UserError
from rackhand.report import Report

#: How many runs are remembered.
KEPT = 200


class RunLog:
    """Writes folder/RUN.jsonl, readable by its owner alone. Secrets were taken out where the events come from."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self._path = folder / f"{run}.jsonl"

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for old in sorted(self._folder.glob("*.jsonl"))[: -KEPT + 1]:
            old.unlink(missing_ok=True)
        self._file = open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8")
        return self

    def write(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event, separators=(",", ":")) + "\n")
        self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def failed_last(folder: Path) -> tuple[str, ...]:
    """The names of the hosts that did not end well in the last recorded run that could change hosts: that failed, could
    not be reached, were interrupted or not begun. Raises UserError when there is none."""
    for path in sorted(folder.glob("*.jsonl"), reverse=True):
        report = _report(path)
        if report.check or report.command in ("", "smoke"):
            continue
        left = tuple(name for name, host in report.hosts.items() if host.outcome != "ok")
        if not left:
            raise UserError(f"@failed: the last run ({report.command}, {report.run}) ended well on all hosts")
        return left
    raise UserError("@failed: there is no record of a run")


def _report(path: Path) -> Report:
    """As far as the record goes: the controller may have been killed."""
    report = Report()
    with path.open(encoding="utf-8") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                report = report.after(json.loads(line))
    return report
