"""How an application would best be served, and why: the decision table of docs/choosing.md, as a function.

Nothing is read or asked here: what the source says, what the inventory says and what a host is, are given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rackhand.bundle import ASGI_WORKERS
from rackhand.findings import Findings, Hint
from rackhand.settings import App, resolve_workers

#: Threads of a worker whose requests wait for others; and where clients stay connected, each with a thread of its own.
_THREADS_THAT_WAIT, _THREADS_THAT_STAY = 4, 16
#: Threads in which a worker of Starlette's runs endpoints that are plain def (anyio's default).
_POOL = 40


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """One setting: what it should be and why, and what it is now; None where it is left out or has no meaning."""

    setting: str
    now: str | int | None
    better: str | int
    why: str

    @property
    def differs(self) -> bool:
        return self.now != self.better


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Of one application. `remarks` are about its code, and go beyond settings."""

    recommendations: tuple[Recommendation, ...]
    remarks: tuple[str, ...]


def advice(found: Findings, app: App, worker: str, facts: Mapping[str, Any] | None = None) -> Advice:
    """`worker` is the kind of workers that the application has now. With the facts of a host, reasons have numbers."""
    speaks_asgi = found.protocol == "asgi" or found.protocol is None and worker in ASGI_WORKERS
    # What was measured with workers of another protocol was another application.
    measured = app.tuned if (worker in ASGI_WORKERS) == speaks_asgi else ()
    better, why = _worker(found, speaks_asgi, worker)
    recommended = [
        Recommendation(setting="server", now=app.server, better="gunicorn", why=_SERVER),
        Recommendation(setting="worker", now=worker if app.server == "gunicorn" else None, better=better, why=why),
        _workers(found, app, speaks_asgi, facts),
    ]
    if (worker if "worker" in measured else better) == "gthread":
        now = app.threads if worker == "gthread" else None
        threads, why = _threads(found, app)
        recommended.append(Recommendation(setting="threads", now=now, better=threads, why=why))
    kept = tuple(_as_measured(one, app) if one.setting in measured else one for one in recommended)
    return Advice(recommendations=kept, remarks=tuple(_remarks(found, speaks_asgi)))


def _as_measured(one: Recommendation, app: App) -> Recommendation:
    """What the source lets one guess is no reason to undo what was measured on the host."""
    if one.now is None:
        return one
    return replace(one, better=one.now, why=f"tune has measured it ({app.origins[one.setting]})")


_SERVER = "its master has long replaced workers that die or hang; the one for Uvicorn alone is small and young"


def _worker(found: Findings, asgi: bool, now: str) -> tuple[str, str]:
    made_with = found.framework or "the application"
    if asgi:
        if now == "asgi":
            return "asgi", f"{made_with} speaks ASGI, and Gunicorn's own worker serves it; uvicorn is known better"
        return "uvicorn", f"{made_with} speaks ASGI: one worker serves many requests at once, while they wait"
    if stay := (*found.websockets, *found.streams):
        return "gthread", f"clients stay connected ({_first(stay)}): each takes a thread, where sync has none to spare"
    if found.waiting:
        return "gthread", f"requests wait for others ({_first(found.waiting)}): threads serve some meanwhile"
    if found.computing:
        return "sync", f"requests compute ({_first(found.computing)}): threads of one process would take turns"
    if now == "gthread":
        return "gthread", "nothing in its code waits for others: sync would do as well"
    return "sync", "nothing in its code waits for others: one request at a time for each worker is simplest"


def _workers(found: Findings, app: App, asgi: bool, facts: Mapping[str, Any] | None) -> Recommendation:
    value: str = "auto"
    if asgi and found.computing:
        value = f"min(cores, memory_mb // {app.worker_memory})"
        why = f"it computes ({_first(found.computing)}): more processes than cores would take turns"
    elif asgi:
        why = "an event loop for each core, and one more"
    else:
        why = "a process for each core, and one more for when one of them waits"
    if facts is not None:
        number = resolve_workers(replace(app, workers=value), facts)
        why += f": {number} for {facts['cores']} cores and {facts['memory_mb']} MiB"
        now = resolve_workers(app, facts)
        if now * app.worker_memory > facts["memory_mb"]:
            why += f"; {now} of {app.worker_memory} MiB each do not fit"
    else:
        why += f", as far as memory goes ({app.worker_memory} MiB each)"
    return Recommendation(setting="workers", now=app.workers, better=value, why=why)


def _threads(found: Findings, app: App) -> tuple[int, str]:
    if found.websockets or found.streams:
        return max(_THREADS_THAT_STAY, app.threads), "each client that stays connected takes one"
    if found.waiting:
        return max(_THREADS_THAT_WAIT, app.threads), "some wait while others work; those that work take turns"
    return app.threads, "while nothing waits, their number makes no difference"


def _remarks(found: Findings, asgi: bool) -> Iterator[str]:
    if asgi:
        for hint in found.blocking:
            yield f"{hint.where}: {hint.what} holds up all requests of its worker meanwhile: {hint.instead}"
        if found.plain and not found.asynchronous:
            yield (
                f"all {found.plain} endpoints are def: {_POOL} threads of each worker run them, which is right while "
                "they call what blocks; Flask on Gunicorn with gthread would serve them as well"
            )
        return
    framework = found.framework or "WSGI"
    if found.asynchronous:
        yield (
            f"{found.asynchronous} endpoints are async def: under {framework} each holds its thread all the same. "
            "Write def; or, if they are to serve many at once, move to FastAPI on Gunicorn with Uvicorn workers"
        )
    if stay := (*found.websockets, *found.streams):
        yield (
            f"{_first(stay)}: hundreds of clients that stay connected need an event loop: "
            "FastAPI on Gunicorn with Uvicorn workers"
        )
    elif not found.asynchronous:
        yield f"nothing here asks for async: {framework} on Gunicorn is a good choice, with no need to rewrite it"


def _first(hints: tuple[Hint, ...]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(hints) - 1} more" if len(hints) > 1 else ""
    return f"{hints[0].what} at {hints[0].where}{more}"
