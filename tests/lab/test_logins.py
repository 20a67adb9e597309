"""Ways of logging in: chains of jump hosts, certificates, keys of the SSH agent, security keys, what is asked for."""

import base64
import hashlib
import os
import pty
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rackhand import PROJECT
from rackhand.lab import Lab, LabHost
from tests.lab.site import TIMEOUT, Result, Site

APP = Path(__file__).parent / "small_app"
PASSWORD = "a word of the user asked"

# `asked` is let in by what is asked for alone, `twice` needs a key besides; a certificate is enough for `certified`.
SSHD = """
Match User asked
    PasswordAuthentication no
    KbdInteractiveAuthentication yes
    AuthenticationMethods keyboard-interactive
Match User worded
    AuthenticationMethods password
Match User twice
    PasswordAuthentication no
    KbdInteractiveAuthentication yes
    AuthenticationMethods publickey,keyboard-interactive
Match User certified
    TrustedUserCAKeys /etc/ssh/users_ca.pub
"""
USERS = ("asked", "worded", "twice", "certified", "keyed")

# `by_way` may become `admin`, who may become root; or `nobody`, who may not.
SUDOERS = """
Defaults!ALL !requiretty
asked,worded,twice,certified,keyed ALL=(ALL) NOPASSWD: ALL
by_way ALL=(admin,nobody) NOPASSWD: ALL
admin ALL=(root) NOPASSWD: ALL
"""


@dataclass(frozen=True)
class Hosts:
    """`gate` is reached directly, `middle` only from `gate`, `deep` only from `middle`."""

    gate: LabHost
    middle: LabHost
    deep: LabHost
    folder: Path

    def key(self, name: str, *, kind: str = "ed25519", passphrase: str = "") -> Path:
        path = self.folder / name
        if not path.exists():
            run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", name, "-f", path)
        return path


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    gate, middle, deep = lab.up(["gate", "middle", "deep"])
    for host, shut_out in ((middle, [host_of(gate)]), (deep, [host_of(gate), gate.address])):
        for address in shut_out:
            host.run(["ip", "route", "add", "blackhole", address])
            host.run(["ip", "route", "flush", "cache"])
    hosts = Hosts(gate, middle, deep, tmp_path_factory.mktemp("keys"))
    for user in (*USERS, "by_way", "admin"):
        gate.run(["useradd", "--create-home", "--shell", "/bin/bash", user])
        gate.run(["chpasswd"], input=f"{user}:{PASSWORD}\n")
    gate.run(["sh", "-c", "cat > /etc/sudoers.d/logins"], input=SUDOERS)
    authority = hosts.key("users_ca")
    gate.run(["sh", "-c", "cat > /etc/ssh/users_ca.pub"], input=authority.with_suffix(".pub").read_text())
    gate.run(["sh", "-c", "cat > /etc/ssh/sshd_config.d/logins.conf"], input=SSHD)
    gate.run(["ssh-keygen", "-A"])
    restart_sshd(gate)
    allow(gate, "twice", public(hosts.key("one")))
    allow(gate, "by_way", public(hosts.key("one")))
    allow(gate, "keyed", public(hosts.key("locked", passphrase="a phrase")))
    for badge in (hosts.key("badge"), hosts.key("badge_rsa", kind="rsa")):
        run("ssh-keygen", "-q", "-s", authority, "-I", "somebody", "-n", "certified", public_file(badge))
    return hosts


def restart_sshd(host: LabHost) -> None:
    """Returns once it listens with its new configuration, unlike a reload; as often as one likes."""
    host.run(["sh", "-c", "systemctl reset-failed ssh && systemctl restart ssh"])


def host_of(guest: LabHost) -> str:
    """The address of this machine in the lab."""
    return guest.network.address(1)


