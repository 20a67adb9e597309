"""What can cut the controller off: kept when a new connection confirms it, else put back by the host itself."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rackhand import PROJECT
from rackhand.agent import layout
from rackhand.agent.resources import sshd
from rackhand.lab import Lab, LabHost
from tests.lab.logins import logins
from tests.lab.site import Result, Site

SMALL_APP = Path(__file__).parent / "small_app"
FIREWALL = "firewall:firewall.nft"

#: Something other than sshd that leads to it, on a port that a firewall which opens sshd's ports does not open.
SIDE_DOOR = 2222
_SOCKET = f"[Socket]\nListenStream={SIDE_DOOR}\n[Install]\nWantedBy=sockets.target\n"
_PROXY = "[Service]\nExecStart=/lib/systemd/systemd-socket-proxyd 127.0.0.1:22\n"


class GuardedSite(Site):
    """A site whose one host is provisioned, without applications."""

    def __init__(self, folder: Path, lab: Lab, host: LabHost) -> None:
        super().__init__(folder, lab, [host], SMALL_APP)
        self.host = host
        self.variables["apps"] = {}
        self.write()

    def has(self, **variables: Any) -> None:
        self.variables |= variables
        self.write()

    def through_the_side_door(self, within: int) -> None:
        """The controller comes by a way that the firewall will shut."""
        alias = f" -o HostKeyAlias={self.host.address}"
        self.has(
            ansible_port=SIDE_DOOR,
            ansible_timeout=2,
            ansible_ssh_common_args=self.variables["ansible_ssh_common_args"] + alias,
            rackhand_confirm_within=within,
            rackhand_firewall={},
        )

    def provision(self) -> Result:
        return self.invoke("provision", "--host", self.host.name, "--json")

    def begin(self) -> subprocess.Popen[bytes]:
        """A provision in the background, in a session of its own."""
        return subprocess.Popen(
            [PROJECT / "invoke", "provision", "--host", self.host.name, "--json"],
            env={**os.environ, "RACKHAND_INVENTORY": str(self.inventory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    """A host that is provisioned, with no firewall but all that one needs, and with a side door."""
    (host,) = lab.up(["guard1"])
    (host.root / "etc/systemd/system/door.socket").write_text(_SOCKET)
    (host.root / "etc/systemd/system/door.service").write_text(_PROXY)
    host.run(["systemctl", "enable", "--now", "door.socket"])
    site = GuardedSite(tmp_path_factory.mktemp("guard"), lab, host)
    site.has(rackhand_firewall={})
    assert site.provision().code == 0
    return host


@pytest.fixture
def site(lab: Lab, host: LabHost, tmp_path: Path) -> Iterator[GuardedSite]:
    """A site for the host, which has neither firewall nor options of sshd before and after."""

    def bare() -> None:
        host.run(["sh", "-c", f"rm -f {layout.FIREWALL} {sshd.PATH}; nft delete table inet rackhand"], check=False)
        host.run(["systemctl", "reload", "ssh"])

    bare()
    yield GuardedSite(tmp_path, lab, host)
    bare()


def table(host: LabHost) -> str:
    """What the kernel has of the firewall."""
    return host.run(["nft", "list", "table", "inet", "rackhand"], check=False).stdout


def armed(host: LabHost) -> bool:
    return (host.root / layout.GUARD.lstrip("/")).exists()


def until(happens: Callable[[], object], within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def lets_in(host: LabHost, port: int) -> bool:
    """Whether the host answers, if only that nobody listens there."""
    try:
        with socket.create_connection((host.address, port), timeout=2):
            return True
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        return False


def put_back(host: LabHost) -> None:
    """Nothing of the firewall is left, nor of its guard, and the side door leads in."""
    assert not table(host)
    assert not (host.root / layout.FIREWALL.lstrip("/")).exists()
    assert not armed(host)
    assert not list((host.root / "var/lib/rackhand").glob("*guard*"))
    assert "rackhand-guard.timer" not in host.run(["systemctl", "list-timers", "--all"]).stdout


def kill_agents(host: LabHost) -> None:
    pids = host.run(["pgrep", "-f", "from rackhand.agent.main import main"]).stdout.split()
    host.run(["kill", "-KILL", *pids])


def test_a_good_change_is_confirmed_and_stays(site: GuardedSite, host: LabHost) -> None:
    """One connection more confirms it; a run that changes nothing needs none; after a reboot all is as it was."""
    site.has(rackhand_firewall={"allow": [8080, "192.0.2.0/24:5432"]}, rackhand_ssh={"passwords": False})
    before = logins(host)
    result = site.provision()
    assert result.code == 0, result.out + result.err
    assert result.resources("changed") == [FIREWALL, "sshd:00-rackhand.conf"]
    (confirm,) = [event for event in result.events if event["event"] == "confirm"]
    assert confirm["resources"] == [FIREWALL, "sshd:00-rackhand.conf"]
    assert logins(host) == before + 2
    assert not armed(host)
    listing = table(host)
    assert "tcp dport { 22, 80, 443, 8080 } accept" in listing
    assert "ip saddr 192.0.2.0/24 tcp dport 5432 accept" in listing
    assert "passwordauthentication no\n" in host.run(["sshd", "-T"]).stdout
    for reboot in (False, True):
        if reboot:
            host.reboot()
        before = logins(host)
        result = site.provision()
        assert (result.code, result.resources("changed")) == (0, []), result.out + result.err
        assert logins(host) == before + 1
        assert table(host) == listing
    assert [port for port in (22, 80, 443, 8080, 8081, SIDE_DOOR) if lets_in(host, port)] == [22, 80, 443, 8080]


def test_a_flushed_table_is_drift(site: GuardedSite, host: LabHost) -> None:
    """The kernel is asked, not the file."""
    site.has(rackhand_firewall={})
    assert site.provision().code == 0
    listing = table(host)
    host.run(["nft", "flush", "ruleset"])
    assert site.provision().resources("changed") == [FIREWALL]
    assert table(host) == listing


def test_a_firewall_that_shuts_the_controller_out_is_put_back(site: GuardedSite, host: LabHost) -> None:
    """The run fails and says what was put back and why; the host answers where it did, and the next run is the same."""
    site.through_the_side_door(within=8)
    for _ in range(2):
        result = site.provision()
        assert result.code == 2, result.out + result.err
        (end,) = [event for event in result.events if event["event"] == "end"]
        assert end["reason"].startswith("not confirmed over a new connection (root@")
        assert "no answer within" in end["reason"]
        assert (end["changed"], end["failed"], end["undone"]) == (0, 1, False)
        assert end["reason"].endswith(f": {FIREWALL} put back")
        put_back(host)
    assert site.invoke("facts", "--host", host.name).code == 0


def test_the_rules_before_are_the_rules_after(site: GuardedSite, host: LabHost) -> None:
    """What is put back is what the kernel had, not what the file says."""
    site.has(rackhand_firewall={"allow": [SIDE_DOOR]})
    assert site.provision().code == 0
    host.run(["nft", "add", "rule", "inet", "rackhand", "input", "tcp", "dport", "9999", "accept"])
    listing, text = table(host), (host.root / layout.FIREWALL.lstrip("/")).read_text()
    site.through_the_side_door(within=5)
    assert site.provision().code == 2
    assert table(host) == listing
    assert (host.root / layout.FIREWALL.lstrip("/")).read_text() == text


def test_options_of_sshd_that_shut_the_controller_out_are_put_back(site: GuardedSite, host: LabHost) -> None:
    """Here settings do not show as whom the controller connects, and the host finds out."""
    del site.variables["ansible_user"]
    arguments = site.variables["ansible_ssh_common_args"] + " -o User=root"
    site.has(ansible_ssh_common_args=arguments, rackhand_ssh={"root_login": False}, rackhand_confirm_within=5)
    result = site.provision()
    assert result.code == 2, result.out + result.err
    assert "the host accepts none of the keys" in result.out
    assert not (host.root / sshd.PATH.lstrip("/")).exists()
    assert site.invoke("facts", "--host", host.name).code == 0


def test_a_failure_before_the_confirmation_puts_back_at_once(site: GuardedSite, host: LabHost) -> None:
    """Here the options of sshd cannot come into effect, and the firewall before them goes with them."""
    site.has(rackhand_firewall={}, rackhand_ssh={"passwords": False}, rackhand_confirm_within=600)
    first = host.root / "etc/ssh/sshd_config.d/00-a.conf"
    first.write_text("PasswordAuthentication yes\n")
    try:
        result = site.provision()
    finally:
        first.unlink()
    assert result.code == 2, result.out + result.err
    assert result.resources("changed") == [FIREWALL]
    assert result.resources("failed") == ["sshd:00-rackhand.conf"]
    assert "PasswordAuthentication would still be yes, and nothing was replaced" in result.out
    assert f"{FIREWALL}, sshd:00-rackhand.conf put back" in result.out
    assert not [event for event in result.events if event["event"] == "confirm"]
    put_back(host)


@pytest.mark.parametrize("who", ["agent", "controller"])
def test_whoever_is_killed_the_host_puts_it_back(site: GuardedSite, host: LabHost, who: str) -> None:
    """Between the change and its confirmation, nobody is needed but the host."""
    site.through_the_side_door(within=8)
    controller = site.begin()
    until(lambda: table(host))
    if who == "agent":
        kill_agents(host)
    else:
        os.killpg(controller.pid, signal.SIGKILL)
    assert armed(host)
    controller.wait(timeout=120)
    until(lambda: not armed(host))
    put_back(host)
    assert site.invoke("facts", "--host", host.name).code == 0


def test_a_power_cut_before_the_confirmation(site: GuardedSite, host: LabHost) -> None:
    """The next boot puts back what was not confirmed, before it would matter."""
    site.through_the_side_door(within=60)
    controller = site.begin()
    until(lambda: table(host))
    assert armed(host)
    host.power_cut()
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait(timeout=60)
    host.boot()
    host.wait_ssh()
    put_back(host)
    assert host.run(["systemctl", "list-units", "--state=failed", "--no-legend"]).stdout == ""
    assert site.invoke("facts", "--host", host.name).code == 0


def test_a_second_run_waits_for_the_first_to_be_put_back(site: GuardedSite, host: LabHost, lab: Lab) -> None:
    """It builds on nothing that was not confirmed, though it could connect all the while."""
    site.through_the_side_door(within=12)
    controller = site.begin()
    until(lambda: table(host))
    kill_agents(host)
    front = GuardedSite(site.folder / "front", lab, host)
    front.has(rackhand_firewall={})
    result = front.provision()
    controller.wait(timeout=120)
    assert result.code == 0, result.out + result.err
    (notice,) = [event["text"] for event in result.events if event["event"] == "notice"]
    assert notice.startswith("an earlier run has changed how this host is reached, unconfirmed")
    assert result.resources("changed") == [FIREWALL]
    assert table(host)
    assert not armed(host)


def test_a_guard_without_a_timer_is_put_back_by_the_next_run(site: GuardedSite, host: LabHost, lab: Lab) -> None:
    """So nothing is stuck, whatever has become of the timer."""
    site.through_the_side_door(within=600)
    controller = site.begin()
    until(lambda: table(host))
    kill_agents(host)
    host.run(["systemctl", "stop", "rackhand-guard.timer"])
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait(timeout=120)
    front = GuardedSite(site.folder / "front", lab, host)
    assert front.provision().code == 0
    put_back(host)
