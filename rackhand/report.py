"""A report: what a run has come to, folded from its events. The same events always give the same report.

An event is a dict. Those of a host's agent and those of the controller look alike: "event" says what
happened, "host" to which host, "at" when, in seconds since the run began. The first is "run", the last
"done"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rackhand.exit_codes import FAILED, INTERRUPTED, UNREACHABLE

Event = Mapping[str, Any]

#: How far a host has come. "starting" has greeted and is at the login and the start of the agent, "held" waits for the
#: canary, and "queued" is behind another run. After "uploading" these are the stages of its plan.
Phase = Literal[
    "waiting",
    "connecting",
    "starting",
    "planning",
    "planned",
    "held",
    "queued",
    "uploading",
    "prepare",
    "switch",
    "verify",
    "retire",
]
#: How a host ended.
Outcome = Literal["ok", "failed", "undone", "unreachable", "lost", "interrupted"]

#: Phases in which the host has not been sent a plan. In the first ones nobody is at work there, in the next ones no
#: agent has spoken yet.
IDLE: tuple[Phase, ...] = ("waiting", "held")
CONNECTING: tuple[Phase, ...] = ("connecting", "starting")
_UNASKED: tuple[Phase, ...] = (*IDLE, *CONNECTING, "planning")


@dataclass(frozen=True, kw_only=True)
class HostReport:
    """What is known of one host. `phase` is the last one reached, `outcome` is None until the host has ended,
    `step` is the id of the resource that is being worked on or at which the host failed. Times are seconds
    since the run began; `since` is when it began with what it is at."""

    phase: Phase = "waiting"
    outcome: Outcome | None = None
    step: str | None = None
    resources: int = 0
    ok: int = 0
    changed: int = 0
    failed: int = 0
    skipped: int = 0
    #: Resources that were not meant: not in the plan, and no part of what is done.
    left_out: int = 0
    reason: str | None = None
    #: What the host waits for: the run that it is queued behind, and what that is at; or the canary.
    behind: str | None = None
    log: tuple[str, ...] = ()
    #: The host has told of errors. While it works they end it, so these are from taking its changes back.
    undo_failed: bool = False
    began: float = 0.0
    since: float = 0.0
    ended: float | None = None

    @property
    def doing(self) -> str:
        """What the host is at."""
        return self.step or self.behind or self.phase

    @property
    def bad(self) -> bool:
        """Whether the host has ended, and not well."""
        return self.outcome in ("failed", "undone", "unreachable", "lost")

    @property
    def done(self) -> int:
        """How many of its resources have been dealt with."""
        return self.ok + self.changed + self.failed + self.skipped

    @property
    def seconds(self) -> float | None:
        return None if self.ended is None else self.ended - self.began

    def counts(self) -> dict[str, int]:
        """Ansible's counts, in its order and with its meanings: what was changed is ok as well."""
        return {
            "ok": self.ok + self.changed,
            "changed": self.changed,
            "unreachable": int(self.outcome in ("unreachable", "lost")),
            "failed": self.failed,
            "skipped": self.skipped + self.left_out,
            "rescued": int(self.outcome == "undone"),
            "ignored": 0,
        }

    def after(self, event: Event, at: float) -> HostReport:
        """The report once this event of the host has happened."""
        match event["event"]:
            case "connecting":
                # For the second time, when somebody else has taken the host over: what was counted is counted anew.
                return HostReport(phase="connecting", began=at)
            case "greeted" if self.outcome is None:  # not one that came as the host was given up
                return replace(self, phase="starting")
            case "facts":
                return replace(self, phase="planning")
            case "planned":
                return replace(
                    self, phase="planned", resources=event["resources"], left_out=len(event.get("left_out", ()))
                )
            case "held":
                return replace(self, phase="held", behind="the canary")
            case "other":
                # What is another run's is not counted here.
                return replace(self, phase="queued", behind=_at(event["of"], event["said"]))
            case "start":
                return replace(self, phase="planned", behind=None)
            case "need" | "upload":
                return replace(self, phase="uploading")
            case "begin":
                return replace(self, phase=event["stage"], step=event["id"])
            case "resource":
                status: str = event["status"]
                report = replace(self, **{status: getattr(self, status) + 1})
                if status == "failed":
                    return replace(report, log=tuple(event.get("log", ())))
                return replace(report, step=None)
            case "notice":
                # Once a resource has failed, all that the agent still does is undo.
                return replace(self, undo_failed=self.undo_failed or event["level"] == "error")
            case "end":
                counts = {name: event[name] for name in ("ok", "changed", "failed", "skipped")}
                return replace(self, **counts).over(_outcome(event), at, event["reason"])
            case "answered":
                return self.over("ok", at, None)
            case "error" | "refused":
                return replace(self, failed=1).over("failed", at, event["reason"])
            case "unreachable":
                return self.over("unreachable", at, event["reason"])
            case "lost":
                return self.over("lost", at, event["reason"])
            case _:
                return self

    def over(self, outcome: Outcome, at: float, reason: str | None) -> HostReport:
        return replace(self, outcome=outcome, ended=at, reason=reason)

    def cut_off(self, at: float) -> HostReport:
        """The report once the run is over and no more will be heard of this host."""
        if self.outcome is not None or self.phase in IDLE:
            return self
        if self.phase in (*_UNASKED, "queued"):
            return self.over("interrupted", at, None)
        return self.over("lost", at, "the run ended before the host did")


