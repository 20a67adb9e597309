"""How Rackhand gets to a host and becomes root there, what it refuses, and what an interrupt leaves behind."""

import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from testinfra.host import Host as Eye

from rackhand import PROJECT
from rackhand.commands import ONE_INTERRUPT
from rackhand.lab import Lab, LabHost
from rackhand.settings import ConnectionSettings
from rackhand.transport.connection import close, connect
from rackhand.transport.endpoint import dial, endpoint
from tests.lab.logins import logins
from tests.lab.running import Running
from tests.lab.site import TIMEOUT, Result, Site

APP = Path(__file__).parent / "small_app"
APPS = ("one", "two")
#: Of the user `sentinel`: it may stand nowhere but in the inventory.
PASSWORD = "sEnTiNeL-word-of-a-user"
WRONG = "sEnTiNeL-word-that-is-wrong"
GATE = "/run/rackhand-test-gate"


@dataclass(frozen=True)
class Hosts:
    """`front` is reached directly, `back` only from `front`, as the SSH configuration says."""

    front: LabHost
    back: LabHost
    ssh_config: Path

    def site(self, folder: Path, lab: Lab) -> Site:
        """A site with both hosts and two small applications."""
        site = Site(folder, lab, [self.front, self.back], APP)
        site.variables["apps"] = {
            name: {"path": str(site.apps), "app": "app:app", "route": f"/{name}", "workers": 1} for name in APPS
        }
        site.hosts["back"]["ansible_ssh_common_args"] = f"-F {self.ssh_config}"
        site.write()
        return site


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    """Both deployed to, in one run."""
    front, back = lab.up(["front", "back"])
    back.run(["ip", "route", "add", "blackhole", back.network.address(1)])
    back.run(["ip", "route", "flush", "cache"])
    folder = tmp_path_factory.mktemp("hosts")
    config = folder / "ssh_config"
    config.write_text(f"""
Host gate
    HostName {front.address}
    User root
    IdentityFile {lab.private_key}
    UserKnownHostsFile {lab.known_hosts}
Host {back.address}
    ProxyJump gate
    UserKnownHostsFile {lab.known_hosts}
""")
    hosts = Hosts(front, back, config)
    hosts.site(folder, lab).deploy("all")
    front.run(["useradd", "--create-home", "--groups", "sudo", "sentinel"])
    front.run(["chpasswd"], input=f"sentinel:{PASSWORD}\n")
    front.run(["cp", "-r", "/root/.ssh", "/home/sentinel/"])
    front.run(["chown", "-R", "sentinel:", "/home/sentinel/.ssh"])
    return hosts


@pytest.fixture
def front(hosts: Hosts) -> LabHost:
    return hosts.front


@pytest.fixture
def site(hosts: Hosts, lab: Lab, tmp_path: Path) -> Site:
    return hosts.site(tmp_path, lab)


def served(host: LabHost) -> dict[str, str]:
    """By application: the release that answers through port 80."""
    answers = {app: httpx.get(f"http://{host.address}/{app}/", timeout=10) for app in APPS}
    assert {app: answer.status_code for app, answer in answers.items()} == dict.fromkeys(APPS, 200)
    return {app: answer.text for app, answer in answers.items()}


def changing(host: LabHost) -> str:
    """All that a run that changes something leaves behind: Rackhand's files with their times, and its journals."""
    return host.run(["sh", "-c", "find /opt/rackhand /var/lib/rackhand /etc -printf '%p %C@\\n' | sort"]).stdout


def new_release(site: Site, text: str, *, app: str = "one", **variables: str) -> None:
    """Has the next deploy change one application, by its environment."""
    site.variables["apps"][app]["env"] = {"TEXT": text, **variables}
    site.write()


def said(result: Result) -> str:
    """All that a command has printed, which is never a traceback."""
    printed = result.out + result.err
    assert "Traceback" not in printed, printed
    return printed


# Becoming root


