"""What `module:object` is, as an instance's workers find it when they load it: with real frameworks."""

import asyncio
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rackhand.templates import TEMPLATES


@pytest.fixture(scope="module")
def application() -> ModuleType:
    """The part of Gunicorn's configuration that loads the application."""
    specification = importlib.util.spec_from_file_location("application", TEMPLATES / "application.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


Load = Callable[..., tuple[Any, dict[str, Any]]]
_serial = count()


@pytest.fixture
def load(application: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads an object of the module of this code in a first worker, or a later one, and gives what is served and what
    is noted."""
    noted = tmp_path / "application.json"

    def load(code: str, name: str = "app", worker: str = "sync", *, first: bool = True) -> tuple[Any, dict[str, Any]]:
        module = f"shop_{next(_serial)}"
        (tmp_path / f"{module}.py").write_text(code)
        if first:
            noted.unlink(missing_ok=True)
        served = application.load(f"{module}:{name}", worker)
        return served, json.loads(noted.read_text().replace(module, "shop"))

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RACKHAND_APP", "shop")
    return load


FLASK = "from flask import Flask\napp = Flask(__name__)\n"
FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"
ASGI = "async def app(scope, receive, send): await send(scope)\n"
WSGI = "def app(environ, start_response): return [b'wsgi']\n"


PROXIED = f"{FLASK}from werkzeug.middleware.proxy_fix import ProxyFix\napp = ProxyFix(app)"
SUBCLASS = "from starlette.applications import Starlette\nclass App(Starlette): ...\napp = App()"
WRAPPED = f"import functools\n{WSGI}app = functools.wraps(app)(lambda *args: app(*args))"
MAKE_FLASK = "from flask import Flask\ndef make(config=None): return Flask('x')"
MAKE_FASTAPI = "from fastapi import FastAPI\ndef make(*, debug=False): return FastAPI()"
ASGI_2 = """
class App:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await send((self.scope, await receive()))
"""


@pytest.mark.parametrize(
    ("code", "name", "interface", "framework"),
    [
        (ASGI, "app", "asgi3", None),
        ("class App:\n async def __call__(self, scope, receive, send): ...\napp = App()", "app", "asgi3", None),
        ("async def app(*args): ...", "app", "asgi3", None),
        ("def app(scope):\n async def call(receive, send): ...\n return call", "app", "asgi2", None),
        (ASGI_2, "App", "asgi2", None),
        (WSGI, "app", "wsgi", None),
        ("class App:\n def __call__(self, environ, start_response): ...\napp = App()", "app", "wsgi", None),
        ("class App:\n def __init__(self, environ, start_response): ...", "App", "wsgi", None),
        (WRAPPED, "app", "wsgi", None),
        ("class Site: pass\nsite = Site()\nsite.app = lambda environ, start_response: []", "site.app", "wsgi", None),
        (FLASK, "app", "wsgi", "Flask"),
        (PROXIED, "app", "wsgi", "Flask"),
        (FASTAPI, "app", "asgi3", "FastAPI"),
        (SUBCLASS, "app", "asgi3", "Starlette"),
        (MAKE_FLASK, "make", "wsgi", "Flask"),
        (MAKE_FLASK, "make()", "wsgi", "Flask"),
        (MAKE_FASTAPI, "make", "asgi3", "FastAPI"),
        ("def app(*args): ...", "app", "unknown", None),
    ],
)
def test_what_an_object_is(load: Load, code: str, name: str, interface: str, framework: str | None) -> None:
    """By how it wants to be called; and with which framework it is made, in which version."""
    _, found = load(code, name, "uvicorn" if interface.startswith("asgi") else "sync")
    assert (found["interface"], found["factory"], found["refused"]) == (interface, "make" in name, None)
    assert (found["framework"] or "").partition(" ")[0] == (framework or "")
    assert found["framework"] is None or found["framework"].partition(" ")[2][0].isdigit()


@pytest.mark.parametrize(
    ("code", "name", "why"),
    [
        (FLASK, "application", "the module shop has no application, but app"),
        ("x = 1", "app.api", "the module shop has no app.api"),
        ("app = 'app'", "app", "app is of the type str, which cannot be called"),
        ("from fastapi import FastAPI\ndef make(config): ...", "make", "make is to be called with config"),
        ("async def app(environ, start_response): ...", "app", "app is to be called with environ, start_response"),
        ("def make(): return None", "make", "what make() returns is of the type NoneType, which cannot be called"),
        ("def make(): return make", "make", "what make() returns is a factory again"),
        ("async def make(): ...", "make", "make is a factory that is async: make it a plain function"),
    ],
)
def test_what_is_no_application(load: Load, code: str, name: str, why: str) -> None:
    """The line to change is that of `app`, for workers of every kind."""
    for worker in ("sync", "asgi"):
        served, found = load(code, name, worker)
        assert found["refused"]["setting"] == "app"
        assert found["refused"]["why"].startswith(why)
        with pytest.raises(RuntimeError):
            served({}, None, None)


@pytest.mark.parametrize(
    ("code", "worker", "why"),
    [
        (FLASK, "uvicorn", r"a WSGI application \(Flask 3.*\), which Uvicorn's workers cannot serve"),
        (WSGI, "asgi", r"a WSGI application, which Gunicorn's asgi workers cannot serve"),
        (FASTAPI, "sync", r"an ASGI application \(FastAPI .*\), which sync workers cannot serve"),
        ("def app(scope): ...", "gthread", r"an ASGI 2 application, which gthread workers cannot serve"),
    ],
)
def test_workers_that_speak_another_protocol(load: Load, code: str, worker: str, why: str) -> None:
    """The line to change is that of `worker`; the application is never called in the wrong way."""
    served, found = load(code, "app", worker)
    write = "sync or gthread" if "WSGI" in why else "uvicorn or asgi"
    assert (found["refused"]["setting"], found["refused"]["write"]) == ("worker", write)
    with pytest.raises(RuntimeError, match=f"^shop is {why}$"):
        served({}, None)


def test_asgi_2_is_adapted(load: Load) -> None:
    """Servers call it as ASGI 3."""
    served, _ = load(ASGI_2, "App", "uvicorn")
    said: list[object] = []

    async def receive() -> str:
        return "received"

    async def send(message: object) -> None:
        said.append(message)

    assert inspect.iscoroutinefunction(served)
    asyncio.run(served("scope", receive, send))
    assert said == [("scope", "received")]


def test_an_application_that_does_not_import(load: Load) -> None:
    """Its traceback goes where all do: nothing is noted of it."""
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load("import no_such_module", "app")


def test_a_factory_that_fails(load: Load) -> None:
    with pytest.raises(ZeroDivisionError):
        load("def make(): return 1 / 0", "make")


ASYNC_FLASK = f"""{FLASK}
from flask.views import MethodView

@app.route("/slow")
async def slow(): ...

@app.route("/plain")
def plain(): ...

class Things(MethodView):
    async def get(self): ...

app.add_url_rule("/things", view_func=Things.as_view("things"))
"""


@pytest.mark.parametrize(
    ("code", "worker", "warning"),
    [
        (FLASK, "sync", ""),
        (FASTAPI, "asgi", ""),
        (f"{FLASK}app.debug = True", "sync", "shop: debug mode is on"),
        (f"{FASTAPI}app.debug = True", "asgi", "shop: debug mode is on"),
        (ASYNC_FLASK, "gthread", "shop: 2 of 4 endpoints are async def (slow, things): under Flask each"),
    ],
)
def test_warnings(load: Load, code: str, worker: str, warning: str) -> None:
    """What does not keep an application from serving is told, each at most once."""
    _, found = load(code, "app", worker)
    assert (found["refused"], len(found["warnings"])) == (None, 1 if warning else 0)
    assert "".join(found["warnings"]).startswith(warning)


def test_what_makes_uvicorn_fast_is_missing(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    _, found = load(FASTAPI, "app", "uvicorn")
    assert found["warnings"][0].startswith("shop: uvloop and httptools cannot be imported")


def test_objects_that_stand_for_others_are_left_alone(load: Load) -> None:
    """Looking at an application runs none of its code: a proxy of Flask's would complain that there is no request."""
    _, found = load(f"from flask import request\n{FLASK}app.app = request", "app")
    assert (found["refused"], found["warnings"]) == (None, [])
    _, found = load(f"from flask import request, g\n{FLASK}", "nothing")
    assert found["refused"]["why"] == "the module shop has no nothing, but app"


def test_the_first_worker_notes(load: Load, tmp_path: Path) -> None:
    """The others, and those that replace it, leave the note as it is."""
    load(FLASK)
    _, found = load(f"{FLASK}app.debug = True", first=False)
    assert found["warnings"] == []
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".py" and path.is_file()] == ["application.json"]
    assert "application" not in sys.modules
