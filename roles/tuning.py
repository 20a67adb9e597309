"""What the candidates of a tuning are made of."""

from dataclasses import replace

from rackhand.agent import layout
from rackhand.agent.serving import PREFIX_HEADER
from rackhand.candidates import Setting
from rackhand.settings import App
from rackhand.target import Target
from roles import serving

#: The part of the free memory that a candidate may take.
ROOM = 0.8
#: What the processor has to do for a candidate in comparison with a service (100), when both want it.
WEIGHT = 20


def configuration(app: App, setting: Setting, target: Target) -> dict[str, str]:
    """The files of a release that are different when the application is served so."""
    so = replace(app, direct=None, workers=setting.workers, threads=setting.threads or app.threads)
    if app.server == "gunicorn":
        so = replace(so, worker=setting.worker)
    return {serving.CONFIGURATION[app.server]: serving.configuration(so, target)}


def unit(app: App, release: str, *, seconds: int, memory: int) -> str:
    """The unit of a candidate, with code, environment and variables of this release, and a socket of its own. It ends
    after so many seconds should everybody forget it, yields to what serves when there is not enough for both, and takes
    no more than its part of `memory`, the MiB that are free."""
    text = serving.units(replace(app, strategy="beside", direct=None), folder=layout.TUNING)[layout.UNIT]
    limit = min(int(memory * ROOM), app.memory_limit or memory)
    bounds = f"[Service]\nRestart=no\nRuntimeMaxSec={seconds}\nCPUWeight={WEIGHT}\nMemoryMax={limit}M\n"
    return f"{text.replace(serving.RELEASE, release)}\n{bounds}"


def request(app: App, path: str) -> str:
    """What a candidate is asked for, as nginx would ask."""
    fields = {"Host": app.server_name or "localhost", "Connection": "close", "User-Agent": "rackhand"}
    fields |= {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Real-IP": "127.0.0.1"}
    prefix = serving.prefix(app)
    if prefix:
        fields[PREFIX_HEADER] = prefix
    return "\r\n".join([f"GET {prefix}{path} HTTP/1.1", *map(": ".join, fields.items()), "", ""])