def public_file(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def public(key: Path) -> str:
    return public_file(key).read_text()


def allow(host: LabHost, user: str, line: str) -> None:
    home = f"/home/{user}/.ssh"
    host.run(["install", "-d", "-o", user, "-m", "700", home])
    host.run(["sh", "-c", f"cat >> {home}/authorized_keys && chown {user} {home}/authorized_keys"], input=line)


@pytest.fixture
def site(hosts: Hosts, lab: Lab, tmp_path: Path) -> Site:
    """Of all three hosts, without a key of the lab's."""
    site = Site(tmp_path, lab, [hosts.gate, hosts.middle, hosts.deep], APP)
    site.variables = {"ansible_become": True}
    return site


def facts(site: Site, user: str, *options: str, host: str = "gate", **environment: str) -> Result:
    """Asks a host for its facts, as this user, with these options of SSH and nothing of this machine's."""
    known = ("-F", "/dev/null", "-o", f"UserKnownHostsFile={site.lab.known_hosts}")
    site.variables |= {"ansible_user": user, "ansible_ssh_common_args": " ".join((*known, *options))}
    site.write()
    return site.invoke("facts", "--host", host, environment={"SSH_AUTH_SOCK": "", **environment})


def let_in(result: Result) -> None:
    assert result.code == 0, result.out + result.err
    assert "python" in result.out


def refused(result: Result, *words: str) -> None:
    assert result.code == 4, result.out + result.err
    assert "Traceback" not in result.err
    assert [word for word in words if word not in result.err] == [], result.err


# Jump hosts


@pytest.mark.parametrize("way", ["on the command line", "of a jump host's own"])
def test_two_jump_hosts(site: Site, hosts: Hosts, tmp_path: Path, way: str) -> None:
    """Named together, or one by the configuration of the other."""
    config = tmp_path / "config"
    shared = f"User root\nIdentityFile {site.lab.private_key}\nUserKnownHostsFile {site.lab.known_hosts}\n"
    named = {"gate": hosts.gate.address, "middle": hosts.middle.address}
    lines = [f"Host {name}\n  HostName {address}" for name, address in named.items()]
    if way != "on the command line":
        lines.append("  ProxyJump gate")
    config.write_text("\n".join([*lines, f"Host *\n{shared}"]))
    jump = "gate,middle" if way == "on the command line" else "middle"
    site.variables |= {"ansible_user": "root", "ansible_ssh_common_args": f"-F {config} -J {jump}"}
    site.write()
    result = site.invoke("facts", "--host", "deep", "--json")
    assert result.code == 0, result.err
    assert result.events[0]["facts"]["hostname"] == "deep"


# Keys


def test_a_certificate_beside_its_key(site: Site, hosts: Hosts, tmp_path: Path) -> None:
    """It lets in whom the key alone does not."""
    badge = hosts.key("badge")
    let_in(facts(site, "certified", "-i", str(badge)))
    (tmp_path / "alone").write_bytes(badge.read_bytes())
    (tmp_path / "alone").chmod(0o600)
    refused(facts(site, "certified", "-i", str(tmp_path / "alone")), "accepts none of the keys", "it takes ")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """The socket of an SSH agent that holds nothing."""
    path = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        while not path.exists():
            assert process.poll() is None
        yield path
        process.terminate()


@pytest.mark.parametrize("name", ["badge", "badge_rsa"])
def test_a_certificate_that_the_agent_holds(site: Site, hosts: Hosts, agent: Path, name: str) -> None:
    """By itself; and when SSH's configuration names the agent."""
    run("ssh-add", "-q", hosts.key(name), SSH_AUTH_SOCK=str(agent))
    let_in(facts(site, "certified", "-o", "IdentityFile=none", SSH_AUTH_SOCK=str(agent)))
    let_in(
        facts(
            site,
            "certified",
            "-o",
            "IdentityFile=none",
            "-o",
            f"IdentityAgent={agent}",
        )
    )
    refused(facts(site, "certified", "-o", "IdentityFile=none", "-o", "IdentityAgent=none", SSH_AUTH_SOCK=str(agent)))


def test_a_certificate_for_a_key_of_the_agent(site: Site, hosts: Hosts, agent: Path, tmp_path: Path) -> None:
    """The key is in the agent, its certificate in a file, and only the public part of the key beside it."""
    badge = hosts.key("badge")
    (tmp_path / "plain").write_bytes(badge.read_bytes())
    (tmp_path / "plain").chmod(0o600)
    run("ssh-add", "-q", tmp_path / "plain", SSH_AUTH_SOCK=str(agent))
    (tmp_path / "only.pub").write_text(public(badge))
    files = ("-o", f"CertificateFile={badge}-cert.pub", "-o", f"IdentityFile={tmp_path}/only")
    let_in(facts(site, "certified", *files, "-o", "IdentitiesOnly=yes", SSH_AUTH_SOCK=str(agent)))


def test_a_key_with_a_passphrase(site: Site, hosts: Hosts, agent: Path, tmp_path: Path) -> None:
    """It is used from the agent, also when no other keys may be tried; else it is said to belong there."""
    locked = hosts.key("locked")
    options = ("-i", str(locked), "-o", "IdentitiesOnly=yes")
    refused(facts(site, "keyed", *options), f"{locked} has a passphrase: load it into the agent (ssh-add)")
    ask = tmp_path / "ask"
    ask.write_text("#!/bin/sh\necho a phrase\n")
    ask.chmod(0o755)
    run("ssh-add", "-q", locked, SSH_AUTH_SOCK=str(agent), SSH_ASKPASS=str(ask), SSH_ASKPASS_REQUIRE="force")
    let_in(facts(site, "keyed", *options, SSH_AUTH_SOCK=str(agent)))


class SecurityKey(threading.Thread):
    """An SSH agent with one security key, whose device is a program: it signs what such a device signs, which sshd
    checks as it checks that of any other."""

    KIND = b"sk-ssh-ed25519@openssh.com"

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._key = Ed25519PrivateKey.generate()
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.blob = _strings(self.KIND, raw, b"ssh:")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self.start()

    def run(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection, connection.makefile("rwb") as stream:
                while head := stream.read(4):
                    answer = self._answer(stream.read(struct.unpack(">I", head)[0]))
                    stream.write(_strings(answer))
                    stream.flush()

    def _answer(self, message: bytes) -> bytes:
        if message[0] == 11:  # which keys
            return b"\x0c" + struct.pack(">I", 1) + _strings(self.blob, b"a device")
        size = struct.unpack(">I", message[1:5])[0]
        assert message[5 : 5 + size] == self.blob
        data = message[9 + size : -4]
        # PROTOCOL.u2f of OpenSSH: that somebody has touched it, and a counter, are signed too.
        touched = b"\x01" + struct.pack(">I", 7)
        digest = hashlib.sha256(b"ssh:").digest() + touched + hashlib.sha256(data).digest()
        signature = _strings(self.KIND, self._key.sign(digest)) + touched
        return b"\x0e" + _strings(signature)


def _strings(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def test_a_security_key_that_the_agent_holds(site: Site, hosts: Hosts, tmp_path: Path) -> None:
    """Its file without the agent is told to be useless."""
    device = SecurityKey(tmp_path / "device")
    line = f"{SecurityKey.KIND.decode()} {base64.b64encode(device.blob).decode()} a device\n"
    allow(hosts.gate, "keyed", line)
    let_in(facts(site, "keyed", "-o", "IdentityFile=none", SSH_AUTH_SOCK=str(tmp_path / "device")))
    (tmp_path / "id_sk.pub").write_text(line)
    only = ("-o", f"IdentityFile={tmp_path}/id_sk", "-o", "IdentitiesOnly=yes")
    let_in(facts(site, "keyed", *only, SSH_AUTH_SOCK=str(tmp_path / "device")))
    let_in(facts(site, "keyed", "-i", str(tmp_path / "id_sk.pub"), SSH_AUTH_SOCK=str(tmp_path / "device")))
    refused(facts(site, "keyed", *only), "is a security key, and the SSH agent does not hold it")


# What is asked for


@pytest.mark.parametrize("user", ["worded", "asked"])
def test_a_password(site: Site, user: str) -> None:
    """Whether the host takes it as such, or asks questions."""
    site.variables["ansible_password"] = PASSWORD
    let_in(facts(site, user, "-o", "IdentityFile=none"))
    site.variables["ansible_password"] = f"{PASSWORD} wrong"
    wrong = facts(site, user, "-o", "IdentityFile=none")
    refused(wrong, "and ansible_password; it takes ")
    assert PASSWORD not in wrong.err


def test_a_key_and_then_a_password(site: Site, hosts: Hosts) -> None:
    """Where the host wants both."""
    site.variables["ansible_password"] = PASSWORD
    let_in(facts(site, "twice", "-i", str(hosts.key("one"))))
    del site.variables["ansible_password"]
    refused(facts(site, "twice", "-i", str(hosts.key("one"))), "it takes keyboard-interactive")


# Becoming somebody


def test_root_by_way_of_another_user(site: Site, hosts: Hosts) -> None:
    """Who may become a user that may become root, is root; and is told when that one may not."""
    key = ("-i", str(hosts.key("one")))
    site.variables["ansible_become_user"] = "admin"
    let_in(facts(site, "by_way", *key))
    site.variables["ansible_become_user"] = "nobody"
    failed = facts(site, "by_way", *key)
    assert failed.code == 2
    assert "nobody, whom ansible_become_user names, may not become root with sudo without a password" in failed.err


# Whom to trust


def trust(site: Site, *arguments: str, typed: str | None = None, host: str = "gate") -> tuple[int, str]:
    """The exit code of hosts.trust, and what it said; at a terminal if something is typed there."""
    command: list[str | Path] = [PROJECT / "invoke", "hosts.trust", "--host", host, *arguments]
    environment = {**os.environ, "RACKHAND_INVENTORY": str(site.inventory)}
    ours, theirs = pty.openpty()
    stdin = subprocess.DEVNULL if typed is None else theirs
    with subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
    ) as process:
        os.close(theirs)
        if typed is not None:
            os.write(ours, typed.encode())
        said, _ = process.communicate(timeout=TIMEOUT)
    os.close(ours)
    assert "Traceback" not in said, said
    return process.returncode, said


def fingerprint(host: LabHost, kind: str = "ed25519") -> str:
    return host.run(["ssh-keygen", "-lf", f"/etc/ssh/ssh_host_{kind}_key.pub"]).stdout.split()[1]


@pytest.fixture
def known(site: Site, tmp_path: Path) -> Path:
    """A file of known hosts that is not there yet, and is the site's."""
    known = tmp_path / "not-yet" / "known"
    options = f"-F /dev/null -o UserKnownHostsFile={known} -o HashKnownHosts=no"
    site.variables |= {
        "ansible_user": "root",
        "ansible_ssh_common_args": options,
        "ansible_ssh_private_key_file": str(site.lab.private_key),
    }
    site.write()
    return known


def test_a_key_is_trusted_by_who_says_so(site: Site, hosts: Hosts, known: Path) -> None:
    """It shows all keys, takes `yes` or the fingerprint of one for an answer, and asks no more once a key is known.
    Without a terminal it needs the fingerprint."""
    mine = fingerprint(hosts.gate)
    code, said = trust(site)
    assert (code, known.exists()) == (5, False)
    assert "run this at a terminal, or give --fingerprint" in said
    code, said = trust(site, typed="no\n")
    assert (code, known.exists()) == (2, False)
    assert [fingerprint(hosts.gate, kind) in said for kind in ("ed25519", "ecdsa", "rsa")] == [True] * 3
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in said
    code, said = trust(site, typed=f"{mine}\n")
    assert code == 0, said
    assert [line.split()[:2] for line in known.read_text().splitlines()] == [[hosts.gate.address, "ssh-ed25519"]]
    assert known.stat().st_mode & 0o777 == 0o600
    assert known.parent.stat().st_mode & 0o777 == 0o700
    assert site.invoke("facts", "--host", "gate").code == 0
    code, said = trust(site, "--fingerprint", "SHA256:other")
    assert code == 0
    assert "is known: ssh-ed25519" in said
    known.unlink()
    assert trust(site, typed="yes\n")[0] == 0
    assert len(known.read_text().splitlines()) == 3


def test_another_key_is_replaced_by_who_says_so(site: Site, hosts: Hosts, known: Path) -> None:
    """With both shown; what else is in the file stays as it is, and so does its mode."""
    theirs, mine = public(hosts.key("other_host")).split()[1], fingerprint(hosts.gate)
    old = run("ssh-keygen", "-lf", public_file(hosts.key("other_host"))).split()[1]
    known.parent.mkdir()
    kept = f"# mine\nelsewhere ssh-ed25519 {theirs}\n"
    known.write_text(f"{kept}{hosts.gate.address} ssh-ed25519 {theirs}\n")
    run("ssh-keygen", "-q", "-H", "-f", known)
    known.write_text(f"{known.read_text()}friend,{hosts.gate.address} ssh-ed25519 {theirs}\n")
    known.chmod(0o644)
    before = known.read_text()
    for arguments in (("--fingerprint", mine), ("--replace", "--fingerprint", old)):
        code, said = trust(site, *arguments)
        assert (code, known.read_text()) == (2, before), said
        assert [old in said, mine in said] == [True, True]
    code, said = trust(site, "--replace", "--fingerprint", mine)
    assert code == 0, said
    lines = known.read_text().splitlines()
    assert f"friend ssh-ed25519 {theirs}" in lines
    assert len(lines) == len(before.splitlines())  # one less, and one more
    assert known.stat().st_mode & 0o777 == 0o644
    assert site.invoke("facts", "--host", "gate").code == 0
    known.write_text(f"*.{hosts.gate.address.rpartition('.')[2]} ssh-ed25519 {theirs}\n{known.read_text()}")
    code, said = trust(site, "--fingerprint", mine)
    assert (code, f"is known: ssh-ed25519 {mine}" in said) == (0, True), said
    assert site.invoke("facts", "--host", "gate").code == 0


def test_jump_hosts_are_trusted_on_the_way(site: Site, hosts: Hosts, known: Path, tmp_path: Path) -> None:
    """Each by its own fingerprint, before anybody goes through it; names are hashed where OpenSSH would hash them."""
    config = tmp_path / "config"
    named = {"gate": hosts.gate.address, "middle": hosts.middle.address}
    lines = [f"Host {name}\n  HostName {address}" for name, address in named.items()]
    shared = f"User root\nIdentityFile {site.lab.private_key}\nUserKnownHostsFile {known}\nHashKnownHosts yes\n"
    config.write_text("\n".join([*lines, f"Host *\n{shared}"]))
    site.variables["ansible_ssh_common_args"] = f"-F {config} -J gate,middle"
    site.write()
    prints = [fingerprint(host) for host in (hosts.gate, hosts.middle, hosts.deep)]
    code, said = trust(site, "--fingerprint", prints[0], "--fingerprint", prints[2], host="deep")
    assert code == 2, said
    assert len(known.read_text().splitlines()) == 1
    code, said = trust(site, *(part for one in prints for part in ("--fingerprint", one)), host="deep")
    assert code == 0, said
    lines = known.read_text().splitlines()
    assert len(lines) == 3
    assert all(line.startswith("|1|") for line in lines)
    assert site.invoke("facts", "--host", "deep").code == 0


#: By name: how the host's key is certified, besides for `gate.example`; what is said, if it is refused.
CERTIFICATES = {
    "for the host": ((), None),
    "for another host": (("-n", "other.example"), "is for other.example, and not for gate.example"),
    "expired": (("-V", "20200101:20210101"), "has expired"),
    "for a user": (("-n", "gate.example", "no -h"), "is not one for hosts"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_host_that_an_authority_vouches_for(site: Site, hosts: Hosts, known: Path, name: str) -> None:
    """Its key need not be known; its certificate must be right in each respect."""
    options, problem = CERTIFICATES[name]
    authority = hosts.key("hosts_ca")
    key = site.folder / "host.pub"
    key.write_text(hosts.gate.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout)
    kind = () if "no -h" in options else ("-h",)
    named = () if "-n" in options else ("-n", "gate.example")
    given = [option for option in options if option != "no -h"]
    run("ssh-keygen", "-q", "-s", authority, "-I", "gate", *kind, *named, *given, key)
    certificate = (site.folder / "host-cert.pub").read_text()
    hosts.gate.run(["sh", "-c", "cat > /etc/ssh/host-cert.pub"], input=certificate)
    line = "HostCertificate /etc/ssh/host-cert.pub\n"
    hosts.gate.run(["sh", "-c", "cat > /etc/ssh/sshd_config.d/certificate.conf"], input=line)
    restart_sshd(hosts.gate)
    known.parent.mkdir()
    known.write_text(f"@cert-authority *.example,!not.example {public(authority)}")
    site.variables["ansible_ssh_common_args"] += " -o HostKeyAlias=gate.example"
    site.write()
    try:
        result = site.invoke("facts", "--host", "gate")
        if problem is None:
            let_in(result)
            known.write_text(f"{known.read_text()}@revoked * {public(authority)}")
            refused(site.invoke("facts", "--host", "gate"), "THE HOST KEY IS REVOKED")
        else:
            refused(result, f"the host key is not known (the host's certificate {problem}")
    finally:
        hosts.gate.run(["rm", "/etc/ssh/sshd_config.d/certificate.conf"])
        restart_sshd(hosts.gate)


def test_a_revoked_key(site: Site, hosts: Hosts, known: Path) -> None:
    """It is refused though it is known, before anybody logs in, and cannot be trusted again."""
    key = hosts.gate.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout
    known.parent.mkdir()
    known.write_text(f"{hosts.gate.address} {key}@revoked\t*\t{key}")
    refused(site.invoke("facts", "--host", "gate"), "THE HOST KEY IS REVOKED")
    code, said = trust(site, "--replace", "--fingerprint", fingerprint(hosts.gate))
    assert code == 4
    assert "THE HOST KEY IS REVOKED" in said