@pytest.mark.parametrize("pty", ["use_pty", "!use_pty"])
@pytest.mark.parametrize(("user", "password"), [("deployer", None), ("operator", "lab-operator")])
def test_a_user_with_sudo_deploys(site: Site, front: LabHost, user: str, password: str | None, pty: str) -> None:
    """Without a password and with one, whether or not sudo gives its programs a terminal of their own."""
    site.hosts["front"] |= {"ansible_user": user, "ansible_become": True}
    if password is not None:
        site.hosts["front"]["ansible_become_password"] = password
    new_release(site, f"{user} {pty}")
    before = served(front)
    front.run(["sh", "-c", f"echo 'Defaults {pty}' > /etc/sudoers.d/pty"])
    result = site.deploy("front")
    said(result)
    assert served(front)["one"] != before["one"]
    front.run(["rm", "/etc/sudoers.d/pty"])


#: By name: the connection's variables, the exit code, and what is said.
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "not root": ({"ansible_user": "deployer"}, 2, "not root on the host: set ansible_become: true, or connect as root"),
    "no password": (
        {"ansible_user": "operator", "ansible_become": True},
        4,
        "the agent did not start: sudo: a password is required: set ansible_become_password",
    ),
    "a wrong password": (
        {"ansible_user": "sentinel", "ansible_become": True, "ansible_become_password": WRONG},
        4,
        "sudo refused the password: check ansible_become_password",
    ),
    "no such user": ({"ansible_user": "nobodyatall"}, 4, "the host accepts none of the keys"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_who_cannot_become_root_is_refused(site: Site, front: LabHost, name: str) -> None:
    """With one line that says what to do; nothing on the host has changed, and a wrong password is repeated nowhere."""
    variables, code, words = REFUSED[name]
    site.hosts["front"] |= variables
    new_release(site, f"of {name}")
    before = changing(front)
    result = site.invoke("deploy", "--host", "front")
    assert result.code == code
    assert len([line for line in said(result).splitlines() if words in line]) == 1, said(result)
    assert changing(front) == before
    assert WRONG not in said(result)
    assert WRONG not in whereabouts(front)


@pytest.mark.parametrize("pty", ["use_pty", "!use_pty"])
@pytest.mark.parametrize("user", ["deployer", "operator"])
def test_sudo_that_wants_a_terminal_gets_one(site: Site, front: LabHost, user: str, pty: str) -> None:
    """What is sent goes past it, since a terminal would mangle it."""
    site.hosts["front"] |= {"ansible_user": user, "ansible_become": True}
    if user == "operator":
        site.hosts["front"]["ansible_become_password"] = "lab-operator"
    site.write()
    front.run(["sh", "-c", f"echo 'Defaults requiretty, {pty}' > /etc/sudoers.d/tty"])
    try:
        new_release(site, f"a terminal for {user} {pty}")
        result = site.invoke("deploy", "--host", "front", "--json")
        assert result.code == 0, said(result)
        assert "instance:one" in str(result.resources("changed"))
        assert greetings(result) == 1  # though it was connected to twice
        site.hosts["front"]["ansible_become_password"] = WRONG
        site.write()
        if user == "operator":
            assert "sudo refused the password" in said(site.invoke("facts", "--host", "front"))
    finally:
        front.run(["rm", "/etc/sudoers.d/tty"])


def whereabouts(host: LabHost) -> str:
    """Where a password could leak to: the command lines and environments of the host's processes, its journal, its
    logs and Rackhand's files, and on the controller the records of the runs."""
    processes = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    journal = "journalctl --no-pager --all --output=export"
    files = "find /var/log /var/lib/rackhand /opt/rackhand /run /tmp /etc/systemd /etc/nginx -type f -size -9M"
    eyes = f"{processes}; {journal}; {files} -not -path '*/journal/*' -exec cat {{}} +"
    return host.run(["sh", "-c", eyes], check=False).stdout + "".join(
        path.read_text() for path in (PROJECT / ".runs").glob("*")
    )


def test_a_password_is_seen_nowhere(site: Site, front: LabHost) -> None:
    """Looked for while sudo and the agent run in the middle of a deploy, and after it."""
    front.run(["rm", "-f", GATE])
    become = {"ansible_user": "sentinel", "ansible_become": True, "ansible_become_password": PASSWORD}
    site.hosts["front"] |= become
    new_release(site, "by the sentinel", WAIT_FOR=GATE)
    with Running(site, "front", "--diff") as run:
        run.until("begin", lambda event: event["id"].startswith("instance:one/"))
        assert "sudo" in front.run(["ps", "-eo", "comm"]).stdout
        assert PASSWORD not in whereabouts(front)
        assert PASSWORD not in Path(f"/proc/{run.process.pid}/cmdline").read_text()
        front.run(["touch", GATE])
        result = run.end()
    assert result.code == 0
    assert PASSWORD not in said(result)
    assert PASSWORD not in whereabouts(front)


# On the way there


def test_a_jump_host(site: Site, hosts: Hosts, eye: Callable[[LabHost], Eye]) -> None:
    """A host that nobody but the jump host can reach was deployed to through it, and is again."""
    with pytest.raises(OSError, match="timed out"):
        socket.create_connection((hosts.back.address, 22), timeout=1)

    def running() -> str:
        ssh = f"ssh -i /root/key -o StrictHostKeyChecking=no root@{hosts.back.address}"
        release: str = eye(hosts.front).check_output(f"{ssh} readlink /opt/rackhand/current/one/release")
        return release

    hosts.front.run(["sh", "-c", "cat > /root/key && chmod 600 /root/key"], input=site.lab.private_key.read_text())
    before = running()
    assert "releases/" in before
    new_release(site, "through the jump host")
    said(site.deploy("back"))
    assert running() != before


def test_a_proxy_command(site: Site, hosts: Hosts) -> None:
    """Run as OpenSSH runs it: by a shell, with its tokens replaced."""
    command = f"ssh -F {hosts.ssh_config} -W %h:%p gate 2>/dev/null"
    site.hosts["back"]["ansible_ssh_common_args"] = f"-F /dev/null -o 'ProxyCommand={command}'"
    site.hosts["back"]["ansible_ssh_extra_args"] = f"-o UserKnownHostsFile={site.lab.known_hosts}"
    site.write()
    result = site.invoke("facts", "--host", "back", "--json")
    assert result.code == 0, said(result)
    assert result.events[0]["facts"]["hostname"] == "back"


@pytest.fixture(params=["a jump host", "a proxy command"])
def behind(request: pytest.FixtureRequest, hosts: Hosts, lab: Lab) -> str:
    """Options by which `back` is reached in this way."""
    if request.param == "a jump host":
        return f"-F {hosts.ssh_config}"
    command = f"ssh -F {hosts.ssh_config} -W %h:%p gate 2>/dev/null"
    return f"-F /dev/null -o 'ProxyCommand={command}' -o UserKnownHostsFile={lab.known_hosts}"


@contextmanager
def off_the_network(host: LabHost) -> Iterator[None]:
    """Nothing gets to it or comes from it, and nobody is told."""
    host.run(["ip", "link", "set", "host0", "down"])
    try:
        yield
    finally:
        host.run(["ip", "link", "set", "host0", "up"])


def test_silence_is_ended_by_a_host_that_is_gone_and_by_no_other(lab: Lab, hosts: Hosts, behind: str) -> None:
    """Where a jump host or a program takes what is sent whether or not the host is still there."""
    options = f"{behind} -l root -i {lab.private_key} -o ServerAliveInterval=1 -o ServerAliveCountMax=5"
    where = endpoint(ConnectionSettings(host=hosts.back.address, ssh_common_args=tuple(shlex.split(options))))
    connection = connect(where, dial(where))
    try:
        time.sleep(10)  # longer than one that does not answer has
        assert connection.run("echo hello", hide=True, in_stream=False).stdout == "hello\n"
        with off_the_network(hosts.back):
            connection.transport.join(60)
        assert not connection.transport.is_alive()
    finally:
        close(connection)


def test_a_host_has_greeted_when_it_has_itself(site: Site, hosts: Hosts, behind: str) -> None:
    """The way to it says nothing of it."""
    site.hosts["back"] |= {"ansible_ssh_common_args": behind, "ansible_timeout": 3}
    site.write()
    result = site.invoke("plan", "--host", "back", "--json")
    assert result.code == 0, said(result)
    assert greetings(result) == 1
    with off_the_network(hosts.back):
        result = site.invoke("plan", "--host", "back", "--json")
    assert result.code == 4, said(result)
    assert greetings(result) == 0


def greetings(result: Result) -> int:
    return sum(event["event"] == "greeted" for event in result.events)


class Forwarder:
    """A port of this machine that leads to a host's sshd, from when it is opened on."""

    def __init__(self, host: LabHost) -> None:
        self._target = (host.address, 22)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._opened = threading.Event()
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def open(self) -> Self:
        self._opened.set()
        return self

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            self._opened.wait()
            far = socket.create_connection(self._target)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(2**16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()


@pytest.fixture
def forwarder(front: LabHost) -> Iterator[Forwarder]:
    forwarder = Forwarder(front)
    yield forwarder
    forwarder.close()


WAYS = ("directly", "on another port", "behind a jump host", "as a jump host")


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_host_key(site: Site, hosts: Hosts, forwarder: Forwarder, tmp_path: Path, way: str) -> None:
    """It is refused before anybody is let in, with the key's fingerprint; the command in the message makes this key
    known, for whoever has seen that fingerprint, and the next run works."""
    known = tmp_path / "not-yet" / "known_hosts"
    asked = "back" if "jump" in way else "front"
    keyed = hosts.back if way == "behind a jump host" else hosts.front
    if way == "as a jump host":
        config = tmp_path / "config"
        config.write_text(hosts.ssh_config.read_text().replace(str(site.lab.known_hosts), str(known), 1))
        site.hosts["back"]["ansible_ssh_common_args"] = f"-F {config}"
    elif way == "behind a jump host":
        site.hosts["back"]["ansible_ssh_extra_args"] = f"-o UserKnownHostsFile={known}"
    else:
        site.hosts["front"]["ansible_ssh_common_args"] = f"-o UserKnownHostsFile={known}"
    if way == "on another port":
        site.hosts["front"] |= {"ansible_host": "127.0.0.1", "ansible_port": forwarder.open().port}
    site.write()
    before = logins(keyed)
    result = site.invoke("facts", "--host", asked)
    assert result.code == 4
    fingerprint = keyed.run(["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout.split()[1]
    assert f"the host key is not known: ssh-ed25519 {fingerprint}" in said(result)
    assert logins(keyed) == before
    (command,) = re.findall(r"then: ./invoke (.*)", result.err)
    trusted = site.invoke(*command.split(), "--fingerprint", fingerprint)
    assert trusted.code == 0, said(trusted)
    key = keyed.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout.split()[1]
    assert [line.split()[2] for line in known.read_text().splitlines()] == [key]
    assert site.invoke("facts", "--host", asked).code == 0
    # One's way through a jump host was made to see the other's key.
    assert logins(keyed) == before + (2 if way == "as a jump host" else 1)


def test_a_changed_host_key(site: Site, front: LabHost, tmp_path: Path) -> None:
    """It is refused before anybody is let in, naming both fingerprints; the command in the message puts the new key
    in the place of the old, for whoever has seen its fingerprint."""
    own = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", own], check=True)
    known = tmp_path / "known_hosts"
    known.write_text(f"{front.address} {own.with_suffix('.pub').read_text()}")
    site.hosts["front"]["ansible_ssh_common_args"] = f"-o UserKnownHostsFile={known}"
    new_release(site, "into wrong hands")
    prints = [
        subprocess.run(["ssh-keygen", "-lf", "/dev/stdin"], input=key, capture_output=True, text=True, check=True)
        for key in (own.with_suffix(".pub").read_text(), front.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout)
    ]
    expected, found = (done.stdout.split()[1] for done in prints)
    before, served_before, let_in = changing(front), served(front), logins(front)
    result = site.invoke("deploy", "--host", "front")
    assert result.code == 4
    assert f"THE HOST KEY HAS CHANGED: {found} instead of {expected}" in said(result)
    assert (changing(front), served(front), logins(front)) == (before, served_before, let_in)
    (command,) = re.findall(r"Only if you know why it changed: ./invoke (.*)", result.out)
    assert site.invoke(*command.split(), "--fingerprint", expected).code == 2
    assert own.with_suffix(".pub").read_text() in known.read_text()
    trusted = site.invoke(*command.split(), "--fingerprint", found)
    assert trusted.code == 0, said(trusted)
    assert (expected in said(trusted), found in said(trusted)) == (True, True)
    assert site.invoke("facts", "--host", "front").code == 0


def test_known_hosts_as_openssh_reads_them(site: Site, front: LabHost, tmp_path: Path) -> None:
    """A key may be known by an alias, in a second file, hashed, and beside lines that make no sense."""
    kind, key = front.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout.split()[:2]
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(f"nonsense\nother ssh-ed25519 AAAA\nother ssh-ed25519 AAA\nother unknown-kind {key}\n")
    second.write_text(f"alias {kind} {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", second], check=True, capture_output=True)
    site.hosts["front"]["ansible_ssh_common_args"] = f"-o 'UserKnownHostsFile={first} {second}' -o HostKeyAlias=alias"
    site.write()
    result = site.invoke("facts", "--host", "front")
    assert result.code == 0, said(result)


def test_a_login_shell_that_talks(site: Site, front: LabHost) -> None:
    """What it prints before the agent's first word is passed over."""
    front.run(["sh", "-c", "cp -p /root/.bashrc /root/.bashrc.own; echo 'echo hello; printf there' > /root/.bashrc"])
    try:
        result = site.invoke("facts", "--host", "front", "--json")
        assert result.code == 0, said(result)
        assert result.events[0]["facts"]["hostname"] == "front"
    finally:
        front.run(["mv", "/root/.bashrc.own", "/root/.bashrc"])


# Unreachable


@pytest.fixture
def nobody(front: LabHost) -> Iterator[dict[str, tuple[dict[str, Any], str]]]:
    """By name: where nobody answers, and what is said of it."""
    with ExitStack() as stack:
        silent, rude = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))

        def hang_up() -> None:
            while True:
                try:
                    rude.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        stack.callback(rude.shutdown, socket.SHUT_RDWR)
        local = {"ansible_host": "127.0.0.1"}
        yield {
            "no-host": ({"ansible_host": front.network.address(250)}, "is the host up"),
            "closed": ({"ansible_host": front.address, "ansible_port": 2}, "connection refused: is the host up"),
            "silent": ({**local, "ansible_port": silent.getsockname()[1]}, "no answer within 2 s"),
            "rude": ({**local, "ansible_port": rude.getsockname()[1]}, "does not greet as SSH does"),
            "no-name": ({"ansible_host": "no-such-host.invalid"}, "not known"),
        }


def test_unreachable_hosts_stop_nobody_else(
    site: Site, front: LabHost, nobody: Mapping[str, tuple[dict[str, Any], str]]
) -> None:
    """Each is told with its reason, within the timeout; the others are deployed to, and the exit code says both."""
    del site.hosts["back"]
    site.hosts |= {name: where | {"ansible_timeout": 2} for name, (where, _) in nobody.items()}
    new_release(site, "in spite of all")
    before = served(front)
    result = site.invoke("deploy", "--host", "all", "--json")
    assert result.code == 4
    assert result.err == ""
    assert served(front)["one"] != before["one"]
    recap = result.events[-1]["hosts"]
    assert recap["front"]["unreachable"] == 0
    assert recap["front"]["changed"] > 0
    for name, (_, reason) in nobody.items():
        assert recap[name]["unreachable"] == 1
        assert recap[name]["state"] == "unreachable, untouched"
        assert reason in recap[name]["reason"]
        # The timeout is for each step of a connection, of which an unanswered one has two at most.
        assert recap[name]["seconds"] < 10

    site.hosts["failing"] = {"ansible_host": front.address, "ansible_user": "deployer"}
    site.write()
    both = site.invoke("deploy", "--host", "failing,closed")
    assert both.code == 6, said(both)


# This machine


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="this machine is one that can be managed")
def test_this_machine_is_refused_without_systemd(site: Site) -> None:
    """A local connection comes as far as the agent, which says why it does not go on."""
    site.variables["ansible_connection"] = "local"
    site.write()
    result = site.invoke("facts", "--host", "front")
    assert result.code == 2
    assert said(result) == "front: systemd is not running as init: Rackhand manages services through it\n"
    result = site.invoke("plan", "--host", "front", "--json")
    assert [event["event"] for event in result.events if "host" in event] == ["connecting", "greeted", "error"]


