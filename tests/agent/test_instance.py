"""What is told of an application that does not start, or that must not serve."""

import json
import os
from pathlib import Path

import pytest

from rackhand.agent import serving
from rackhand.agent.resources.instance import Instance, Unservable, _traceback
from rackhand.agent.system import System

FIRST = ["Traceback (most recent call last):", '  File "a.py", line 1, in <module>', "    x()", "KeyError: 'x'"]
SECOND = ["Traceback (most recent call last):", '  File "b.py", line 2, in <module>', "ValueError: no x"]


def test_a_traceback_ends_with_its_error() -> None:
    """What the program says after it is left out."""
    assert _traceback([*FIRST, "[INFO] Worker exiting", "  indented"]) == FIRST


def test_a_traceback_in_another_is_told_with_it() -> None:
    """The last one says what went wrong."""
    chain = [*FIRST, "During handling of the above exception, another exception occurred:", *SECOND]
    assert _traceback([*chain, "[INFO] Worker exiting"]) == chain


def test_a_traceback_that_is_cut_off() -> None:
    """All there is."""
    assert _traceback(FIRST[:3]) == FIRST[:3]


MISMATCH = {"setting": "worker", "why": "shop is what sync workers cannot serve", "write": "x or y"}
APP, WORKER = "web.yml:8: apps.shop.app", "web.yml:9: apps.shop.worker"
MISSING = {"setting": "app", "why": "the module app has no nothing", "write": ""}


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """Where an instance of a scratch host notes what it is."""
    folder = tmp_path / "run/rackhand-shop/r-1"
    folder.mkdir(parents=True)
    return folder / "application.json"


@pytest.mark.parametrize(
    ("refused", "worker_set", "message"),
    [
        (MISMATCH, WORKER, f"^{WORKER}: {MISMATCH['why']}: write x or y, or leave it out$"),
        (MISMATCH, "", f"^{APP}: {MISMATCH['why']}: write worker: x or y$"),
        (MISSING, WORKER, f"^{APP}: {MISSING['why']}$"),
    ],
    ids=["worker", "the worker's default", "app"],
)
def test_what_cannot_be_served_is_refused(
    tmp_path: Path, note: Path, refused: dict[str, str], worker_set: str, message: str
) -> None:
    """With the line to change, and what to write there."""
    system = System(str(tmp_path))
    own = Instance(
        app="shop", release="r", health="/", prefix="", timeout=3, drain=4, app_set=APP, worker_set=worker_set
    )
    own._check_application(system, "r-1")
    note.write_text(json.dumps({"refused": None, "warnings": []}))
    own._check_application(system, "r-1")
    note.write_text(json.dumps({"refused": refused, "warnings": []}))
    with pytest.raises(Unservable, match=message):
        own._check_application(system, "r-1")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", "{}", '{"refused": 1, "warnings": []}', '{"refused": {}, "warnings": 7}', "[" * 9**5, "\xff"],
    ids=["empty", "half", "list", "number", "mapping", "refused", "warnings", "deep", "no text"],
)
def test_a_note_that_is_none(tmp_path: Path, note: Path, text: str) -> None:
    """The application may write there what it likes, and breaks nothing by it."""
    note.write_text(text, encoding="latin-1")
    assert serving.application(System(str(tmp_path)), "shop", "r-1") == serving.Application()


def test_a_note_that_leads_elsewhere(tmp_path: Path, note: Path) -> None:
    """The agent, which may read everything, reads no file for the application, and waits for no pipe."""
    secret = tmp_path / "secret"
    secret.write_text(json.dumps({"refused": None, "warnings": ["secret"]}))
    note.symlink_to(secret)
    assert serving.application(System(str(tmp_path)), "shop", "r-1").warnings == ()
    note.unlink()
    os.mkfifo(note)
    assert serving.application(System(str(tmp_path)), "shop", "r-1").warnings == ()
    note.unlink()
    secret.rename(note)
    assert serving.application(System(str(tmp_path)), "shop", "r-1").warnings == ("secret",)
