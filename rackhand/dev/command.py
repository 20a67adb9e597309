"""`./invoke dev`: applications of the inventory on this machine, each under its route, with reload."""

import asyncio
import errno
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rackhand import PROJECT
from rackhand.commands import Options, hosts, no_such_app
from rackhand.dev.environment import Needs, make, needs
from rackhand.dev.gateway import Gateway
from rackhand.dev.processes import Process
from rackhand.errors import UserError
from rackhand.inventory import shown
from rackhand.settings import App, HostSettings
from rackhand.tables import table
from roles.serving import prefix

ADDRESS = "127.0.0.1"
#: Exit code when all applications have ended by themselves.
_ENDED = 2
#: What makes an application another one here; how many workers it has on a host does not.
_TELLING = ("path", "app", "route", "worker", "env", "static")


def dev(options: Options, *, app: str | None, every: bool, port: int) -> int:
    """Serves an application, or every one, until Ctrl-C. Returns the exit code. Raises UserError."""
    if (app is None) != every:
        raise UserError("name an application with --app, or all of them with --all")
    if not 1 <= port <= 65535:
        raise UserError(f"--port should be from 1 to 65535, got {port}")
    apps = chosen(hosts(replace(options, host=options.host or "all")), app)
    needed = [(one, needs(one)) for one in apps]
    with _listener(port) as listener, tempfile.TemporaryDirectory(prefix="rackhand-dev-") as sockets:
        for one, its in needed:
            if not its.folder.is_dir():
                print(f"{one.name}: making its environment (once for these requirements)", flush=True)
                make(one, its)
        for line in _announced(needed, port):
            print(line, flush=True)
        return asyncio.run(_serve(needed, listener, Path(sockets)))


def chosen(targets: Iterable[HostSettings], name: str | None) -> tuple[App, ...]:
    """The application of this name, or every one, as the hosts declare it. Raises UserError when they differ."""
    found: dict[str, App] = {}
    first: dict[str, str] = {}
    routes: dict[str, str] = {}
    for host in targets:
        for app in host.apps:
            if name not in (None, app.name):
                continue
            known = found.setdefault(app.name, app)
            on = first.setdefault(app.name, host.name)
            if differing := [key for key in _TELLING if getattr(app, key) != getattr(known, key)]:
                what = ", ".join(differing)
                raise UserError(f"{app.name} is declared differently for {on} and {host.name} ({what}): say --host")
            if (other := routes.setdefault(app.route, app.name)) != app.name:
                raise UserError(
                    f"{app.name} and {other} have the same route, {app.route}, on different hosts or sites: "
                    "say --host, or --app"
                )
    if not found:
        raise no_such_app(targets, name)
    return tuple(found.values())


def _listener(port: int) -> socket.socket:
    """Raises UserError when the port cannot be had."""
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
        raise UserError(f"port {port} of {ADDRESS} {why}: choose another with --port") from None


def _announced(needed: Sequence[tuple[App, Needs]], port: int) -> Iterator[str]:
    """What is served, where, from which folder and by what."""
    yield "Edits are live when they are saved; Ctrl-C ends everything."
    rows = [
        (app.name, f"http://{ADDRESS}:{port}{prefix(app)}/", "Uvicorn" if its.asgi else "Werkzeug", shown(app.path))
        for app, its in needed
    ]
    yield table(("APP", "ADDRESS", "SERVER", "FOLDER"), rows)
    yield ""


async def _serve(needed: Sequence[tuple[App, Needs]], listener: socket.socket, sockets: Path) -> int:
    gateway = Gateway(
        {prefix(app): sockets / app.name for app, _ in needed},
        {prefix(app) + url: app.path / folder for app, _ in needed for url, folder in app.static.items()},
    )
    loop = asyncio.get_running_loop()
    running: list[asyncio.Task[int]] = []

    def stop() -> None:
        for task in running:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop)
    say = _Output(max(len(app.name) for app, _ in needed), stop)
    async with await gateway.listen(listener):
        for app, its in needed:
            process = Process(_command(app, its, sockets / app.name), app.path, _variables(app), say.of(app.name))
            running.append(loop.create_task(_told(app.name, process, say.of(app.name))))
        await asyncio.wait(running)
    if say.unheard:
        raise BrokenPipeError
    return 0 if any(task.cancelled() for task in running) else _ENDED


async def _told(name: str, process: Process, say: Callable[[str], None]) -> int:
    code = await process.run()
    say(f"has ended with exit code {code}: start this command again")
    return code


class _Output:
    """Lines with the name of who says them, until nobody reads them any more: then `stop` is called."""

    def __init__(self, width: int, stop: Callable[[], None]) -> None:
        self.unheard = False
        self._width = width
        self._stop = stop

    def of(self, name: str) -> Callable[[str], None]:
        def say(line: str) -> None:
            if not self.unheard:
                try:
                    print(f"{name:{self._width}}  {line}", flush=True)
                except BrokenPipeError:
                    self.unheard = True
                    self._stop()

        return say


def _command(app: App, its: Needs, socket: Path) -> tuple[str, ...]:
    program = PROJECT / "rackhand" / "dev" / "inside" / ("asgi.py" if its.asgi else "wsgi.py")
    return (str(its.folder / "bin" / "python"), str(program), app.app, str(socket), prefix(app))


def _variables(app: App) -> dict[str, str]:
    """Of the person who develops, and the application's own."""
    ours = {
        "RACKHAND_APP": app.name,
        "RACKHAND_RELEASE": "dev",
        "FLASK_DEBUG": "1",
        "PYTHONUNBUFFERED": "1",
        # Python takes byte-code for current when second and size of an edit are those of the last one.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {**os.environ, **ours, **app.env}