def test_a_local_connection(site: Site, front: LabHost) -> None:
    """Rackhand on the host itself, as root and through sudo, with no SSH at all."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the environment of this machine has to work with the host's Python, which is 3.11")
    home = front.root / "home/sentinel/rackhand"
    shutil.copytree(PROJECT, home, ignore=shutil.ignore_patterns(".*", "tests", "__pycache__", "benchmarks"))
    packages = next((PROJECT / ".venv/lib").glob("python3*/site-packages"))
    shutil.copytree(packages, home / "packages", ignore=shutil.ignore_patterns("mypy*", "ruff*", "uv*", "__pycache__"))
    front.run(["chown", "-R", "sentinel:", "/home/sentinel/rackhand"])
    inventory = home / "here.yml"
    inventory.write_text("all:\n  hosts: {here: {ansible_connection: local}}\n")
    command = ["env", "PYTHONPATH=packages:.", "python3", "-c", "from rackhand.cli import main; main()", "facts"]
    options = ["--host", "here", "--inventory", "here.yml"]
    before = logins(front)

    def run(user: str, *extra: str) -> Result:
        sudo = ["runuser", "-u", user, "--", "env", "-C", "/home/sentinel/rackhand", *command, *options, *extra]
        done = front.run(sudo, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    assert "hostname             front" in said(run("root"))
    refused = run("sentinel")
    assert refused.code == 2
    assert "not root on the host: set ansible_become: true" in said(refused)
    with inventory.open("a") as file:
        file.write(f"  vars: {{ansible_become: true, ansible_become_password: {PASSWORD}}}\n")
    sudo = run("sentinel")
    assert sudo.code == 0, said(sudo)
    assert "hostname             front" in said(sudo)
    inventory.write_text(inventory.read_text().replace(PASSWORD, WRONG))
    wrong = run("sentinel")
    assert wrong.code == 4
    assert "sudo refused the password" in said(wrong)
    assert logins(front) == before


# The command line


#: By what is typed: the one line that is answered.
MISTYPED = {
    "facts": "--host is missing: name a host, a group or a pattern; --host all means every host, in words",
    "deploy": "--host is missing: name a host, a group or a pattern; --host all means every host, in words",
    "deploy --host frnot": "'frnot': no host or group of the inventory has this name (did you mean \"front\"?)",
    "deploy --host all --limit bakc": "'bakc': no host or group of the inventory has this name",
    "deploy --host front:!front": "'front:!front': selects no host",
    "deploy --hots front": "No idea what '--hots' is!",
    "deploy --host front --app three": "--app three: front has no application of this name (it has: one, two)",
    "deploy --host front --forks 0": "--forks should be 1 or more, got 0",
    "facts --host": "needed value and was not given one",
    "deplyo --host front": "No idea what 'deplyo' is!",
}


@pytest.mark.parametrize("typed", MISTYPED)
def test_a_mistyped_command_ends_with_5(site: Site, front: LabHost, typed: str) -> None:
    """One line says what is wrong, before any host is connected to."""
    before = logins(front)
    result = site.invoke(*typed.split())
    assert result.code == 5
    assert MISTYPED[typed] in said(result)
    assert len(said(result).replace("see: invoke --list, invoke --help COMMAND\n", "").splitlines()) == 1
    assert logins(front) == before


# Interrupts


@pytest.fixture
def held(site: Site, front: LabHost) -> Site:
    """A deploy of it stops in the middle of the preparations: the new release of the first application is not fit to
    serve until the gate is there."""
    front.run(["rm", "-f", GATE])
    new_release(site, f"held {time.time()}", WAIT_FOR=GATE)
    return site


def holding(run: Running) -> str:
    """The release that does not become fit to serve, once its instance is waited for."""
    event = run.until("begin", lambda event: event["id"].startswith("instance:one/"))
    return str(event["id"].partition("/")[2])


def ended_run(host: LabHost, run: str) -> str:
    """The last event in the host's own journal of a run that goes on without its controller."""
    deadline = time.monotonic() + 60
    while '"event":"end"' not in (journal := host.run(["cat", f"/var/lib/rackhand/runs/{run}.jsonl"]).stdout):
        assert time.monotonic() < deadline, journal
        time.sleep(0.1)
    return journal.splitlines()[-1]


