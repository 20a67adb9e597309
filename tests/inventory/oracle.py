"""Asks Ansible what an inventory means: `ansible_process.py`, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Ansible:
    """Ansible's commands. `sources`, `project` and `extra_vars` are its options `--inventory`, `--playbook-dir` and
    `--extra-vars`."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="ansible-")
        config = Path(self._home.name) / "ansible.cfg"
        config.touch()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            **{"ANSIBLE_CONFIG": str(config), "ANSIBLE_HOME": self._home.name, "LC_ALL": "C.UTF-8"},
        }
        self._process = subprocess.Popen(
            (sys.executable, Path(__file__).with_name("ansible_process.py")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._home.cleanup()

    def inventory(self, *arguments: str, **about: Any) -> str:
        """What `ansible-inventory` prints with these arguments."""
        printed = self._ask(ask="inventory", arguments=arguments, **about)
        assert isinstance(printed, str)
        return printed

    def hosts(self, pattern: str, *, limit: str | None = None, **about: Any) -> list[str] | str:
        """The hosts that `ansible PATTERN --list-hosts` prints, or how it failed."""
        printed = self._ask(ask="hosts", pattern=pattern, limit=limit, **about)
        assert isinstance(printed, (list, str))
        return [line.strip() for line in printed] if isinstance(printed, list) else printed

    def templated(self, **about: Any) -> dict[str, dict[str, Any]]:
        """The variables of all hosts, templates filled in; None for one where that fails."""
        found = self._ask(ask="templated", **about)
        assert isinstance(found, dict), found
        return found

    def _ask(
        self,
        *,
        sources: Sequence[str],
        cwd: Path,
        project: str | None = None,
        extra_vars: Sequence[str] = (),
        **request: Any,
    ) -> Any:
        request |= {"sources": sources, "cwd": str(cwd), "project": project, "extra_vars": extra_vars}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
