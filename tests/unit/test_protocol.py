"""The protocol of an application by its source: where that is clear, no `worker` has to be written."""

from pathlib import Path

import pytest

from rackhand import PROJECT
from rackhand.protocol import protocol

FLASK = "from flask import Flask\napp = Flask(__name__)\n"


@pytest.mark.parametrize(
    ("code", "app", "speaks"),
    [
        (FLASK, "main:app", "wsgi"),
        ("import flask\napp: flask.Flask = flask.Flask('x')", "main:app", "wsgi"),
        ("from fastapi import FastAPI as F\napp = F(title='x')", "main:app", "asgi"),
        ("from starlette.applications import Starlette\nclass A(Starlette): ...\napp = A()", "main:app", "asgi"),
        ("import falcon.asgi\napp = falcon.asgi.App()", "main:app", "asgi"),
        ("import falcon\napp = falcon.App()", "main:app", "wsgi"),
        ("from django.core.wsgi import get_wsgi_application as g\napplication = g()", "main:application", "wsgi"),
        ("from django.core.asgi import get_asgi_application as g\napplication = g()", "main:application", "asgi"),
        (f"{FLASK}from asgiref.wsgi import WsgiToAsgi\nserved = WsgiToAsgi(app)", "main:served", "asgi"),
        ("async def app(scope, receive, send): ...", "main:app", "asgi"),
        ("def app(scope): ...", "main:app", "asgi"),
        ("def app(environ, start_response): ...", "main:app", "wsgi"),
        ("class A:\n def __call__(self, environ, start_response): ...\napp = A()", "main:app", "wsgi"),
        ("class A:\n async def __call__(self, scope, receive, send): ...\napp = A()", "main:app", "asgi"),
        ("class A:\n def __init__(self, scope): ...", "main:A", "asgi"),
        ("from flask import Flask\ndef make(c=None):\n app = Flask('x')\n return app", "main:make", "wsgi"),
        ("from fastapi import FastAPI\ndef make(): return FastAPI()", "main:make()", "asgi"),
        ("from fastapi import FastAPI\ndef make(): return FastAPI()\napp = make()", "main:app", "asgi"),
        ("from .inner import app", "main:app", "wsgi"),
        ("from inner import app as served", "main:served", "wsgi"),
        ("from pack import app", "main:app", "asgi"),
        ("", "pack:app", "asgi"),
        (FLASK, "main:other", None),
        (f"{FLASK}app = wrapped(app)", "main:app", None),
        ("app = app", "main:app", None),
        ("from main import app", "main:app", None),
        ("def make(): return make()", "main:make", None),
        ("def make(config): ...", "main:make", None),
        ("async def make(): ...", "main:make", None),
        ("class A: ...\napp = A()", "main:app", None),
        ("def (", "main:app", None),
        ("", "nowhere:app", None),
        (FLASK, "main:app.wsgi_app", None),
    ],
)
def test_what_source_tells(tmp_path: Path, code: str, app: str, speaks: str | None) -> None:
    """Frameworks, functions by their arguments, factories, and what another module of the application has."""
    (tmp_path / "main.py").write_text(code)
    (tmp_path / "inner.py").write_text(FLASK)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/__init__.py").write_text("from .made import app")
    (tmp_path / "pack/made.py").write_text("from quart import Quart\napp = Quart('x')")
    assert protocol(tmp_path, app) == speaks


def test_the_examples() -> None:
    assert protocol(PROJECT / "apps/async_api", "app:app") == "asgi"
    assert protocol(PROJECT / "apps/sync_api", "app:app") == "wsgi"
