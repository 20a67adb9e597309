"""A system user with a group of its own name: no login, no password, no home."""

from __future__ import annotations

import grp
import pwd
from typing import ClassVar

from rackhand.agent.resource import Resource, State
from rackhand.agent.system import System

HOME = "/nonexistent"
SHELL = "/usr/sbin/nologin"


class User(Resource):
    kind: ClassVar[str] = "user"

    user: str

    @property
    def name(self) -> str:
        return self.user

    def wanted(self) -> State:
        return {"group": self.user, "shell": SHELL}

    def actual(self, system: System) -> State:
        try:
            entry = pwd.getpwnam(self.user)
        except KeyError:
            return {"group": None}
        try:
            group = grp.getgrgid(entry.pw_gid).gr_name
        except KeyError:
            group = str(entry.pw_gid)
        return {"group": group, "shell": entry.pw_shell}

    def apply(self, system: System, actual: State) -> None:
        try:
            grp.getgrnam(self.user)
        except KeyError:
            system.run("groupadd", "--system", self.user)
        options = ("--gid", self.user, "--shell", SHELL)
        if actual["group"] is None:
            system.run("useradd", "--system", "--no-create-home", "--home-dir", HOME, *options, self.user)
        else:
            system.run("usermod", *options, self.user)
