"""`./invoke advise`: looks at applications, and at hosts if they are named, and says how each is served best."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rackhand.advice import Advice, Recommendation, advice
from rackhand.bundle import read_requirements
from rackhand.commands import Options, gather, hosts, no_such_app
from rackhand.findings import Findings, findings
from rackhand.protocol import protocol
from rackhand.settings import App
from rackhand.tables import table
from rackhand.views import ask_facts, complain
from roles.serving import worker_for


def advise(options: Options, *, app: str | None) -> int:
    """Prints advice for each application; of each host when hosts are named, which are then asked what they are.
    Returns the exit code. Raises UserError."""
    targets = hosts(replace(options, host=options.host or "all"))
    chosen = [(host.name, one) for host in targets for one in host.apps if app in (None, one.name)]
    if not chosen:
        raise no_such_app(targets, app)
    if options.host is None:
        # What is declared alike for several hosts is advised on once.
        for one in {repr(one): one for _, one in chosen}.values():
            _show(options, None, one, None)
        return 0
    answers, report = gather(options, ask_facts, targets)
    for host, one in chosen:
        if host in answers:
            _show(options, host, one, answers[host])
    return complain(report)


def _show(options: Options, host: str | None, app: App, facts: Mapping[str, Any] | None) -> None:
    requirements = read_requirements(app.name, app.path)
    found = findings(app.path, app.app, requirements)
    given = advice(found, app, worker_for(app, requirements, protocol(app.path, app.app)), facts)
    if options.json:
        about = {"host": host} if host is not None else {}
        print(json.dumps({**about, "app": app.name, "findings": asdict(found), **asdict(given)}))
    else:
        print("\n".join(_lines(host, app, facts, found, given)))


def _lines(
    host: str | None, app: App, facts: Mapping[str, Any] | None, found: Findings, given: Advice
) -> Iterator[str]:
    where = "" if facts is None else f" on {host} ({facts['cores']} cores, {facts['memory_mb']} MiB)"
    made_with = found.framework or "no framework that is known here"
    endpoints = found.asynchronous + found.plain
    yield (
        f"{app.name}{where}: {made_with}, {endpoints} endpoint{'s' * (endpoints != 1)} "
        f"({found.asynchronous} async def, {found.plain} def)"
    )
    for hints, what in ((found.websockets, "WebSockets"), (found.streams, "streams")):
        if hints:
            yield f"{what}: {', '.join(hint.where for hint in hints)}"
    yield ""
    rows = [(one.setting, _value(one.now), str(one.better), one.why) for one in given.recommendations]
    yield table(("SETTING", "NOW", "BETTER", "WHY"), rows)
    if given.remarks:
        yield ""
        yield from given.remarks
    yield ""
    if any(one.differs for one in given.recommendations):
        yield from _to_write(app, given.recommendations)
    else:
        yield "Its settings are as they should be."
    yield ""


def _value(now: str | int | None) -> str:
    return "-" if now is None else str(now)


def _to_write(app: App, given: Sequence[Recommendation]) -> Iterator[str]:
    yield "To write:"
    for variable in ("apps", "rackhand_tuning"):
        differing = [one for one in given if one.differs and app.variable(one.setting) == variable]
        if differing:
            yield from ("", f"{variable}:", f"  {app.name}:")
        for one in differing:
            value = f'"{one.better}"' if " " in str(one.better) else one.better
            was = f"  # {app.where(one.setting)} is {one.now}" if one.setting in app.origins else f"  # {app.origin}"
            yield f"    {one.setting}: {value}{was}"
    # Beside a worker that is measured, those of the application belong to its own worker, which counts no more.
    idle = "worker" in app.tuned and "threads" not in app.tuned
    if "threads" in app.origins and not idle and all(one.better != "gthread" for one in given):
        yield f"    # and leave out threads ({app.where('threads')}): only gthread has them"
