"""The tools: how each is told to bring a site to its hosts, and what it says of having changed nothing."""

import re
import shlex
import sys
from typing import Protocol

from benchmarks.provision import floor, peers
from benchmarks.provision.measure import Command
from benchmarks.provision.peers import HERE
from benchmarks.provision.site import Site
from rackhand import PROJECT, __version__

#: On how many hosts at once, for tools that need to be told.
FORKS = 50


class Tool(Protocol):
    """What the benchmark knows of a tool."""

    name: str
    #: Whether it takes so long on many hosts that one turn has to be enough there.
    slow: bool

    def version(self) -> str:
        """The tool and its version, in words."""
        ...

    def deploy(self, site: Site) -> Command:
        """Brings the site to its hosts."""
        ...

    def rollback(self, site: Site) -> Command:
        """Goes back by one line, which the site has taken back already."""
        ...

    def complaint(self, site: Site, output: str) -> str | None:
        """What its own recap says against all hosts being done with nothing changed."""
        ...


class Rackhand:
    """This checkout, with the command that a user types."""

    name = "rackhand"
    slow = False

    def version(self) -> str:
        return f"Rackhand {__version__} on Python {sys.version_info.major}.{sys.version_info.minor}"

    def deploy(self, site: Site) -> Command:
        return self._invoke(site, "deploy", "--host", site.pattern)

    def rollback(self, site: Site) -> Command:
        return self._invoke(site, "rollback", "--host", site.pattern, "--app", "sync_api")

    def complaint(self, site: Site, output: str) -> str | None:
        return _recap_complaint(site, output)

    @staticmethod
    def _invoke(site: Site, *arguments: str) -> Command:
        inventory = {"RACKHAND_INVENTORY": str(site.inventory)}
        return Command(arguments=[PROJECT / "invoke", *arguments], folder=PROJECT, environment=inventory)


class Ansible:
    """ansible-core, with pipelining and the other speed settings that its documentation recommends."""

    name = "ansible"
    slow = True

    def version(self) -> str:
        return peers.version("ansible", "ansible-core")

    def deploy(self, site: Site) -> Command:
        folder = HERE / "ansible"
        return Command(
            arguments=[peers.environment("ansible") / "bin" / "ansible-playbook", "-i", site.inventory, "playbook.yml"],
            folder=folder,
            environment={
                "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
                "ANSIBLE_HOME": str(site.folder / "ansible"),
                "ANSIBLE_NOCOLOR": "1",
            },
        )

    def rollback(self, site: Site) -> Command:
        return self.deploy(site)

    def complaint(self, site: Site, output: str) -> str | None:
        return _recap_complaint(site, output)


class Pyinfra:
    """pyinfra, with its own defaults: it works on all hosts at once."""

    name = "pyinfra"
    slow = True

    #: An operation that is counted as a change on each host, whatever it does.
    _ALWAYS = "Wait for both applications"

    def version(self) -> str:
        return peers.version("pyinfra", "pyinfra")

    def deploy(self, site: Site) -> Command:
        shared = {
            "ssh_user": "root",
            "ssh_key": str(site.lab.private_key),
            "ssh_known_hosts_file": str(site.known_hosts),
            "ssh_strict_host_key_checking": "yes",
            "code": str(site.apps),
            "most_workers": site.workers,
        }
        hosts = [
            (host.name, {"ssh_hostname": where.address, "ssh_port": where.port})
            for host in site.hosts
            for where in [site.where(host)]
        ]
        inventory = site.folder / "inventory.py"
        inventory.write_text(f"hosts = ({hosts!r}, {shared!r})\n")
        program = peers.environment("pyinfra") / "bin" / "pyinfra"
        return Command(arguments=[program, "-y", inventory, "deploy.py"], folder=HERE / "pyinfra")

    def rollback(self, site: Site) -> Command:
        return self.deploy(site)

    def complaint(self, site: Site, output: str) -> str | None:
        found = re.findall(r"^\s*(\S.*?)\s+(\d+)\s+(\d+|-)\s+(\d+|-)\s+(\d+|-)\s*$", output, re.MULTILINE)
        rows = {name: (int(hosts), changed, failed) for name, hosts, changed, failed, _ in found}
        if self._ALWAYS not in rows or "Grand total" not in rows:
            return f"no results in {output[-2000:]}"
        del rows["Grand total"]
        for name, (hosts, changed, failed) in rows.items():
            wanted = str(len(site.hosts)) if name == self._ALWAYS else "-"
            if (hosts, changed, failed) != (len(site.hosts), wanted, "-"):
                return f"{name}: {hosts} hosts, {changed} changed, {failed} failed"
        return None


class Floor:
    """A hand-written script, piped through OpenSSH. It has no recap."""

    name = "floor"
    slow = False

    def version(self) -> str:
        return "a shell script through OpenSSH"

    def deploy(self, site: Site) -> Command:
        script = site.folder / "script.sh"
        script.write_text(floor.script(site.apps, site.workers))
        ssh = ["ssh", "-i", str(site.lab.private_key), "-o", f"UserKnownHostsFile={site.known_hosts}"]
        reached = [site.where(host) for host in site.hosts]
        if len(reached) == 1:
            (only,) = reached
            arguments = [*ssh, "-p", str(only.port), f"root@{only.address}", "sh -s"]
            return Command(arguments=arguments, folder=site.folder, stdin=script)
        hosts = site.folder / "addresses"
        hosts.write_text("".join(f"{where.address}\n" for where in reached))
        one = f'exec {shlex.join(ssh)} "root@$0" "sh -s" < {shlex.quote(str(script))}'
        return Command(
            arguments=["xargs", "-n", "1", "-P", str(FORKS), "sh", "-c", one], folder=site.folder, stdin=hosts
        )

    def rollback(self, site: Site) -> Command:
        return self.deploy(site)

    def complaint(self, site: Site, output: str) -> str | None:
        return None


class Cold:
    """A new Python process that connects with Fabric and runs `true`: what any tool in Python has to take."""

    name = "cold"
    slow = False

    _PROGRAM = """
import sys
from fabric import Connection
Connection(sys.argv[1], user="root", port=int(sys.argv[2]), connect_kwargs={"key_filename": sys.argv[3]}).run("true")
"""

    def version(self) -> str:
        return "a new Python process that runs `true` with Fabric"

    def deploy(self, site: Site) -> Command:
        (where,) = map(site.where, site.hosts)
        host = (where.address, str(where.port), str(site.lab.private_key))
        return Command(arguments=[sys.executable, "-c", self._PROGRAM, *host], folder=site.folder)

    def rollback(self, site: Site) -> Command:
        raise NotImplementedError

    def complaint(self, site: Site, output: str) -> str | None:
        return None


TOOLS: tuple[Tool, ...] = (Rackhand(), Floor(), Pyinfra(), Ansible())


def _recap_complaint(site: Site, output: str) -> str | None:
    """Of the recap line that is Ansible's and Rackhand's."""
    lines = {
        name: dict(re.findall(r"(\w+)=(\d+)", counts))
        for name, counts in re.findall(r"^(\S+)\s+:\s+(ok=.*)$", output, re.MULTILINE)
    }
    for host in site.hosts:
        counts = lines.get(host.name)
        if counts is None:
            return f"{host.name} is not in the recap: {output[-2000:]}"
        if any(int(counts[word]) for word in ("changed", "failed", "unreachable")):
            return f"{host.name}: {counts}"
    return None