def test_ctrl_c_in_the_middle(held: Site, front: LabHost, eye: Callable[[LabHost], Eye]) -> None:
    """The run ends with 99 before the switch and says what state the host is in; what it had started is gone, the old
    release serves; the next run finishes the work."""
    before = served(front)
    with Running(held, "front") as run:
        release = holding(run)
        run.interrupt()
        run.until("interrupt")
        front.run(["touch", GATE])
        result = run.end()
    assert result.code == 99, said(result)
    recap = result.events[-1]["hosts"]["front"]
    assert recap["outcome"] == "interrupted"
    assert recap["state"].startswith("interrupted before the switch: what served before goes on serving")
    assert result.events[-1]["exit_code"] == 99
    assert served(front) == before
    assert f"rackhand-one@{release}" not in eye(front).check_output("systemctl list-units --state=active")
    said(held.deploy("front"))
    assert served(front)["one"] == release
    assert held.deploy("front").resources("changed") == []


def test_a_second_ctrl_c(held: Site, front: LabHost) -> None:
    """It ends the run at once, while the host still works; the next run waits for the host and finishes the work."""
    before = served(front)
    with Running(held, "front") as run:
        release = holding(run)
        run.interrupt()
        run.until("interrupt")
        time.sleep(ONE_INTERRUPT)  # sooner, it would be the same one
        run.interrupt()
        result = run.end()
    assert result.code == 99, said(result)
    assert "run the same command again" in result.events[-1]["hosts"]["front"]["state"]
    assert served(front) == before
    with Running(held, "front") as again:
        again.until("notice", lambda event: "waiting" in event["text"])
        front.run(["touch", GATE])
        finished = again.end()
    assert finished.code == 0, said(finished)
    assert ended_run(front, result.events[0]["run"])
    assert served(front)["one"] == release


