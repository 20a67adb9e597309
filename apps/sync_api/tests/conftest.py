import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

APP_FOLDER = Path(__file__).parents[1]
sys.path.insert(0, str(APP_FOLDER))


@pytest.fixture
def flask_app(monkeypatch: pytest.MonkeyPatch) -> Flask:
    """The application, under a module name that the other example's app.py does not have."""
    spec = importlib.util.spec_from_file_location("sync_api_app", APP_FOLDER / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module.__name__, module)  # Where Flask looks to find its templates.
    spec.loader.exec_module(module)
    application: Flask = module.app
    return application


@pytest.fixture
def client(flask_app: Flask, tmp_path: Path) -> FlaskClient:
    """A client of the application; its log, which does not exist yet, is access.log in the test's folder."""
    flask_app.config["ACCESS_LOG"] = str(tmp_path / "access.log")
    return flask_app.test_client()


@pytest.fixture
def line() -> Callable[..., bytes]:
    """Makes a line of the log in Rackhand's format; with seconds=None in nginx's `combined`."""

    def make(
        path: str = "/sync-api/report",
        *,
        status: int = 200,
        size: int = 100,
        seconds: float | None = 0.25,
        at: str = "23/Nov/2024:19:30:47 +0000",
        request: str | None = None,
        agent: str = "curl/8.0",
    ) -> bytes:
        request = f"GET {path} HTTP/1.1" if request is None else request
        text = f'10.0.0.7 - - [{at}] "{request}" {status} {size} "-" "{agent}"'
        times = "" if seconds is None else f' {seconds:.3f} {seconds:.3f} "web1.example.org"'
        return (text + times).encode() + b"\n"

    return make
