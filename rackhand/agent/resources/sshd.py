"""Options of the SSH server, in effect."""

from __future__ import annotations

import os
import time
from typing import ClassVar

from rackhand.agent import files, layout
from rackhand.agent.resource import Before, Resource, ResourceError, State
from rackhand.agent.system import CommandError, System

#: Of several values sshd takes the first, and it reads these files in the order of their names.
PATH = "/etc/ssh/sshd_config.d/00-rackhand.conf"

#: Written by sshd each time that it has read its configuration: when it starts, and when it is told to reload.
_PID_FILE = "/run/sshd.pid"

#: Seconds within which sshd must have read its files again.
_LOAD_TIMEOUT = 10

# An older name that sshd gives for this value.
_NAMES = {"without-password": "prohibit-password"}


class Sshd(Resource):
    """A file of options, of which sshd says itself that they are in effect, and which the running sshd has read: it
    writes its PID file after it has read its configuration, so that file is the younger one."""

    kind: ClassVar[str] = "sshd"
    cuts_off: ClassVar[bool] = True

    options: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return os.path.basename(PATH)

    @property
    def content(self) -> str:
        lines = (f"{option} {value}\n" for option, value in self.options)
        return "".join(("# Written by Rackhand, and replaced by it.\n", *lines))

    def references(self) -> tuple[str, ...]:
        return (f"systemd_unit:{layout.GUARD_UNIT}",)

    def units(self) -> tuple[str, ...]:
        return ("ssh.service",)

    def wanted(self) -> State:
        return {"content": self.content, "owner": "root:root", "mode": "0644", **dict(self.options), "loaded": True}

    def actual(self, system: System) -> State:
        effective = _effective(_checked(system, "sshd", "-T"))
        state: dict[str, object] = {option: effective.get(option.lower()) for option, _ in self.options}
        path = system.path(PATH)
        content = files.read_text(path)
        if content is None:
            return {**state, "content": None, "loaded": False}
        status = os.lstat(path)
        state["owner"], state["mode"] = files.owner(status), files.mode(status)
        return {**state, "content": content, "loaded": _loaded(system, status)}

    def before(self, system: System) -> Before:
        return Before(files=(PATH,), commands=((("systemctl", "try-reload-or-restart", "ssh.service"), ""),))

    def apply(self, system: System, actual: State) -> None:
        self._validate(system)
        path = system.path(PATH)
        # Also when only the running sshd differs: only what is written now can be known to be read later.
        files.write(path, self.content, "root:root", "0644")
        if system.unit("ssh.service")["ActiveState"] != "active":
            return
        system.systemctl("reload", "ssh.service")
        deadline = time.monotonic() + _LOAD_TIMEOUT
        while not _loaded(system, os.lstat(path)):
            if time.monotonic() > deadline:
                raise ResourceError(f"sshd did not read its configuration again within {_LOAD_TIMEOUT} s")
            time.sleep(0.02)

    def _validate(self, system: System) -> None:
        """Has sshd read its whole configuration with the coming file in it, in a mount namespace of its own, so that
        nothing on the host is touched."""
        import shutil
        import tempfile

        folder, name = os.path.split(system.path(PATH))
        if not os.path.isdir(folder):
            raise ResourceError(f"the host's sshd has no folder {folder} for additions to its configuration")
        with tempfile.TemporaryDirectory(prefix="rackhand-sshd-") as temporary:
            candidate = os.path.join(temporary, "config")
            shutil.copytree(folder, candidate, symlinks=True)
            files.write(os.path.join(candidate, name), self.content, "root:root", "0644")
            script = 'mount --bind "$1" "$2" && exec sshd -T'
            effective = _effective(_checked(system, "unshare", "--mount", "sh", "-c", script, "sh", candidate, folder))
        for option, value in self.options:
            found = effective.get(option.lower())
            if found != value:
                raise ResourceError(
                    f"{option} would still be {found}, and nothing was replaced: something in /etc/ssh says so before "
                    f"{PATH} is read, or sshd_config does not include that folder"
                )


def _checked(system: System, *argv: str) -> str:
    try:
        return system.run(*argv)
    except CommandError as error:
        said = tuple(error.output.strip().splitlines()[:10])
        raise ResourceError("sshd refuses its configuration, and nothing was replaced", said) from error


def _effective(output: str) -> dict[str, str]:
    """What `sshd -T` says, by option in small letters."""
    pairs = (line.partition(" ")[::2] for line in output.splitlines())
    return {option: _NAMES.get(value, value) for option, value in pairs}


def _loaded(system: System, file: os.stat_result) -> bool:
    """Whether the running sshd has read its configuration since this file was last touched in any way."""
    if system.unit("ssh.service")["ActiveState"] != "active":
        return True  # whoever starts it reads the file
    try:
        return os.stat(system.path(_PID_FILE)).st_mtime_ns > file.st_ctime_ns
    except FileNotFoundError:
        return False
