"""The commands that only look: facts, status, releases."""

import json
import sys
import time
from typing import Any

from rackhand.commands import Options, gather
from rackhand.conversation import Conversation
from rackhand.errors import UserError
from rackhand.output.printable import printable
from rackhand.output.words import how_it_ended, run_in_words
from rackhand.report import Report
from rackhand.settings import HostSettings
from rackhand.tables import table


def facts(options: Options) -> int:
    """Prints the facts of hosts."""
    answers, report = gather(options, ask_facts)
    shown = {
        host: {name: fact for name, fact in answer.items() if name != "apps"} | {"apps": sorted(answer["apps"])}
        for host, answer in answers.items()
    }
    if options.json:
        json_lines({host: [{"facts": answer}] for host, answer in shown.items()})
    else:
        for host, answer in shown.items():
            print(host)
            width = max(map(len, answer))
            for name, fact in answer.items():
                fact = printable(fact)
                text = ", ".join(map(str, fact)) if isinstance(fact, list) else "-" if fact is None else fact
                print(f"  {name.ljust(width)}  {text}")
    return complain(report)


def ask_facts(host: HostSettings, conversation: Conversation) -> dict[str, Any]:
    return conversation.facts


def status(options: Options, *, app: str | None) -> int:
    """Prints a line for every running instance, and one for every application without; then of each host how the last
    run ended that could change it."""
    answers, report = gather(options, _status)
    last_runs = {host: answer["last_run"] for host, answer in answers.items() if answer["last_run"] is not None}
    found = _of(app, {host: answer["rows"] for host, answer in answers.items()})
    if options.json:
        json_lines(found)
    elif found:
        header = ("HOST", "APP", "INSTANCE", "STATE", "SINCE", "WORKERS", "MEMORY", "RESTARTS", "HEALTH", "BY RUN")
        print(table(header, [_status_row(host, row) for host, rows in found.items() for row in rows]))
        for host, last in ((host, last_runs[host]) for host in found if host in last_runs):
            print(printable(f"{host}: {run_in_words(last)} {how_it_ended(last)}"))
    return complain(report)


def _status(host: HostSettings, conversation: Conversation) -> dict[str, Any]:
    from roles.serving import prefix

    health = {app.name: (prefix(app) + app.health, prefix(app)) for app in host.apps}
    answer = conversation.ask("status", health=health)
    apps = conversation.facts["apps"]
    rows = []
    for name in dict.fromkeys([*apps, *health]):
        found = apps.get(name, {"current": None, "instance": None, "releases": []})
        runs = {release["id"]: release["run"] for release in found["releases"]}
        running = [instance for instance in answer["instances"] if instance["app"] == name]
        if not any(instance["serves"] for instance in running):
            missing = {"app": name, "instance": found["instance"], "release": found["current"]}
            running.insert(0, {**missing, "serves": True, "state": "not running"})
        rows += [
            {
                **instance,
                "maintenance": name in answer["maintenance"],
                "run": runs.get(instance["release"]),
                "last_run": answer["last_run"],
            }
            for instance in running
        ]
    return {"rows": rows, "last_run": answer["last_run"]}


def _status_row(host: str, row: dict[str, Any]) -> tuple[str, ...]:
    instance = row["instance"] or "-"
    memory = row.get("memory")
    return (
        host,
        row["app"],
        instance if row["serves"] else f"{instance} (old)",
        row["state"] + (", in maintenance" if row["maintenance"] else ""),
        row.get("since") or "-",
        str(row.get("workers", "-")),
        f"{memory // 2**20} MiB" if memory is not None else "-",
        str(row.get("restarts", "-")),
        row.get("health") or "-",
        row["run"] or "-",
    )


def releases(options: Options, *, app: str | None) -> int:
    """Prints the releases on hosts, the latest first."""
    answers, report = gather(options, _releases)
    answers = _of(app, answers)
    if options.json:
        json_lines(answers)
    elif any(answers.values()):
        rows = [
            (host, row["app"], row["id"], _when(row["activated"]), row["run"] or "-", _mark(row))
            for host, rows in answers.items()
            for row in rows
        ]
        print(table(("HOST", "APP", "RELEASE", "LAST MADE CURRENT", "BY RUN", ""), rows))
    elif answers:
        print("no releases: nothing has been deployed yet")
    return complain(report)


def _releases(host: HostSettings, conversation: Conversation) -> list[dict[str, Any]]:
    return [
        {"app": name, **release, "current": release["id"] == found["current"]}
        for name, found in conversation.facts["apps"].items()
        for release in found["releases"]
    ]


def _of(app: str | None, answers: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of one application, or all. Raises UserError for one that no host knows."""
    if app is None:
        return answers
    found = {host: [row for row in rows if row["app"] == app] for host, rows in answers.items()}
    if answers and not any(found.values()):
        known = ", ".join(sorted({row["app"] for rows in answers.values() for row in rows})) or "none"
        raise UserError(f"--app {app}: no host has an application of this name (there are: {known})")
    return found


def _when(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds else "never"


def _mark(row: dict[str, Any]) -> str:
    if row["failed"]:
        return f"failed: {row['failed']}"
    return "current" if row["current"] else ""


def json_lines(found: dict[str, list[dict[str, Any]]]) -> None:
    """Prints the rows of each host."""
    for host, rows in found.items():
        for row in rows:
            print(json.dumps({"host": host, **row}))


def complain(report: Report) -> int:
    """Says why hosts gave no answer. Returns the exit code."""
    for name, host in report.hosts.items():
        if host.reason:
            print(f"{name}: {printable(host.reason)}", file=sys.stderr)
    return report.exit_code
