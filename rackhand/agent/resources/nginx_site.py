"""The nginx site: its file, and whether the running nginx has loaded it."""

from __future__ import annotations

import os
import re
import time
from typing import ClassVar

from rackhand.agent import files, http, layout, serving
from rackhand.agent.resource import Failure, Resource, ResourceError, Stage, State
from rackhand.agent.system import CommandError, System

#: In a site's text: replaced at each writing by a word that names it, which the running nginx gives out on loopback.
#: So "has nginx loaded this file?" can be asked at any time. The word holds the time that the file is given: a file
#: that was edited since, even if it was put right again, is known to be another writing.
TOKEN = "@TOKEN@"
TOKEN_PATH = "/.rackhand/loaded"
_TOKEN_LINE = re.compile(r"^# token: (([0-9a-f]+)-[0-9a-f]{16})$", re.MULTILINE)

#: A line that older versions of nginx do not know, and that is left out for them.
_SINCE = re.compile(r"^.*  # since nginx ([0-9.]+)\n", re.MULTILINE)

#: Seconds within which nginx must have loaded a new site.
LOAD_TIMEOUT = 15

#: Seconds after which an instance that lets go of the port is taken to hang: systemd ends it after its own drain time.
DRAIN_TIMEOUT = 3600

#: Seconds for which old and new workers both answer after a reload: nginx tells the old ones to go 0.1 s after it has
#: started the new ones (ngx_reap/ngx_reconfigure in its process cycle).
OVERLAP = 0.2


