"""A lab: some hosts with a network of their own, and an inventory with which Rackhand can deploy to them."""

import os
import re
import shlex
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from rackhand.errors import UserError
from rackhand.lab import image as images
from rackhand.lab import machine, network
from rackhand.lab.host import LabHost
from rackhand.lab.network import Network

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


class Lab:
    """A lab by its name. Labs never meet: each has its own folder, bridge, subnet and machine names.

    An owned lab dies with the process that made it: the next `sweep` removes it. Others stay until `down`.
    """

    def __init__(self, name: str = "demo", *, owned: bool = False) -> None:
        _check_name("lab", name)
        self.name = name
        self.owned = owned
        self.folder = machine.cache() / "labs" / name
        self.private_key = self.folder / "id_ed25519"
        self.known_hosts = self.folder / "known_hosts"
        self.inventory = self.folder / "inventory"

    def up(
        self,
        names: Sequence[str] = ("lab1",),
        image: str = "bookworm",
        *,
        cores: int | None = None,
        cpu_quota: float | None = None,
        memory: int | None = None,
        base: Path | None = None,
    ) -> list[LabHost]:
        """Have these hosts run and answer SSH. Those that exist keep their disk and what they were made with; a new
        one gets the image, so many usable cores, a CPU quota in cores, and a memory limit in bytes. With `base` it
        begins as a copy of a host that was made from the image: a folder with all its files."""
        for name in names:
            _check_name("host", name)
        machine.ensure_packages()
        base = base or images.ensure(image)
        with machine.locked():
            net = self._claim()
            machine.mount_nspawn_run()
            machine.allow_many()
            net.up()
            known = {host.name: host for host in self._known() if host.created}
            for name in names:
                if name not in known:
                    known[name] = LabHost(
                        name=name, address=self._free_address(net), image=image, base=base, network=net,
                        folder=self.folder / "hosts" / name, cores=cores, cpu_quota=cpu_quota, memory=memory,
                    )  # fmt: skip
                    known[name].create(self.private_key.with_suffix(".pub").read_text())
            self._describe()
            hosts = [known[name] for name in names]
            for host in hosts:
                host.boot()
        with ThreadPoolExecutor(max_workers=len(hosts) or 1) as pool:
            list(pool.map(LabHost.wait_ssh, hosts))
        return hosts

    def hosts(self) -> list[LabHost]:
        """The hosts that run."""
        return [host for host in self._known() if host.created and host.running]

    def down(self) -> None:
        """Remove everything of this lab, also what an interrupted `up` or `down` left of it."""
        with machine.locked():
            if not self.folder.exists():
                return
            machine.ensure_packages()
            if net := self._network():
                for host in self._known():
                    host.destroy()
                net.down()
            shutil.rmtree(self.folder)
            if not network.in_use():
                network.stop_forwarding()
                machine.unmount_nspawn_run()
            if not _labs():
                machine.undo_allow_many()

    @staticmethod
    def sweep() -> list[str]:
        """Remove the labs whose owner is gone; their names."""
        gone = [lab for lab in _labs() if lab._orphaned()]
        for lab in gone:
            lab.down()
        return [lab.name for lab in gone]

    def _claim(self) -> Network:
        """The lab's folder, key and network; written down before anything is made, so that `down` finds it all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.owned:
            machine.record(self.folder / "owner", _identity(os.getpid()))
        if not self.private_key.with_suffix(".pub").exists():
            self.private_key.unlink(missing_ok=True)
            machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {self.name}", "-f", self.private_key)
        claimed = self._network()
        if claimed is None:
            claimed = network.free({net.number for lab in _labs() if (net := lab._network())})
            machine.record(self.folder / "network", str(claimed.number))
        return claimed

    def _network(self) -> Network | None:
        try:
            return Network(number=int((self.folder / "network").read_text()))
        except FileNotFoundError:
            return None

    def _known(self) -> list[LabHost]:
        return [LabHost.load(file.parent) for file in sorted(self.folder.glob("hosts/*/host.json"))]

    def _free_address(self, net: Network) -> str:
        taken = {host.address for host in self._known()}
        free = (address for address in map(net.address, range(2, 255)) if address not in taken)
        address = next(free, None)
        if address is None:
            raise UserError(f"lab {self.name} is full: {len(taken)} hosts")
        return address

    def _describe(self) -> None:
        """Write known_hosts and the inventory, which commands on other hosts of this lab may just be reading."""
        hosts = [host for host in self._known() if host.created]
        machine.record(self.known_hosts, "".join(host.known_host() for host in hosts))
        ssh = f"-o UserKnownHostsFile={shlex.quote(str(self.known_hosts))} -o StrictHostKeyChecking=yes"
        web = {
            "hosts": {host.name: {"ansible_host": host.address} for host in hosts},
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(self.private_key),
                "ansible_ssh_common_args": ssh,
            },
        }
        self.inventory.mkdir(exist_ok=True)
        described = yaml.safe_dump({"all": {"children": {"web": web}}}, sort_keys=False)
        machine.record(self.inventory / "hosts.yml", described)

    def _orphaned(self) -> bool:
        try:
            owner = (self.folder / "owner").read_text()
        except FileNotFoundError:
            return False
        return owner != _identity(int(owner.split()[0]))


def _labs() -> list[Lab]:
    return [Lab(folder.name) for folder in sorted((machine.cache() / "labs").glob("*"))]


def _identity(pid: int) -> str:
    """A process as no later one with the same number can be: its id and when it started, in clock ticks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return f"{pid} gone"
    return f"{pid} {fields[19]}"


def _check_name(kind: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(f"'{name}' cannot name a {kind}: use lower-case letters, digits and hyphens, a letter first")
