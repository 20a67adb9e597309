"""A lab's network: a bridge with a subnet of its own, and masquerading so that its hosts reach the outside."""

import ipaddress
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rackhand.errors import UserError
from rackhand.lab.machine import run

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
# An empty nft table that exists exactly as long as forwarding is on because of us: both are gone after a reboot.
FORWARDING = "rackhand_lab_forwarding"
PREFIX = "rhlab"


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network number N (1 to 254): bridge and nft table rhlabN, addresses 10.91.N.0/24."""

    number: int

    @property
    def bridge(self) -> str:
        """The bridge's name, which is the nft table's too."""
        return f"{PREFIX}{self.number}"

    def address(self, host: int) -> str:
        """The address of a host; 1 is the bridge itself."""
        return f"10.91.{self.number}.{host}"

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        """The subnet of the bridge and the hosts."""
        return ipaddress.IPv4Network(f"{self.address(0)}/24")

    def up(self) -> None:
        """Make what is missing."""
        if self.bridge not in _links():
            run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "replace", f"{self.address(1)}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "mtu", str(uplink_mtu()), "up")
        _replace_table(
            self.bridge,
            f"chain postrouting {{ type nat hook postrouting priority srcnat;\n"
            f"ip saddr {self.subnet} ip daddr != {self.subnet} masquerade\n}}",
        )
        if IP_FORWARD.read_text().strip() == "0":
            _nft(f"table ip {FORWARDING} {{}}")
            IP_FORWARD.write_text("1")

    def down(self) -> None:
        """Remove all of it, however much there is."""
        if self.bridge in _links():
            run("ip", "link", "delete", self.bridge)
        for table in _tables():
            if table == self.bridge or table.startswith(f"{self.bridge}_"):
                _delete_table(table)

    @contextmanager
    def disturbed(self, name: str, chains: str) -> Iterator[None]:
        """Chains of nft on this machine, by which a test or a benchmark drops packets of this network. They end with
        the block; if this process is killed in it, with the lab, so that none of a later lab's hosts inherits them."""
        table = f"{self.bridge}_{name}"
        _replace_table(table, chains)
        try:
            yield
        finally:
            with suppress(UserError):  # the lab went down before, and took them with it
                _delete_table(table)


def in_use() -> bool:
    """Whether any lab of this machine has its network up."""
    return any(name.startswith(PREFIX) for name in _links())


def stop_forwarding() -> None:
    """Give the machine its own setting back, once no lab is left."""
    if FORWARDING in _tables():
        IP_FORWARD.write_text("0")
        _delete_table(FORWARDING)


def free(claimed: set[int]) -> Network:
    """A network that no lab has claimed and that no route of this machine leads to."""
    routes = [
        ipaddress.ip_network(route["dst"], strict=False)
        for route in json.loads(run("ip", "-json", "-4", "route", "show", "table", "all"))
        if route["dst"] != "default"
    ]
    for number in range(1, 255):
        network = Network(number=number)
        if number not in claimed and not any(network.subnet.overlaps(route) for route in routes):
            return network
    raise UserError("no free subnet for a lab: all of 10.91.1.0/24 to 10.91.254.0/24 are in use on this machine")


def uplink_mtu() -> int:
    """The MTU of the device of the default route, in bytes: larger packets of a host would not get through."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "default"))
    return _links()[routes[0]["dev"]] if routes else 1500


def _links() -> dict[str, int]:
    """The network devices of this machine, with their MTU in bytes."""
    return {link["ifname"]: link["mtu"] for link in json.loads(run("ip", "-json", "link", "show"))}


def _tables() -> list[str]:
    listed = json.loads(run("nft", "--json", "list", "tables"))["nftables"]
    return [entry["table"]["name"] for entry in listed if "table" in entry]


def _replace_table(table: str, chains: str) -> None:
    _nft(f"table ip {table} {{}}\ndelete table ip {table}\ntable ip {table} {{\n{chains}\n}}")


def _delete_table(table: str) -> None:
    _nft(f"delete table ip {table}")


def _nft(rules: str) -> None:
    run("nft", "--file", "-", stdin=rules)
