"""What is sent to hosts stands alone, and what is not needed is not loaded."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rackhand import PROJECT, agent, payload

FOLDER = Path(agent.__file__).parent
MODULES = sorted(FOLDER.rglob("*.py"))

#: Of the standard library, what Python 3.10 has not, and what Debian has in packages of its own (distutils, tkinter, venv).
NOT_ON_HOSTS = {"tomllib", "distutils", "lib2to3", "tkinter", "idlelib", "turtle", "venv", "ensurepip"}

#: Bytes that the agent may take on the wire: it is sent each time, to every host.
LARGEST_ARCHIVE = 48 * 1024

#: Slow to import, and needed by some commands only.
HEAVY = {"fabric", "paramiko", "cryptography", "jinja2", "rich"}


def imported(path: Path) -> Iterator[str]:
    """The full names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: says where it imports from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_the_agent_imports_the_standard_library_and_itself(path: Path) -> None:
    """A host has nothing else."""
    for name in imported(path):
        top = name.partition(".")[0]
        allowed = name.startswith("rackhand.agent.") or top in sys.stdlib_module_names - NOT_ON_HOSTS
        assert allowed, f"imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_the_agent_is_python_3_10(path: Path) -> None:
    """As far as Python itself can tell what an older one would not parse."""
    ast.parse(path.read_text(encoding="utf-8"), feature_version=payload.OLDEST_PYTHON)


def test_the_agent_is_small(record_property: pytest.RecordProperty if False else object) -> None:
    pass
