"""Where and how to connect: the inventory's settings with what the SSH configuration adds to them."""

import getpass
import os
import re
import shlex
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from rackhand.errors import UserError
from rackhand.settings import ConnectionSettings
from rackhand.transport.programs import ask

#: Of paramiko's names for what a connection is made of, the options of OpenSSH that name the algorithms.
ALGORITHMS = {
    "ciphers": "Ciphers",
    "macs": "MACs",
    "kex": "KexAlgorithms",
    "keys": "HostKeyAlgorithms",
    "pubkeys": "PubkeyAcceptedAlgorithms",
}
_MLKEM = "mlkem768x25519-sha256"
_FAMILIES = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}

#: Ways of logging in, by the option that turns each off.
_METHODS = {
    "publickey": "pubkeyauthentication",
    "password": "passwordauthentication",
    "keyboard-interactive": "kbdinteractiveauthentication",
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Seconds for the timeout, which each of the `attempts` has; `alive` has the seconds between two signs of life, and
    how many may stay without an answer. `source` is the address, and `device` the network device, that connections
    leave this machine by. `known_as` is the name of its key in the files of known hosts, of which `own_known_hosts` is
    the one that new keys go into, with the name `hashed` or not; `known_hosts_command` is asked besides them (its words
    have tokens left for the key), and `revoked_keys` is a file of keys that are not to be believed. `algorithms` are
    those that SSH's configuration allows, by the option that names them. `gateways` are the jump hosts, the nearest
    first; `proxy_command` replaces them, and with `proxy_hands_over` it hands over a connection instead of being one.
    `agent` is the SSH agent's socket, `token` a library whose keys only an agent can use, `methods` are ways to log in.
    """

    host: str
    user: str
    port: int
    timeout: int
    attempts: int
    alive: tuple[int, int]
    family: socket.AddressFamily
    source: str | None
    device: str | None
    compress: bool
    algorithms: Mapping[str, frozenset[str]]
    identity_files: tuple[str, ...]
    certificate_files: tuple[str, ...]
    identities_only: bool
    agent: str | None
    token: str | None
    methods: frozenset[str]
    password: str | None = field(repr=False)
    known_hosts: tuple[str, ...]
    known_hosts_command: tuple[str, ...]
    own_known_hosts: str | None
    hashed: bool
    revoked_keys: str | None
    known_as: str
    proxy_command: str | None
    proxy_hands_over: bool
    gateways: tuple["Endpoint", ...]

    @property
    def address(self) -> str:
        """Host and port in one, as in a file of known hosts."""
        return _address(self.host, self.port)


def dial(where: Endpoint) -> socket.socket | OSError | None:
    """An open connection, or why there is none. None where a jump host or a program makes it."""
    if where.gateways or where.proxy_command:
        return None
    for attempt in range(where.attempts):
        if attempt:
            time.sleep(1)  # as OpenSSH does
        try:
            return _dialled(where)
        except OSError as error:
            failed = error
    return failed


def _dialled(where: Endpoint) -> socket.socket:
    """To the first of the host's addresses that answers. Raises OSError."""
    found = socket.getaddrinfo(where.host, where.port, where.family, socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found:
        dialled = socket.socket(family, kind, protocol)
        try:
            # What is sent by halves is not to wait for the other end's word that it has got the first.
            dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            dialled.settimeout(where.timeout)
            if where.device:
                dialled.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, where.device.encode())
            if where.source:
                dialled.bind((where.source, 0))
            dialled.connect(address)
            return dialled
        except OSError as error:
            dialled.close()
            failed = error
    raise failed


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
    alias = _one(options, "hostkeyalias")
    tokens = {"h": name, "p": str(port), "r": user, "n": host, "u": _me(), "d": str(Path.home()), "%": "%"}
    tokens |= {"i": str(os.getuid()), "k": alias or host, "l": socket.gethostname()}
    tokens["L"] = tokens["l"].partition(".")[0]

    def paths(*found: str) -> tuple[str, ...]:
        return tuple(str(Path(expanded(path, tokens)).expanduser()) for path in found if path != "none")

    own = paths(*(_one(options, "userknownhostsfile") or "").split())
    keys = paths(*options.get("identityfile", ()))
    return Endpoint(
        host=name,
        user=user,
        port=port,
        timeout=int(connect_timeout) if connect_timeout else timeout,
        attempts=int(_one(options, "connectionattempts") or 1),
        alive=_alive(options),
        family=_FAMILIES[_one(options, "addressfamily") or "any"],
        source=_one(options, "bindaddress"),
        device=_one(options, "bindinterface"),
        compress=_one(options, "compression") == "yes",
        algorithms={option: _allowed(options, option) for option in ALGORITHMS.values()},
        identity_files=tuple(path for path in keys if Path(path).is_file() or Path(f"{path}.pub").is_file()),
        certificate_files=paths(*options.get("certificatefile", ())),
        identities_only=own_key or _one(options, "identitiesonly") == "yes",
        agent=_agent(options, tokens),
        token=_one(options, "pkcs11provider"),
        methods=_methods(options),
        password=None,
        known_hosts=(*own, *paths(*(_one(options, "globalknownhostsfile") or "").split())),
        known_hosts_command=_known_hosts_command(options, tokens),
        own_known_hosts=own[0] if own else None,
        hashed=_one(options, "hashknownhosts") == "yes",
        revoked_keys=next(iter(paths(*options.get("revokedhostkeys", ()))), None),
        known_as=alias or _address(name, port),
        proxy_command=expanded(command, tokens) if command else None,
        proxy_hands_over=_one(options, "proxyusefdpass") == "yes",
        gateways=tuple(_gateway(hop, arguments, timeout) for hop in jump.split(",")) if jump else (),
    )


def _methods(options: dict[str, tuple[str, ...]]) -> frozenset[str]:
    preferred = _one(options, "preferredauthentications")
    wanted = preferred.split(",") if preferred else _METHODS
    return frozenset(
        method for method, name in _METHODS.items() if method in wanted and _one(options, name) not in ("no", "false")
    )


def _allowed(options: dict[str, tuple[str, ...]], option: str) -> frozenset[str]:
    allowed = (_one(options, option.lower()) or "").split(",")
    # An older OpenSSH does not know this one, and means it with the one that it has against quantum computers.
    if _MLKEM not in allowed and any("sntrup" in name for name in allowed) and _MLKEM not in _key_exchanges():
        allowed.append(_MLKEM)
    return frozenset(allowed)


def _alive(options: dict[str, tuple[str, ...]]) -> tuple[int, int]:
    """OpenSSH sends none by default, and would wait for a quarter of an hour."""
    every = int(_one(options, "serveraliveinterval") or 0)
    return (every, int(_one(options, "serveralivecountmax") or 3)) if every else (10, 3)


def _known_hosts_command(options: dict[str, tuple[str, ...]], tokens: Mapping[str, str]) -> tuple[str, ...]:
    """Word by word, since no shell runs it; what depends on the key that a host shows is left as it is."""
    later = {token: f"%{token}" for token in "HIKft%"}
    return tuple(expanded(word, {**tokens, **later}) for word in shlex.split(_one(options, "knownhostscommand") or ""))


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
    return None if configured == "none" else str(Path(expanded(configured, tokens)).expanduser())


def _address(host: str, port: int) -> str:
    return host if port == 22 else f"[{host}]:{port}"


def expanded(command: str, tokens: Mapping[str, str]) -> str:
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
    done = ask((program, "-G", *arguments))
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"ssh -G ended with {done.returncode}"])[0]
        raise UserError(f"ssh does not accept the connection settings of {arguments[-1]}: {said}")
    options: dict[str, tuple[str, ...]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        options[name] = (*options.get(name, ()), value)
    return options


@cache
def _key_exchanges() -> list[str]:
    """Those that OpenSSH knows here. It is asked while Fabric is loaded, and so nobody waits for it."""
    return ask(("ssh", "-Q", "kex")).stdout.split()


def _one(options: dict[str, tuple[str, ...]], name: str) -> str | None:
    value = options.get(name, ("none",))[-1]
    return None if value == "none" else value
