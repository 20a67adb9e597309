"""Files of known hosts and of revoked keys mean what they mean to OpenSSH; so do its options for logging in."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from rackhand.settings import ConnectionSettings
from rackhand.transport import Unreachable
from rackhand.transport.endpoint import Endpoint, endpoint
from rackhand.transport.host_keys import write
from rackhand.transport.known_hosts import KnownHosts
from rackhand.transport.marked_keys import refuse_revoked


def keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, capture_output=True)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    keygen("-t", "ed25519", "-N", "", "-C", "of a host", "-f", tmp_path / "key")
    return tmp_path / "key"


def line(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text().strip()


def host(*options: str, name: str = "h.example") -> Endpoint:
    """As SSH's configuration has it, with these options."""
    arguments = ("-F", "/dev/null", *(part for option in options for part in ("-o", option)))
    return endpoint(ConnectionSettings(host=name, ssh_common_args=arguments))


def test_lines_of_any_form(key: Path, tmp_path: Path) -> None:
    """What makes no sense is passed over; tabs and several blanks are blanks. A new key takes the old one's place."""
    kind, data = line(key).split()[:2]
    file = tmp_path / "known"
    nonsense = (
        f"nonsense\n@revoked\nother ssh-ed25519 AAAA\nother ssh-ed25519 AAA\nother unknown-kind {data}\n\n @revoked x\n"
    )
    file.write_text(f"{nonsense}h.example\t{kind}  {data} comment\n")
    where = host(f"UserKnownHostsFile={file}", "HashKnownHosts=no")
    assert [(line.origin, line.blob) for line in KnownHosts(where).known()] == [(str(file), base64.b64decode(data))]
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "new")
    new = paramiko.PKey.from_path(tmp_path / "new")
    write(where, [new])
    assert file.read_text() == f"{nonsense}h.example {kind} {new.get_base64()}\n"


def test_what_was_written_since_counts(key: Path, tmp_path: Path) -> None:
    """For the next connection of a process that lives on, as the workers of a cluster do."""
    file = tmp_path / "known"
    where = host(f"UserKnownHostsFile={file}")
    assert KnownHosts(where).known() == ()
    for name, count in (("other.example", 0), ("*.example", 1), ("!h.example,*.example", 0), ("H.example", 1)):
        file.write_text(f"{name} {line(key)}\n")
        assert len(KnownHosts(where).known()) == count, name


def as_list(key: Path, file: Path) -> None:
    file.write_text(f"# gone\n\n{line(key)}\n")


def as_krl(key: Path, file: Path) -> None:
    keygen("-kf", file, key.with_name(f"{key.name}.pub"))


@pytest.mark.parametrize("revoke", [as_list, as_krl])
def test_revoked_host_keys(key: Path, tmp_path: Path, revoke: Callable[[Path, Path], None]) -> None:
    """In either form of the file, this key and no other one; of a file that cannot be read, every key."""
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "other")
    file = tmp_path / "gone"
    revoke(key, file)
    where = host(f"RevokedHostKeys={file}")
    refuse_revoked(KnownHosts(where), paramiko.PKey.from_path(tmp_path / "other"))
    with pytest.raises(Unreachable, match=f"THE HOST KEY IS REVOKED, by {file}"):
        refuse_revoked(KnownHosts(where), paramiko.PKey.from_path(key))
    with pytest.raises(Unreachable, match="cannot be read: No such file"):
        refuse_revoked(KnownHosts(replace(where, revoked_keys=f"{file}.none")), paramiko.PKey.from_path(key))
    refuse_revoked(KnownHosts(host("RevokedHostKeys=none")), paramiko.PKey.from_path(key))


def test_ways_of_logging_in() -> None:
    """All of them, those that are preferred, and none that is turned off."""
    every = {"publickey", "password", "keyboard-interactive"}
    assert host().methods == every
    assert host("PreferredAuthentications=password,gssapi-with-mic").methods == {"password"}
    assert host("PasswordAuthentication=no").methods == every - {"password"}