class NginxSite(Resource):
    """Without `content` there is to be no site: nginx is stopped if it had one, since the application that `keeps` the
    port listens itself. Whatever else Rackhand has let listen there lets go of it."""

    kind: ClassVar[str] = "nginx_site"

    path: str
    content: str
    port: int
    keeps: str = ""
    stage: Stage = "switch"

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    def units(self) -> tuple[str, ...]:
        return ("nginx.service",)

    def wanted(self) -> State:
        if not self.content:
            return {"site": "absent", "held": ()}
        return {
            "held": (),
            "content": self.content,
            "owner": "root:root",
            "mode": "0644",
            "boot": "enabled",
            "service": "active",
            "loaded": True,
        }

    def actual(self, system: System) -> State:
        unit = system.unit("nginx.service")
        state: dict[str, object] = {
            "boot": unit.get("UnitFileState") or None,
            "service": unit["ActiveState"],
            "content": None,
            "loaded": False,
            "held": serving.holders(system, self.port, self.keeps),
            "site": "present" if os.path.lexists(system.path(self.path)) else "absent",
        }
        path = system.path(self.path)
        text = files.read_text(path)
        if text is not None:
            status = os.lstat(path)
            found = _TOKEN_LINE.search(text)
            content = text.replace(found[1], TOKEN) if found else text
            state["content"] = self.content if content == _fitting_here(system, self.content) else content
            state["owner"], state["mode"] = files.owner(status), files.mode(status)
            written = found is not None and int(found[2], 16) == status.st_mtime_ns
            state["loaded"] = written and found is not None and self._loaded() == found[1]
        return state

    def _loaded(self) -> str | None:
        """The word of the site that the running nginx has loaded."""
        try:
            status, body = http.get(self.port, TOKEN_PATH, timeout=2)
        except OSError:
            return None
        return body.strip() if status == 200 else None

    def apply(self, system: System, actual: State) -> None:
        self._free(system, actual["held"])
        if not self.content:
            self._remove(system)
            return
        if any(actual.get(key) != self.wanted()[key] for key in ("content", "owner", "mode", "loaded")):
            self._validate(system)
            token = self._write(system, self.content)
        else:
            token = self._loaded() or ""
        if actual["boot"] != "enabled":
            if str(actual["boot"]).startswith("masked"):
                system.systemctl("unmask", "nginx.service")
                system.systemctl("unmask", "--runtime", "nginx.service")
            system.systemctl("enable", "nginx.service")
        self._load(system, token)

    def _free(self, system: System, held: object) -> None:
        """Who holds the port ends what it has begun, and then lets go."""
        assert isinstance(held, tuple)
        if held:
            # One whose holder is active systemd would not open again.
            holders = (unit.replace(".socket", ".service") for unit in held if unit.endswith(".socket"))
            system.systemctl("stop", *held, *holders, timeout=DRAIN_TIMEOUT)

    def _remove(self, system: System) -> None:
        files.remove(system.path(self.path))
        if system.unit("nginx.service")["LoadState"] == "loaded":
            system.systemctl("disable", "--now", "nginx.service")

    def _load(self, system: System, token: str) -> None:
        """Has nginx load what is on disk and waits until it answers with it."""
        system.forget_units()
        try:
            if system.unit("nginx.service")["ActiveState"] == "active":
                if self._loaded() != token:
                    system.systemctl("reload", "nginx.service")
            else:
                if system.unit("nginx.service")["ActiveState"] == "failed":
                    system.systemctl("reset-failed", "nginx.service")
                system.systemctl("start", "nginx.service")
        except CommandError as error:
            raise ResourceError(f"nginx could not load the site: {error}", _journal(system)) from error
        deadline = time.monotonic() + LOAD_TIMEOUT
        answered_since: float | None = None
        while True:
            loaded = self._loaded() == token
            now = time.monotonic()
            answered_since = (answered_since or now) if loaded else None
            if answered_since is not None and now > answered_since + OVERLAP:
                return
            if now > deadline:
                raise ResourceError(
                    f"nginx did not load the site within {LOAD_TIMEOUT} s: does something else hold port {self.port}? "
                    "(ss -ltnp)",
                    _journal(system),
                )
            time.sleep(0.02)

    def _write(self, system: System, content: str) -> str:
        """Replaces the file and returns the word of this writing."""
        import secrets

        path = system.path(self.path)
        now = time.time_ns()
        token = f"{now:x}-{secrets.token_hex(8)}"
        coming = files.prepare(path, _fitting_here(system, content).replace(TOKEN, token), "root:root", "0644")
        os.utime(coming, ns=(now, now))
        os.replace(coming, path)
        files.sync_folder(path)
        return token

    def _validate(self, system: System) -> None:
        """Has nginx test the whole configuration with the coming site in it, in a mount namespace of its own, so that
        nothing on the host is touched."""
        import shutil

        folder, name = os.path.split(system.path(self.path))
        candidate = system.path(f"{layout.INCOMING}/nginx")
        files.remove(candidate)
        shutil.copytree(folder, candidate, symlinks=True)
        try:
            content = _fitting_here(system, self.content)
            files.write(os.path.join(candidate, name), content, "root:root", "0644")
            script = 'mount --bind "$1" "$2" && exec nginx -t -q'
            system.run("unshare", "--mount", "sh", "-c", script, "sh", candidate, folder)
        except CommandError as error:
            said = error.output.strip().splitlines()[:10]
            raise ResourceError("nginx refuses the configuration, and nothing was replaced", tuple(said)) from error
        finally:
            files.remove(candidate)

    def undo(self, system: System, before: State, failure: Failure) -> None:
        path = system.path(self.path)
        content, held = before["content"], before["held"]
        assert isinstance(held, tuple)
        if content is None:
            files.remove(path)
            if held:
                if self.content:
                    system.systemctl("stop", "nginx.service")
                system.systemctl("start", *held)
            elif self.content:
                system.systemctl("reload-or-restart", "nginx.service")
            return
        self._free(system, serving.holders(system, self.port, ""))
        if before["boot"] == "enabled":
            system.systemctl("enable", "nginx.service")
        token = self._write(system, str(content))
        if TOKEN in str(content):
            self._load(system, token)
        else:
            system.systemctl("reload", "nginx.service")


def _fitting_here(system: System, content: str) -> str:
    return fitting(content, system.run("nginx", "-v")) if _SINCE.search(content) else content


def fitting(content: str, version: str) -> str:
    """A site for an nginx that says that it is of this version: `nginx version: nginx/1.22.1`."""
    found = re.search(r"nginx/([0-9.]+)", version)
    own = _numbers(found[1]) if found else []
    return _SINCE.sub(lambda line: line[0] if _numbers(line[1]) <= own else "", content)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".") if number]


def _journal(system: System) -> tuple[str, ...]:
    output = system.run("journalctl", "--unit=nginx", "--lines=10", "--output=cat", "--no-pager", "--quiet")
    error_log = files.read_text("/var/log/nginx/error.log") or ""
    return (*output.splitlines(), *error_log.splitlines()[-5:])
