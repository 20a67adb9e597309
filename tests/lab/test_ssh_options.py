"""Options of SSH's configuration mean what they mean to OpenSSH: on connections to a real sshd."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from rackhand.lab import Lab, LabHost
from rackhand.settings import ConnectionSettings
from rackhand.transport import KeyRefused, Unreachable
from rackhand.transport.connection import close, connect
from rackhand.transport.endpoint import Endpoint, dial, endpoint


def of(lab: Lab, host: LabHost, *options: str, name: str | None = None) -> Endpoint:
    """How a host is reached, with these options before those of the lab: of each, the first counts."""
    own = (
        "User=root",
        "IdentitiesOnly=yes",
        f"IdentityFile={lab.private_key}",
        f"UserKnownHostsFile={lab.known_hosts}",
    )
    arguments = ("-F", "/dev/null", *(part for option in (*options, *own) for part in ("-o", option)))
    return endpoint(ConnectionSettings(host=name or host.address, ssh_common_args=arguments))


@contextmanager
def connected(where: Endpoint) -> Iterator[paramiko.Transport]:
    connection = connect(where, dial(where))
    try:
        assert connection.run("echo hello", hide=True, in_stream=False).stdout == "hello\n"
        yield connection.transport
    finally:
        close(connection)


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    """With keys of all kinds."""
    (host,) = lab.up(["keyed"])
    host.run(["ssh-keygen", "-A"])
    host.run(["systemctl", "restart", "ssh"])  # returns once it listens, unlike `reload`
    return host


@pytest.fixture
def both_keys(lab: Lab, host: LabHost, tmp_path: Path) -> Path:
    """A file that knows the host's keys of two kinds."""
    known = tmp_path / "both"
    kinds = ("ecdsa", "ed25519")
    keys = [host.run(["cat", f"/etc/ssh/ssh_host_{kind}_key.pub"]).stdout for kind in kinds]
    known.write_text("".join(f"{host.address} {key}" for key in keys))
    return known


# Algorithms


@pytest.mark.parametrize(
    ("option", "attribute", "expected"),
    [
        ("Ciphers=aes256-gcm@openssh.com,aes256-ctr", "remote_cipher", {"aes256-gcm@openssh.com", "aes256-ctr"}),
        ("Ciphers=^aes128-gcm@openssh.com", "remote_cipher", {"aes128-ctr", "aes128-gcm@openssh.com"}),
        ("Ciphers=aes192-ctr", "remote_cipher", {"aes192-ctr"}),
        ("MACs=hmac-sha2-512-etm@openssh.com", "remote_mac", {"hmac-sha2-512-etm@openssh.com"}),
        ("KexAlgorithms=ecdh-sha2-nistp384", "preferred_kex", {"ecdh-sha2-nistp384"}),
        ("KexAlgorithms=curve25519-sha256", "preferred_kex", {"curve25519-sha256@libssh.org"}),
        ("Compression=yes", "remote_compression", {"zlib@openssh.com"}),
        ("Compression=no", "remote_compression", {"none"}),
    ],
)
def test_a_connection_is_made_of_what_is_allowed(
    lab: Lab, host: LabHost, option: str, attribute: str, expected: set[str]
) -> None:
    with connected(of(lab, host, option)) as transport:
        found = getattr(transport, attribute)
        assert ({found} if isinstance(found, str) else {*found}) <= expected


def test_nothing_is_weaker_than_openssh_allows_by_default(lab: Lab, host: LabHost) -> None:
    with connected(of(lab, host)) as transport:
        kinds = (transport.preferred_ciphers, transport.preferred_macs)
        weak = [name for names in kinds for name in names if "cbc" in name or "md5" in name]
        quantum = [name for name in transport.preferred_kex if "mlkem" in name]
    assert weak == []
    assert quantum, "OpenSSH has one of these, even if it is too old for this one"


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"), ("ssh-ed25519", "ssh-ed25519"), (None, "ecdsa-sha2-nistp256")],
)
def test_a_host_shows_a_key_that_is_known_and_allowed(
    lab: Lab, host: LabHost, both_keys: Path, kinds: str | None, expected: str
) -> None:
    """Any of those that are known; of one that is known alone, that one."""
    options = [f"UserKnownHostsFile={both_keys}"]
    if kinds is None:
        both_keys.write_text("".join(line for line in both_keys.open() if "ecdsa" in line))
    else:
        options.append(f"HostKeyAlgorithms={kinds}")
    with connected(of(lab, host, *options)) as transport:
        assert transport.host_key_type == expected


