"""How to reach a host."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rackhand.inventory import Host, shown
from rackhand.settings.fields import Fields
from rackhand.settings.values import text

Kind = Literal["ssh", "local"]


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """How to reach a host, from Ansible's variables. `timeout` in seconds. None leaves the choice to SSH's
    own configuration, and for the interpreter to discovery."""

    host: str
    user: str | None = None
    port: int | None = None
    kind: Kind = "ssh"
    private_key_file: Path | None = None
    ssh_common_args: tuple[str, ...] = ()
    password: str | None = field(default=None, repr=False)
    become: bool = False
    become_user: str = "root"
    become_password: str | None = field(default=None, repr=False)
    timeout: int = 10
    python_interpreter: str | None = None


def connection_of(fields: Fields, host: Host, project: Path) -> ConnectionSettings:
    """From Ansible's names, the last that is set of those that mean the same; files start at the project."""

    def key_file(value: object) -> Path:
        path = project / Path(text(value)).expanduser()
        if not path.is_file():
            raise ValueError(f"should be a file: {shown(path)} is not one")
        return path

    fields.choice("ansible_become_method", ("sudo",), "sudo")
    interpreter = fields.text("ansible_python_interpreter", "auto")
    return ConnectionSettings(
        host=fields.word(fields.last("ansible_host", "ansible_ssh_host"), host.name),
        user=fields.word(fields.last("ansible_user", "ansible_ssh_user"), "") or None,
        port=fields.whole(fields.last("ansible_port", "ansible_ssh_port"), 0, least=1, most=65535) or None,
        kind=fields.convert("ansible_connection", _kind, "ssh"),
        private_key_file=fields.convert(
            fields.last("ansible_private_key_file", "ansible_ssh_private_key_file"), key_file, None
        ),
        ssh_common_args=tuple(
            argument
            for name in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
            for argument in fields.convert(name, _arguments, ())
        ),
        password=fields.secret(fields.last("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")),
        become=fields.flag("ansible_become", False),
        become_user=fields.word(fields.last("ansible_become_user", "ansible_sudo_user"), "root"),
        become_password=fields.secret(
            fields.last("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
        ),
        timeout=fields.whole(fields.last("ansible_timeout", "ansible_ssh_timeout"), 10, least=1),
        python_interpreter=None if interpreter.startswith("auto") else interpreter,
    )


def _kind(value: object) -> Kind:
    name = text(value).removeprefix("ansible.builtin.")
    if name in ("ssh", "smart", "paramiko", "paramiko_ssh"):
        return "ssh"
    if name == "local":
        return "local"
    raise ValueError(f"should be ssh or local, got {name!r}")


def _arguments(value: object) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text(value)))
    except ValueError as error:
        raise ValueError(f"is not a list of arguments: {error}") from None
