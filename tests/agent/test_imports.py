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

#: Of the standard library, what Python 3.10 has not, and what Debian has in packages of its own.
NOT_ON_HOSTS = {"tomllib", "distutils", "lib2to3", "tkinter", "idlelib", "turtle", "venv", "ensurepip"}

#: Bytes that the agent may take on the wire: it is sent each time, to every host.
LARGEST = 58_000

#: Slow to import, and needed by some commands, or for many hosts, only.
HEAVY = {"fabric", "paramiko", "cryptography", "jinja2", "rich", "multiprocessing", "distributed"}


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


def test_the_agent_runs_from_what_is_sent_alone() -> None:
    """In an interpreter that has no installed packages, as on a host; its first word is an event."""
    command = payload.command(install_python=False, interpreter=sys.executable)
    done = subprocess.run(["sh", "-c", command], input=payload.packed(), capture_output=True, check=False)
    assert done.stderr == b""
    assert json.loads(done.stdout.splitlines()[0])["event"] in ("facts", "refused")


def test_a_traceback_of_the_agent_has_its_source(tmp_path: Path) -> None:
    """Where nothing of it is on the host's disk."""
    (tmp_path / "importer.py").write_text(payload.sources()["rackhand/agent/importer.py"])
    code = """
import json, sys, traceback
import importer
importer.install(json.load(sys.stdin), "", "/nowhere")
from rackhand.agent import files
try:
    files.ids("nobody-at-all:root")
except LookupError:
    traceback.print_exc()
"""
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(
        command, input=json.dumps(payload.sources()), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert 'File "rackhand/agent/files.py", line' in done.stderr
    assert "return pwd.getpwnam(user).pw_uid" in done.stderr


def test_what_is_left_out_of_what_is_sent_says_nothing_to_python() -> None:
    """And all that is sent stands on the line on which it is in the source."""
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        sent = payload.sources()[f"rackhand/{path.relative_to(FOLDER.parent).as_posix()}"]
        trees = [ast.dump(ast.parse(text), include_attributes=True) for text in (source, sent)]
        assert trees[0] == trees[1], path


def test_the_agent_is_small(capsys: pytest.CaptureFixture[str]) -> None:
    """It is sent each time: what makes it much larger has to be worth it."""
    size = len(payload.packed())
    with capsys.disabled():
        print(f" [the agent: {size:,} bytes] ", end="")
    assert size < LARGEST


def test_what_is_sent_is_the_same_everywhere(tmp_path: Path) -> None:
    """The same source gives the same bytes: in another folder, with other times, after it was run."""
    shutil.copytree(PROJECT / "rackhand", tmp_path / "rackhand", copy_function=shutil.copyfile)
    for path in (tmp_path / "rackhand").rglob("*.py"):
        os.utime(path, (0, 10**9))
    (tmp_path / "rackhand/agent/__pycache__").mkdir(exist_ok=True)
    (tmp_path / "rackhand/agent/__pycache__/stray.pyc").write_bytes(b"stray")
    code = "import sys; from rackhand import payload; sys.stdout.buffer.write(payload.packed())"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert done.stdout == payload.packed()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--list"],
        ["deploy", "--host", "nobody"],
        ["facts", "--host", "here"],
        ["status", "--host", "here", "--json"],
    ],
    ids=" ".join,
)
def test_a_cold_start_loads_only_what_it_needs(tmp_path: Path, arguments: list[str]) -> None:
    """Commands without SSH load no SSH; without a terminal, no live display; without an application, no templates."""
    (tmp_path / "hosts.yml").write_text("all: {hosts: {here: {ansible_connection: local}}}")
    code = """
import json, sys
from rackhand import cli
sys.argv = ["invoke", *sys.argv[1:]]
try:
    cli.run()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""
    environment = {**os.environ, "RACKHAND_INVENTORY": str(tmp_path)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout.splitlines()[-1])
    assert "tasks" in modules
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()


def test_invoke_and_paramiko_load_only_what_they_need() -> None:
    """And are no worse for it: paramiko tells hosts its version, and whoever comes later finds what was left out."""
    code = """
import sys
import rackhand.cli, rackhand.transport.ssh
print(*sorted(sys.modules))
import importlib.metadata, unittest.mock, invoke.util, paramiko, yaml
assert invoke.util.yaml is yaml
assert paramiko.Transport._CLIENT_ID == "paramiko_" + importlib.metadata.version("paramiko")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    left_out = {"unittest.mock", "asyncio", "invoke.vendor.yaml.reader", "importlib.metadata", "email.message"}
    assert left_out & set(done.stdout.split()) == set()