def test_any_of_the_keys_that_are_known_will_do(lab: Lab, host: LabHost, both_keys: Path, tmp_path: Path) -> None:
    """As when a host's key is about to be replaced, in one file or in two."""
    another = paramiko.ECDSAKey.generate()
    other = tmp_path / "other"
    other.write_text(f"{host.address} {another.get_name()} {another.get_base64()}\n")
    for files in (f"{other} {both_keys}", f"{both_keys} {other}"):
        with connected(of(lab, host, f"UserKnownHostsFile={files}", "HostKeyAlgorithms=ecdsa-sha2-nistp256")):
            pass
    with pytest.raises(KeyRefused, match="THE HOST KEY HAS CHANGED"):
        connect(where := of(lab, host, f"UserKnownHostsFile={other}"), dial(where))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("Ciphers=chacha20-poly1305@openssh.com",),
            "allows no Ciphers that Rackhand knows: it needs one of aes128-ctr",
        ),
        (("PubkeyAcceptedAlgorithms=rsa-sha2-256",), "PubkeyAcceptedAlgorithms leaves out ssh-ed25519"),
        (
            ("PKCS11Provider=/usr/lib/none.so", "PubkeyAcceptedAlgorithms=rsa-sha2-256"),
            r"the keys of /usr/lib/none.so are used through the SSH agent \(ssh-add -s\)",
        ),
    ],
)
def test_what_cannot_be_is_said(lab: Lab, host: LabHost, options: tuple[str, ...], said: str) -> None:
    where = of(lab, host, *options)
    with pytest.raises(Unreachable, match=said):
        connect(where, dial(where))


# The way


def test_the_way_out_of_this_machine(lab: Lab, host: LabHost) -> None:
    """By the family of addresses, the address and the device that are named."""
    bridge, own = host.network.bridge, host.network.address(1)
    for option in ("AddressFamily=inet", f"BindAddress={own}", f"BindInterface={bridge}"):
        dialled = dial(of(lab, host, option))
        assert isinstance(dialled, socket.socket), dialled
        with dialled:
            assert dialled.getsockname()[0] == own
    for option in ("AddressFamily=inet6", "BindAddress=127.0.0.1", "BindInterface=lo"):
        assert isinstance(dial(of(lab, host, option, "ConnectTimeout=2")), OSError), option


def test_a_host_that_is_not_there_yet_is_tried_again() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

        def where(attempts: int) -> Endpoint:
            options = ("-F", "/dev/null", "-p", str(port), "-o", f"ConnectionAttempts={attempts}")
            return endpoint(ConnectionSettings(host="127.0.0.1", ssh_common_args=options))

        assert isinstance(dial(where(1)), ConnectionRefusedError)

        def there_soon() -> None:
            time.sleep(0.5)
            server.listen()

        thread = threading.Thread(target=there_soon)
        thread.start()
        dialled = dial(where(30))
        thread.join()
        assert isinstance(dialled, socket.socket)
        dialled.close()


_HANDS_OVER = """
import socket, sys
made = socket.create_connection((sys.argv[1], int(sys.argv[2])))
socket.send_fds(socket.socket(fileno=1), [b"x"], [made.fileno()])
"""


def test_a_program_that_hands_over_a_connection(lab: Lab, host: LabHost, tmp_path: Path) -> None:
    script = tmp_path / "hands over.py"
    script.write_text(_HANDS_OVER)
    command = f"{sys.executable} '{script}' %h %p"
    with connected(of(lab, host, "ProxyUseFdpass=yes", f"ProxyCommand={command}")) as transport:
        assert isinstance(transport.sock, socket.socket)
        assert transport.sock.getpeername() == (host.address, 22)
    with pytest.raises(Unreachable, match="the ProxyCommand has handed over no connection"):
        connect(where := of(lab, host, "ProxyUseFdpass=yes", "ProxyCommand=true"), dial(where))


# Who it is


def asking(folder: Path, body: str) -> str:
    """The options with a program that is asked for the keys of hosts, and notes what it is asked."""
    program = folder / "known"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{body}\n')
    program.chmod(0o755)
    return f"KnownHostsCommand={program} %I %H %t %f %p %r"


def test_a_program_is_asked_for_the_keys_of_hosts(lab: Lab, host: LabHost, tmp_path: Path) -> None:
    """Once for the kinds that it knows, and once about the key that the host has shown."""
    key = host.run(["cat", "/etc/ssh/ssh_host_ecdsa_key.pub"]).stdout.strip()
    shown = host.run(["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ecdsa_key.pub"]).stdout.split()[1]
    option = asking(tmp_path, f"echo '*.example,{host.address} {key}'")
    with connected(of(lab, host, option, "UserKnownHostsFile=/dev/null")) as transport:
        assert transport.host_key_type == "ecdsa-sha2-nistp256"
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"ORDER {host.address} NONE NONE 22 root",
        f"HOSTNAME {host.address} ecdsa-sha2-nistp256 {shown} 22 root",
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 0", "the host key is not known"),
        ("echo no directory >&2; exit 3", "KnownHostsCommand: .*known ended with 3: no directory"),
        ("echo \"@revoked * $KEY\"", "THE HOST KEY IS REVOKED"),
        ("echo \"$2 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ\"", "HAS CHANGED"),
    ],
)  # fmt: skip
def test_what_the_program_says_counts(lab: Lab, host: LabHost, tmp_path: Path, body: str, said: str) -> None:
    """As if a file of known hosts had it."""
    key = host.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout.strip()
    option = asking(tmp_path, f"KEY='{key}'\n{body}")
    known = lab.known_hosts if "revoked" in body else "/dev/null"
    where = of(lab, host, option, f"UserKnownHostsFile={known}")
    with pytest.raises(Unreachable, match=said):
        connect(where, dial(where))
