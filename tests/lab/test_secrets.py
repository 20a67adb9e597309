"""No secret is seen where it does not belong: neither printed, at any verbosity, nor kept, nor on command lines."""

import json
import re
import textwrap
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from rackhand import PROJECT
from rackhand.agent.redaction import MASK
from rackhand.inventory.vault import encrypt
from rackhand.lab import Lab, LabHost
from tests.lab.site import Result, Site

APP = Path(__file__).parent / "small_app"

#: By where they are used. None is a part of another one.
SECRETS = {
    "in env, within a template, encrypted by itself": "sEnTiNeL/one\"'",
    "in env, encrypted by itself": "sEnTiNeL-two",
    "in env, in the clear": "sEnTiNeL-three",
    "for SSH, in an encrypted file": "sEnTiNeL-four",
    "for sudo, encrypted by itself": "sEnTiNeL-five",
    "of the vault": "sEnTiNeL-six",
    "in an encrypted file, for nothing": "sEnTiNeL-seven",
}
TEMPLATE, ENCRYPTED, CLEAR, LOGIN, SUDO, VAULT, UNUSED = SECRETS.values()
#: What they all have: nothing is left of any of them.
COMMON = "sEnTiNeL"

# What an application does that does not guard its secrets: it quotes them in the traceback with which it ends.
FAILS = """
if "FAIL" in os.environ:
    raise RuntimeError("cannot use " + ", ".join(map(repr, os.environ.values())))
"""


@dataclass
class Watch:
    """Reads the command lines of all processes, the host's among them, for as long as it is entered."""

    seen: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Watch":
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.01):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:  # it has ended
                    continue


@pytest.fixture(scope="module")
def keeper(lab: Lab) -> LabHost:
    """A host with a user who logs in with one password and becomes root with another."""
    (host,) = lab.up(["keeper"])
    host.run(["useradd", "--create-home", "--groups", "sudo", "sentinel"])
    host.run(["chpasswd"], input=f"sentinel:{LOGIN}\nroot:{SUDO}\n")
    host.run(["sh", "-c", "echo 'Defaults:sentinel rootpw' > /etc/sudoers.d/rootpw"])
    return host


@pytest.fixture
def site(lab: Lab, keeper: LabHost, tmp_path: Path) -> Site:
    """Of an application whose variables are secrets."""
    site = Site(tmp_path / "site", lab, [keeper], APP)
    site.edit("app.py", "\n\ndef app", FAILS + "\n\ndef app")
    del site.variables["ansible_ssh_private_key_file"]
    known = f"-F /dev/null -o IdentityFile=none -o IdentitiesOnly=yes -o UserKnownHostsFile={lab.known_hosts}"
    site.variables |= {"ansible_user": "sentinel", "ansible_become": True, "ansible_ssh_common_args": known}
    env = {"URL": "db://u:{{ of_database }}@x", "ENCRYPTED": "{{ token }}", "CLEAR": CLEAR}
    site.variables["apps"] = {
        "one": {"path": str(site.apps), "app": "app:app", "route": "/", "workers": 1, "env": env, "health_timeout": 10}
    }
    site.write()
    (tmp_path / "word").write_text(VAULT)
    with (site.inventory / "group_vars/web.yml").open("a") as file:
        for name, secret in (("of_database", TEMPLATE), ("token", ENCRYPTED), ("ansible_become_password", SUDO)):
            file.write(f"{name}: !vault |\n{textwrap.indent(encrypt(secret, VAULT), '  ')}")
    (site.inventory / "host_vars").mkdir()
    whole = yaml.safe_dump({"ansible_password": LOGIN, "unused": UNUSED})
    (site.inventory / "host_vars/keeper.yml").write_text(encrypt(whole, VAULT, "prod"))
    return site