def test_a_controller_that_is_killed(held: Site, front: LabHost) -> None:
    """The host goes on by itself, to the end, under sudo too."""
    held.hosts["front"] |= {"ansible_user": "deployer", "ansible_become": True}
    held.write()
    with Running(held, "front") as run:
        release = holding(run)
        run.process.kill()
        (started,) = Result(0, run.lines[0], "").events
    front.run(["touch", GATE])
    assert '"interrupted":false,"reason":null' in ended_run(front, started["run"])
    assert served(front)["one"] == release
    assert held.deploy("front").resources("changed") == []


def test_a_host_behind_another_that_falls_silent(site: Site, hosts: Hosts, behind: str) -> None:
    """It is noticed long before it would be by what the agent owes. The host goes on; the next run finds nothing left
    to do."""
    site.hosts["back"]["ansible_ssh_common_args"] = f"{behind} -o ServerAliveInterval=5"
    site.variables["apps"]["one"]["health_timeout"] = TIMEOUT
    hosts.back.run(["rm", "-f", GATE])
    new_release(site, f"by {behind}", WAIT_FOR=GATE)
    with Running(site, "back") as run:
        holding(run)
        with off_the_network(hosts.back):
            result = run.end()
    assert result.code == 4, said(result)
    recap = result.events[-1]["hosts"]["back"]
    assert "the connection broke" in recap["reason"]
    assert "run the same command again to see how it ended" in recap["state"]
    hosts.back.run(["touch", GATE])
    assert '"interrupted":false,"reason":null' in ended_run(hosts.back, result.events[0]["run"])
    assert site.deploy("back").resources("changed") == []


def test_ctrl_c_while_connecting(held: Site, front: LabHost, forwarder: Forwarder) -> None:
    """A host that answers only after the interrupt is left alone."""
    held.hosts["front"] |= {"ansible_host": "127.0.0.1", "ansible_port": forwarder.port}
    held.hosts["front"]["ansible_ssh_extra_args"] = f"-o HostKeyAlias={front.address}"
    held.write()
    before = changing(front)
    with Running(held, "front") as run:
        run.until("connecting")
        run.interrupt()
        run.until("interrupt")
        forwarder.open()
        result = run.end()
    assert result.code == 99, said(result)
    assert result.events[-1]["hosts"]["front"]["state"] == "interrupted before anything was changed"
    assert changing(front) == before


def test_ctrl_c_while_looking(site: Site) -> None:
    """A command that changes nothing ends at once, also when a host does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(TIMEOUT)
        local = {"ansible_host": "127.0.0.1", "ansible_port": silent.getsockname()[1]}
        site.hosts["front"] |= local | {"ansible_timeout": 10 * TIMEOUT}
        site.write()
        with Running(site, "front", command="facts") as run, silent.accept()[0]:
            run.interrupt()
            result = run.end()
    assert result.code == 99
    assert said(result) == "interrupted\n"
