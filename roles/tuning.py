"""What the candidates of a tuning are made of."""

from dataclasses import replace

from rackhand.agent import layout
from rackhand.candidates import Setting
from rackhand.settings import App
from rackhand.target import Target
from roles import serving


def configuration(app: App, setting: Setting, target: Target) -> dict[str, str]:
    """The files of a release that are different when the application is served so."""
    so = replace(app, workers=setting.workers, threads=setting.threads or app.threads)
    if app.server == "gunicorn":
        so = replace(so, worker=setting.worker)
    return {serving.CONFIGURATION[app.server]: serving.configuration(so, target)}


def unit(app: App, release: str) -> str:
    """The unit of a candidate, with code, environment and variables of this release. It has a socket of its own."""
    text = serving.units(replace(app, strategy="beside"), folder=layout.TUNING)[layout.UNIT]
    return text.replace(serving.RELEASE, release)
