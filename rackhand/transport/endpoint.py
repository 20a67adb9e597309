"""Where and how to connect: the inventory's settings with what the SSH configuration adds to them."""

import getpass
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from rackhand.errors import UserError
from rackhand.settings import ConnectionSettings

#: Ways of logging in, by the option that turns each off.
_METHODS = {
    "publickey": "pubkeyauthentication",
    "password": "passwordauthentication",
    "keyboard-interactive": "kbdinteractiveauthentication",
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Seconds for the timeout. `known_as` is the name of its key in the files of known hosts, of which
    `own_known_hosts` is the one that new keys go into, with the name `hashed` or not; `revoked_keys` is a file of keys
    that are not to be believed. `gateways` are the jump hosts,
    the nearest first; `proxy_command` replaces them. `agent` is the SSH agent's socket, `methods` are those of logging
    in."""

    host: str
    user: str
    port: int
    timeout: int
    identity_files: tuple[str, ...]
    certificate_files: tuple[str, ...]
    identities_only: bool
    agent: str | None
    methods: frozenset[str]
    password: str | None = field(repr=False)
    known_hosts: tuple[str, ...]
    own_known_hosts: str | None
    hashed: bool
    revoked_keys: str | None
    known_as: str
    proxy_command: str | None
    gateways: tuple["Endpoint", ...]

    @property
    def address(self) -> str:
        """Host and port in one, as in a file of known hosts."""
        return _address(self.host, self.port)


def dial(where: Endpoint) -> socket.socket | OSError | None:
    """An open connection, or why there is none. None where a jump host or a program makes it."""
    if where.gateways or where.proxy_command:
        return None
    try:
        dialled = socket.create_connection((where.host, where.port), where.timeout)
    except OSError as error:
        return error
    # What is sent by halves is not to wait for the other end's word that it has got the first.
    dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return dialled


def endpoint(settings: ConnectionSettings) -> Endpoint:
    """Has OpenSSH resolve its own configuration (`ssh -G`), so that its options and files mean what they mean there.
    Raises UserError."""
    arguments = list(settings.ssh_common_args)
    if settings.user:
        arguments += ["-l", settings.user]
    if settings.port:
        arguments += ["-p", str(settings.port)]
    if settings.private_key_file:
        arguments += ["-i", str(settings.private_key_file)]
    found = _resolve(tuple(arguments), settings.host, settings.timeout, bool(settings.private_key_file))
    return replace(found, password=settings.password)


def _resolve(arguments: tuple[str, ...], host: str, timeout: int, own_key: bool) -> Endpoint:
    options = _ask_ssh((*arguments, "--", host))
    jump = _one(options, "proxyjump")
    command = _one(options, "proxycommand")
    connect_timeout = _one(options, "connecttimeout")
    name, user, port = (
        _one(options, "hostname") or host,
        _one(options, "user") or "root",
        int(_one(options, "port") or 22),
    )
    tokens = {"h": name, "p": str(port), "r": user, "n": host, "u": _me(), "d": str(Path.home())}

    def paths(*found: str) -> tuple[str, ...]:
        return tuple(str(Path(_expanded(path, tokens)).expanduser()) for path in found if path != "none")

    own = paths(*(_one(options, "userknownhostsfile") or "").split())
    keys = paths(*options.get("identityfile", ()))
    return Endpoint(
        host=name,
        user=user,
        port=port,
        timeout=int(connect_timeout) if connect_timeout else timeout,
        identity_files=tuple(path for path in keys if Path(path).is_file() or Path(f"{path}.pub").is_file()),
        certificate_files=paths(*options.get("certificatefile", ())),
        identities_only=own_key or _one(options, "identitiesonly") == "yes",
        agent=_agent(options, tokens),
        methods=_methods(options),
        password=None,
        known_hosts=(*own, *paths(*(_one(options, "globalknownhostsfile") or "").split())),
        own_known_hosts=own[0] if own else None,
        hashed=_one(options, "hashknownhosts") == "yes",
        revoked_keys=next(iter(paths(*options.get("revokedhostkeys", ()))), None),
        known_as=_one(options, "hostkeyalias") or _address(name, port),
        proxy_command=_expanded(command, tokens) if command else None,
        gateways=tuple(_gateway(hop, arguments, timeout) for hop in jump.split(",")) if jump else (),
    )


def _methods(options: dict[str, tuple[str, ...]]) -> frozenset[str]:
    preferred = _one(options, "preferredauthentications")
    wanted = preferred.split(",") if preferred else _METHODS
    return frozenset(
        method for method, name in _METHODS.items() if method in wanted and _one(options, name) not in ("no", "false")
    )


def _me() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user that the machine has no name for
        return str(os.getuid())


def _agent(options: dict[str, tuple[str, ...]], tokens: Mapping[str, str]) -> str | None:
    """Where the SSH agent listens: IdentityAgent, which may name a variable, or else SSH_AUTH_SOCK."""
    configured = options.get("identityagent", ("SSH_AUTH_SOCK",))[-1]
    if configured == "SSH_AUTH_SOCK":
        return os.environ.get(configured)
    if configured.startswith("$"):
        return os.environ.get(configured[1:].strip("{}"))
    return None if configured == "none" else str(Path(_expanded(configured, tokens)).expanduser())


def _address(host: str, port: int) -> str:
    return host if port == 22 else f"[{host}]:{port}"


def _expanded(command: str, tokens: Mapping[str, str]) -> str:
    """The command with the tokens %h, %p, … of OpenSSH replaced."""
    return re.sub("%(.)", lambda match: tokens.get(match[1], match[1]), command)


def _gateway(hop: str, arguments: Sequence[str], timeout: int) -> Endpoint:
    """A jump host gets, as with OpenSSH, what the configuration file says of it and nothing of the command line but
    which configuration file that is."""
    own: list[str] = []
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if flag == "-F":
            own = ["-F", value]
        elif flag.startswith("-F"):
            own = [flag]
    name = hop.removeprefix("ssh://")
    user, at, name = name.rpartition("@")
    if at:
        own += ["-l", user]
    bracketed = name.startswith("[")
    name, _, port = name.strip("[").partition("]:" if bracketed else ":")
    if port:
        own += ["-p", port]
    return _resolve(tuple(own), name.rstrip("]"), timeout, False)


@cache
def _ask_ssh(arguments: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    program = shutil.which("ssh")
    if program is None:
        raise UserError("the program ssh is missing: install OpenSSH's client (Debian: apt-get install openssh-client)")
    done = subprocess.run(
        (program, "-G", *arguments),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
        start_new_session=True,  # so that Ctrl-C reaches the controller alone
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"ssh -G ended with {done.returncode}"])[0]
        raise UserError(f"ssh does not accept the connection settings of {arguments[-1]}: {said}")
    options: dict[str, tuple[str, ...]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        options[name] = (*options.get(name, ()), value)
    return options


def _one(options: dict[str, tuple[str, ...]], name: str) -> str | None:
    value = options.get(name, ("none",))[-1]
    return None if value == "none" else value
