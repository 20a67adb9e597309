"""What commands on hosts refuse before they touch any: exec, logs, maintenance, and what stands behind `--`."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rackhand import PROJECT, exec, logs, maintenance
from rackhand.commands import Options
from rackhand.errors import UserError


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """Of a host that nobody can reach, without applications."""
    (tmp_path / "hosts.yml").write_text("all: {hosts: {h: {ansible_host: 127.0.0.1, ansible_port: 9}}}")
    return Options(host="h", inventory=(str(tmp_path),))


REFUSED: dict[str, tuple[Callable[[Options], int], str]] = {
    "nothing to run": (lambda o: exec.execute(o, argv=(), shell=None, timeout=1), "say what to run, once: "),
    "two things to run": (lambda o: exec.execute(o, argv=("a",), shell="b", timeout=1), "say what to run, once: "),
    "an empty line": (lambda o: exec.execute(o, argv=(), shell=" ", timeout=1), "what to run is empty"),
    "a program without a name": (
        lambda o: exec.execute(o, argv=("", "x"), shell=None, timeout=1),
        "what to run is empty",
    ),
    "no time": (
        lambda o: exec.execute(o, argv=("a",), shell=None, timeout=0),
        "--timeout should be from 1 to 1800 seconds, got 0",
    ),
    "too much time": (
        lambda o: exec.execute(o, argv=("a",), shell=None, timeout=1801),
        "--timeout should be from 1 to 1800 seconds, got 1801",
    ),
    "lines": (
        lambda o: logs.logs(o, app=None, lines=-1, since=None, follow=False),
        "--lines should be 0 or more, got -1",
    ),
    "logs of no application": (
        lambda o: logs.logs(o, app="x", lines=1, since=None, follow=False),
        "--app x: h has no application of this name (it has: none)",
    ),
    "maintenance of no application": (
        lambda o: maintenance.maintenance(o, app="x", on=True, off=False),
        "--app x: h has no application of this name (it has: none)",
    ),
    "neither on nor off": (
        lambda o: maintenance.maintenance(o, app=None, on=False, off=False),
        "--on or --off: one of them; status shows what is in maintenance",
    ),
    "on and off": (
        lambda o: maintenance.maintenance(o, app=None, on=True, off=True),
        "--on or --off: one of them; status shows what is in maintenance",
    ),
}


def test_what_has_no_nginx_cannot_be_closed(options: Options, tmp_path: Path) -> None:
    """The line that says so is named."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/h.yml").write_text(
        f"apps:\n  shop:\n    path: {tmp_path}/shop\n    app: app:app\n    direct: 80\n"
    )
    with pytest.raises(UserError, match=r"h\.yml:5: apps\.shop\.direct: shop listens itself: there is no nginx to"):
        maintenance.maintenance(options, app=None, on=True, off=False)


@pytest.mark.parametrize(("command", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_options(options: Options, command: Callable[[Options], int], message: str) -> None:
    """With one message."""
    with pytest.raises(UserError) as raised:
        command(options)
    assert str(raised.value).startswith(message)


def invoke(*arguments: str, inventory: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RACKHAND_INVENTORY": str(inventory)}
    return subprocess.run(
        [PROJECT / "invoke", *arguments], env=environment, capture_output=True, text=True, check=False
    )


COMMANDS = {
    "what is behind -- for nobody": (
        ("status", "--host", "h", "--", "rm", "x y"),
        "status takes nothing behind --: 'rm' 'x y'",
    ),
    "an unknown tag": (
        ("plan", "--host", "h", "--tags", "nginks"),
        "--tags nginks: there is no such role or kind (did",
    ),
    "an unknown role": (
        ("plan", "--host", "h", "--extra-vars", '{"roles": ["nginks"]}'),
        "--extra-vars:1: roles: there is no role 'nginks'",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), COMMANDS.values(), ids=COMMANDS)
def test_command_lines(arguments: tuple[str, ...], message: str, options: Options) -> None:
    """Exit code 5, one line, and no host is asked: this one cannot be reached, which would be 4."""
    done = invoke(*arguments, inventory=Path(options.inventory[0]))
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith(message), done.stderr
    assert len(done.stderr.splitlines()) == 1
