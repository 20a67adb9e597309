"""Closes applications for a while: nginx answers for them, and they run on."""

from functools import partial
from typing import Any

from rackhand.commands import Options, apps_of, gather, hosts, new_run
from rackhand.conversation import Conversation, who
from rackhand.errors import UserError
from rackhand.exit_codes import FAILED
from rackhand.settings import HostSettings
from rackhand.tables import table
from rackhand.views import complain, json_lines


def maintenance(options: Options, *, app: str | None, on: bool, off: bool) -> int:
    """Closes (`on`) or opens (`off`) applications. Returns the exit code."""
    if on == off:
        raise UserError("--on or --off: one of them; status shows what is in maintenance")
    targets = hosts(options)
    for host in targets:
        for one in apps_of(host, app):
            if one.direct:
                raise UserError(f"{one.where('direct')}: {one.name} listens itself: there is no nginx to answer for it")
    answers, report = gather(options, partial(_ask, app=app, on=on, run=new_run(), who=who()), targets)
    if options.json:
        json_lines(answers)
    elif any(answers.values()):
        rows = [
            (host, row["app"], "on" if row["maintenance"] else "off", row["wrong"] or "")
            for host, rows in answers.items()
            for row in rows
        ]
        print(table(("HOST", "APP", "MAINTENANCE", ""), rows))
    wrong = any(row["wrong"] for rows in answers.values() for row in rows)
    return complain(report) | (FAILED if wrong else 0)


def _ask(
    host: HostSettings, conversation: Conversation, *, app: str | None, on: bool, run: str, who: str
) -> list[dict[str, Any]]:
    from roles.serving import prefix

    apps = {one.name: (one.server_name or "localhost", f"{prefix(one)}/") for one in apps_of(host, app)}
    answer = conversation.last_answer("maintenance", apps=apps, on=on, run=run, who=who, secrets=host.secrets)
    return [{"app": name, "maintenance": on, "wrong": wrong} for name, wrong in answer["wrong"].items()]
