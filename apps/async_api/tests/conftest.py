import importlib.util
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI

APP_FOLDER = Path(__file__).parents[1]
sys.path.insert(0, str(APP_FOLDER))


@pytest.fixture
def app() -> FastAPI:
    """The application, under a module name that the other example's app.py does not have."""
    spec = importlib.util.spec_from_file_location("async_api_app", APP_FOLDER / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    application: FastAPI = module.app
    return application
