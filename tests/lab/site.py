"""A user's site for a test: an inventory of lab hosts and copies of applications, driven by the real `./invoke`."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rackhand import PROJECT
from rackhand.lab import Lab, LabHost

#: Seconds after which a command of a test is taken to hang.
TIMEOUT = 600


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What a command with --json printed."""
        return [json.loads(line) for line in self.out.splitlines()]

    def resources(self, status: str) -> list[str]:
        """The ids of the resources that ended so, from the events."""
        return [e["id"] for e in self.events if e["event"] == "resource" and e["status"] == status]


class Site:
    """`apps` are copies that a test may edit; `variables` are those of the group `web`, of all hosts."""

    def __init__(self, folder: Path, lab: Lab, hosts: Sequence[LabHost], apps: Path = PROJECT / "apps") -> None:
        self.folder = folder
        self.lab = lab
        self.inventory = folder / "inventory"
        self.apps = folder / "apps"
        if not self.apps.exists():
            # Example applications and their tests lie side by side; only the applications are deployed.
            shutil.copytree(apps, self.apps, ignore=shutil.ignore_patterns("tests", "__pycache__"))
        (self.inventory / "group_vars").mkdir(parents=True, exist_ok=True)
        self.hosts: dict[str, dict[str, Any]] = {host.name: {"ansible_host": host.address} for host in hosts}
        self.variables: dict[str, Any] = yaml.safe_load((PROJECT / "inventory/group_vars/web.yml").read_text())
        self.variables |= {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(lab.private_key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.known_hosts}",
        }
        for app in self.variables["apps"].values():
            app["path"] = str(self.apps / Path(app["path"]).name)
        self.write()

    def write(self) -> None:
        """Writes the inventory from `hosts` and `variables`."""
        groups = {"all": {"children": {"web": {"hosts": self.hosts}}}}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(groups))
        (self.inventory / "group_vars" / "web.yml").write_text(yaml.safe_dump(self.variables))

    def invoke(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Result:
        """Runs `./invoke` with this inventory to its end."""
        done = subprocess.run(
            [PROJECT / "invoke", *arguments],
            env={**os.environ, "RACKHAND_INVENTORY": str(self.inventory), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def deploy(self, host: str, *options: str) -> Result:
        """A deploy with --json, which must succeed."""
        result = self.invoke("deploy", "--host", host, "--json", *options)
        assert result.code == 0, result.out[-3000:] + result.err
        return result

    def edit(self, file: str, old: str, new: str) -> None:
        """Replaces a text in a file of an application: `sync_api/app.py`."""
        path = self.apps / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new))