def fail(site: Site) -> None:
    """Has the application end with its secrets on its lips."""
    path = site.inventory / "group_vars/web.yml"
    path.write_text(re.sub("^( +)CLEAR:", r"\1FAIL: 'yes'\n\g<0>", path.read_text(), flags=re.MULTILINE))


def wrong_sudo(site: Site) -> None:
    (site.inventory / "host_vars/keeper.yml").write_text(
        encrypt(yaml.safe_dump({"ansible_password": LOGIN, "ansible_become_password": f"{SUDO}-wrong"}), VAULT)
    )


def test_no_secret_is_seen(site: Site, keeper: LabHost, tmp_path: Path) -> None:
    """On success and on failure: printed in any form, in records here and on the host, in its journal, in command
    lines, in units, in files that others can read."""
    here = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    records = set((PROJECT / ".runs").glob("*"))
    printed: dict[str, Result] = {}

    def run(code: int, name: str, *arguments: str) -> None:
        options = ["--host", "keeper", "--vault-password-file", str(tmp_path / "word")]
        result = printed[" ".join((name, *arguments))] = site.invoke(name, *options, *arguments, environment=here)
        assert result.code == code, (name, arguments, result.out, result.err)

    with Watch() as watch:
        run(0, "plan")
        run(0, "deploy", "--diff", "--profile")
        fail(site)
        run(0, "plan", "--json")
        run(2, "deploy", "--diff")
        run(2, "deploy", "--json")
        run(0, "status")
        run(0, "releases", "--json")
        run(0, "facts")
        run(0, "smoke", "--json")
        run(0, "logs", "--app", "one")
        run(0, "exec", "--shell", "cat /opt/rackhand/apps/one/releases/*/env")
        run(0, "advise")
        run(0, "inventory")
        for name in ("of_database", "token", "ansible_password", "ansible_become_password", "apps", "unused"):
            run(0, "inventory", "--blame", name)
        wrong_sudo(site)
        run(4, "facts", "--json")
    # What is looked through has what it is looked through for.
    assert any("rackhand" in line and "sudo" in line for line in watch.seen)
    for command in ("deploy --diff", "deploy --json", "logs --app one"):
        assert "cannot use" in printed[command].out, printed[command].out
        assert MASK in printed[command].out.partition("cannot use")[2]
    (shown,) = (result.out for command, result in printed.items() if command.startswith("exec"))
    assert f"CLEAR={MASK}" in shown.replace('"', ""), shown

    for command, result in printed.items():
        assert COMMON not in result.out + result.err, f"{command}: {result.out} {result.err}"
    new = set((PROJECT / ".runs").glob("*")) - records
    assert len(new) >= 6
    assert not [path for path in (*new, *tmp_path.glob("cache/**/*"), *tmp_path.glob("temporary/**/*")) if told(path)]
    assert not [line for line in watch.seen if COMMON in line]
    assert not list(journal(keeper))
    everywhere = "grep -rlsF --exclude-dir=journal --devices=skip -e sEnTiNeL /etc /home /opt /root /run /srv /tmp /var"
    kept = keeper.run(["sh", "-c", everywhere], check=False).stdout.split()
    assert kept
    # The one place: root's alone, and read by systemd.
    assert not [path for path in kept if not re.fullmatch(r"/opt/rackhand/apps/one/releases/[\w.]+/env", path)]
    assert not keeper.run(["runuser", "-u", "nobody", "--", "sh", "-c", everywhere], check=False).stdout


def told(path: Path) -> bool:
    return path.is_file() and COMMON.encode() in path.read_bytes()


def journal(host: LabHost) -> Iterator[Mapping[str, str]]:
    """Entries of the host's journal with a secret, but for what the application itself has said."""
    for line in host.run(["journalctl", "--output=json", "--all", "--no-pager"]).stdout.splitlines():
        entry = json.loads(line)
        if COMMON in line and not str(entry.get("_SYSTEMD_UNIT")).startswith("rackhand-one@"):
            yield entry