def _at(run: str, said: Event) -> str:
    return f"behind run {run}" + (f" at {said['id']}" if "id" in said else "")


def _outcome(end: Event) -> Outcome:
    if end["interrupted"]:
        return "interrupted"
    if end["undone"]:
        return "undone"
    return "failed" if end["reason"] else "ok"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is known of a run. Hosts are in the order in which the run names them. `canary` is the one that the others
    whose code changes have to wait for, once it has begun."""

    run: str = ""
    command: str = ""
    check: bool = False
    hosts: Mapping[str, HostReport] = field(default_factory=dict)
    canary: str | None = None
    seconds: float = 0.0
    interrupted: bool = False

    def after(self, event: Event) -> Report:
        """The report once this event has happened."""
        at: float = event.get("at", self.seconds)
        if event["event"] == "run":
            hosts = {name: HostReport() for name in event["hosts"]}
            return Report(run=event["run"], command=event["command"], check=event["check"], hosts=hosts)
        if event["event"] == "done":
            at = event["seconds"]
            hosts = {name: host.cut_off(at) for name, host in self.hosts.items()}
            return replace(self, hosts=hosts, seconds=at, interrupted=event["interrupted"])
        name = event.get("host")
        if name is None:
            return replace(self, seconds=at)
        if event["event"] == "canary":
            return replace(self, canary=name, seconds=at)
        before = self.hosts.get(name, HostReport())
        host = before.after(event, at)
        if host.doing != before.doing:
            host = replace(host, since=at)
        return replace(self, hosts={**self.hosts, name: host}, seconds=at)

    @property
    def exit_code(self) -> int:
        hosts = self.hosts.values()
        if self.interrupted or any(host.outcome == "interrupted" for host in hosts):
            return INTERRUPTED
        failed = any(host.outcome in ("failed", "undone") for host in hosts)
        unreachable = any(host.outcome in ("unreachable", "lost") for host in hosts)
        return FAILED * failed | UNREACHABLE * unreachable

    def standing(self, name: str) -> str:
        """In what state the host is left, for whoever has to decide what to do next."""
        host = self.hosts[name]
        left_out = f"; {host.left_out} left out" if host.left_out and host.outcome == "ok" else ""
        return self._standing(host) + left_out

    def _standing(self, host: HostReport) -> str:
        match host.outcome:
            case None:
                return "not started, untouched"
            case "ok" if not host.changed:
                return f"all {host.ok} " + ("answer" if self.command == "smoke" else "as wanted, nothing to change")
            case "ok":
                verb = "would change" if self.check else "changed"
                return f"{verb} {host.changed} of {host.ok + host.changed}"
            case "unreachable":
                return "unreachable, untouched"
            case "lost" if self.check or host.phase in _UNASKED:
                return "connection ended, untouched"
            case "lost":
                return "connection ended: the host goes on alone; run the same command again to see how it ended"
            case "interrupted" if self.check or not host.changed:
                return "interrupted before anything was changed"
            case "interrupted":
                return (
                    "interrupted before the switch: what served before goes on serving; "
                    "run the same command again to go on"
                )
        return f"failed{f' at {host.step}' if host.step else ''}, {self._left_by_failure(host)}"

    def _left_by_failure(self, host: HostReport) -> str:
        if host.outcome == "undone":
            how = "with the errors above" if host.undo_failed else "what served before serves again"
            return f"the switch was undone, {how}"
        if host.phase == "retire":
            return "the new releases serve"
        # What fails behind the preparations is undone, unless nothing had been applied there.
        if self.check or (host.phase != "prepare" and not host.changed):
            return "nothing was changed"
        return "what served before goes on serving"
