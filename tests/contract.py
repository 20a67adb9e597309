"""What every kind of resource promises, asked in the same way of a scratch folder and of a real host.

A check changes nothing and foretells what an apply does; an apply converges; a second one finds all as wanted and
touches nothing; damage is seen and repaired; a plan survives its wire form.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rackhand.agent import layout
from rackhand.agent.plan import Plan
from rackhand.agent.resource import Resource
from rackhand.agent.resources import Directory, File, Link, Release
from rackhand.bundle import bundle
from tests.snapshot import Entry

Event = dict[str, Any]

WSGI_APP = Path(__file__).parent / "wsgi_app"
BUNDLE = bundle("shop", WSGI_APP)


class Bench(Protocol):
    """Something that plans are tried on."""

    def run(self, plan: Plan, *, apply: bool) -> list[Event]:
        """The events of a run, to its end."""

    def shell(self, script: str) -> None:
        """A hand at work, in the root folder."""

    def snapshot(self) -> dict[str, Entry]:
        """All that is there."""


def results(events: list[Event], status: str) -> dict[str, Any]:
    """What became of the resources that ended with this status, by id."""
    ended = [event for event in events if event["event"] == "resource"]
    return {event["id"]: event.get("changes") for event in ended if event["status"] == status}


def changes(events: list[Event]) -> dict[str, Any]:
    """The changes of a run that did not fail, by id."""
    assert not results(events, "failed"), [event for event in events if event.get("status") == "failed"]
    assert events[-1]["reason"] is None, events[-1]
    return results(events, "changed")


def converges(bench: Bench, plan: Plan) -> list[str]:
    """The contract of a plan that has not been applied yet. Returns the ids of what changed."""
    assert Plan.from_wire(json.loads(json.dumps(plan.to_wire()))) == plan
    before = bench.snapshot()
    foretold = changes(bench.run(plan, apply=False))
    same(before, bench.snapshot(), "a check changed")
    done = changes(bench.run(plan, apply=True))
    assert list(done) == list(foretold), "a check foretold something else than what was done"
    after = bench.snapshot()
    again = bench.run(plan, apply=True)
    assert list(results(again, "ok")) == [resource.id for resource in plan]
    same(after, bench.snapshot(), "a second apply touched")
    return list(done)


def repairs(bench: Bench, plan: Plan, damaged: Iterable[Resource], script: str) -> None:
    """The contract of resources of a plan that has been applied, when a hand does some damage to them."""
    bench.shell(script)
    before = bench.snapshot()
    foretold = changes(bench.run(plan, apply=False))
    same(before, bench.snapshot(), "a check changed")
    unseen = [resource.id for resource in damaged if resource.id not in foretold]
    assert not unseen, f"the damage was not seen: {unseen}"
    done = changes(bench.run(plan, apply=True))
    assert list(done) == list(foretold), "a check foretold something else than what was done"
    for resource in damaged:
        # What will have changed by following another cannot be told in the same words.
        if type(resource).follows is Resource.follows:
            assert done[resource.id] == foretold[resource.id]


def same(before: Mapping[str, Entry], after: Mapping[str, Entry], what: str) -> None:
    """Fails with what two snapshots do not have in common."""
    differing = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    assert not differing, f"{what}: " + "; ".join(
        f"{path} {before.get(path)} {after.get(path)}" for path in differing[:9]
    )


@dataclass(frozen=True, kw_only=True)
class Case:
    """A resource that needs nothing but files. `given` is a script that makes what it finds there; `damages` are
    scripts too, by what they do."""

    resource: Resource
    given: str
    damages: Mapping[str, str]


_RELEASE = layout.release("shop", "0123456789ab").lstrip("/")

FILE_CASES = (
    Case(
        resource=Directory(path="/srv/files", owner="root:www-data", mode="2750"),
        given="mkdir srv",
        damages={
            "removed": "rmdir srv/files",
            "mode": "chmod 0755 srv/files",
            "set-group-ID bit": "chmod g-s srv/files",
            "owner": "chown daemon srv/files",
            "group": "chgrp daemon srv/files",
        },
    ),
    Case(
        resource=File(
            path="/etc/rackhand.conf",
            content='one\n"two" $three\n',
            owner="root:www-data",
            mode="0640",
            validate=("test", "-s", "{}"),
        ),
        given="mkdir etc",
        damages={
            "removed": "rm etc/rackhand.conf",
            "edited": "echo three >> etc/rackhand.conf",
            "emptied": ": > etc/rackhand.conf",
            "line ends": r"sed -i 's/$/\r/' etc/rackhand.conf",
            "last line end": "truncate --size=-1 etc/rackhand.conf",
            "not text": r"printf '\377\000' > etc/rackhand.conf",
            "mode": "chmod 0644 etc/rackhand.conf",
            "owner": "chown daemon etc/rackhand.conf",
            "group": "chgrp daemon etc/rackhand.conf",
            "unknown owner": "chown 4711:4711 etc/rackhand.conf",
            "moved, with a link in its place": "mv etc/rackhand.conf etc/mine; ln -s mine etc/rackhand.conf",
            "link that leads nowhere": "ln -sf nowhere etc/rackhand.conf",
            "pipe": "rm etc/rackhand.conf; mkfifo etc/rackhand.conf",
        },
    ),
    Case(
        resource=Link(path="/etc/deep/er/link", target="../there"),
        given="mkdir etc",
        damages={
            "removed": "rm etc/deep/er/link",
            "folder removed": "rm -r etc/deep",
            "elsewhere": "ln -sfn ../elsewhere etc/deep/er/link",
            "file in its place": "rm etc/deep/er/link; echo text > etc/deep/er/link",
        },
    ),
    Case(
        resource=Release(
            app="shop",
            release="0123456789ab",
            group="www-data",
            code=BUNDLE.code,
            archive=BUNDLE.archive,
            files=(("gunicorn.conf.py", "workers = 1\n", "0640"), ("env", 'KEY="hunter2"\n', "0600")),
            links=(("venv", "/opt/rackhand/venvs/key"),),
            public=("bin",),
        ),
        given="mkdir -p opt/rackhand/apps/shop/releases",
        damages={
            "removed": f"rm -r {_RELEASE}",
            "code removed": f"rm -r {_RELEASE}/code",
            "code edited": f"echo >> {_RELEASE}/code/app.py",
            "code file added": f"touch {_RELEASE}/code/more.py",
            "code file removed": f"rm {_RELEASE}/code/app.py",
            "program is none": f"chmod a-x {_RELEASE}/code/bin/job",
            "link in the code": f"ln -sfn /bin/sh {_RELEASE}/code/bin/alias",
            "code writable": f"chmod g+w {_RELEASE}/code/app.py",
            "code readable for all": f"chmod o+rx {_RELEASE}/code",
            "public file closed": f"chmod o-r {_RELEASE}/code/bin/job",
            "way to public files closed": f"chmod o-x {_RELEASE}/code",
            "code's owner": f"chown www-data {_RELEASE}/code/app.py",
            "code's group": f"chgrp -R root {_RELEASE}/code",
            "configuration edited": f"echo 'workers = 9' >> {_RELEASE}/gunicorn.conf.py",
            "variables readable": f"chmod 0640 {_RELEASE}/env",
            "variables removed": f"rm {_RELEASE}/env",
            "environment elsewhere": f"ln -sfn /opt/rackhand/venvs/other {_RELEASE}/venv",
            "link is a file": f"rm {_RELEASE}/venv; touch {_RELEASE}/venv",
            "closed": f"chmod 0700 {_RELEASE}",
            "given away": f"chown www-data {_RELEASE}",
        },
    ),
)

#: nginx reloads when it has been told to: this waits until the workers from before have ended.
RELOAD = (
    "old=$(pgrep -P $(cat /run/nginx.pid)); nginx -s reload; "
    "for pid in $old; do while kill -0 $pid 2>/dev/null; do sleep 0.1; done; done"
)

#: What is done on a real host to the resource of each kind that needs one. In a script, `$release`, `$unit`, `$socket`
#: and `$venv` are those of the application `shop`; its release is at `$home`. The first of every kind are done
#: together, and so on; what starts something comes before what would keep it from starting.
HOST_DAMAGES: Mapping[str, Mapping[str, str]] = {
    "instance": {
        "stopped": "systemctl stop $unit",
        "masked": "systemctl stop $unit; rm run/systemd/system/$unit; systemctl mask $unit",
        "socket removed": "rm $socket",
        "hangs": "systemctl kill --signal=STOP $unit",
        "started from an edited unit": (
            "sed -i 's/^Environment=/&STRAY=1 /' run/systemd/system/$unit; systemctl daemon-reload;"
            "systemctl restart $unit; cp $home/unit.service run/systemd/system/$unit"
        ),
        "started with an edited configuration": (
            "cp -p $home/gunicorn.conf.py tmp/kept; echo 'workers = 2' >> $home/gunicorn.conf.py;"
            "systemctl restart $unit; cat tmp/kept > $home/gunicorn.conf.py; rm tmp/kept"
        ),
        "started in an edited environment": (
            "cd $venv/lib/python3*/site-packages; echo >> gunicorn/arbiter.py; systemctl restart $unit"
        ),
    },
    "current": {
        "removed": "rm -r opt/rackhand/current/shop",
        "all removed": "rm -r opt/rackhand/current/*",
        "a link removed": "rm opt/rackhand/current/shop/app.sock",
        "a link elsewhere": "ln -sfn /run/other opt/rackhand/current/shop/app.sock",
        "other release": "cp -rp $home $home/../other; ln -sfn ${home%/*}/other opt/rackhand/current/shop/release",
        "a stray application": "mkdir opt/rackhand/current/stray",
        "when it became current": "rm $home/activated",
    },
    "retired": {
        "environment of no release": "mkdir opt/rackhand/venvs/none",
        "release that was never current": "mkdir $home/../never $home/../.half.partial",
        "instance of another release": (
            "cp run/systemd/system/$unit run/systemd/system/rackhand-shop@other-99.service;"
            "systemctl start rackhand-shop@other-99"
        ),
        "unit of no instance": "cp run/systemd/system/$unit run/systemd/system/rackhand-shop@other-99.service",
        "mask": "systemctl mask rackhand-shop@other-99.service",
        "half a record": "mkdir opt/rackhand/.current.partial",
        "socket of another strategy": "echo > run/systemd/system/rackhand-shop.socket",
    },
    "packages": {
        "removed": "dpkg --remove tree",
        "unpacked only": "cd tmp; apt-get download tree; dpkg --purge tree; dpkg --unpack tree_*.deb; rm tree_*.deb",
        "interrupted": (
            "dpkg --purge tree; printf '%s\\n' 'Package: tree' 'Status: install reinstreq half-installed' 'Version: 1'"
            " 'Architecture: amd64' > var/lib/dpkg/updates/0000"
        ),
    },
    "user": {
        "shell": "usermod --shell /bin/sh rackhand-shop",
        "group": "usermod --gid daemon rackhand-shop",
    },
    "release": {
        "edited": "echo >> $home/code/app.py",
    },
    "virtualenv": {
        "removed": "rm -r $venv",
        "file removed": "rm $venv/lib/python3*/site-packages/gunicorn/arbiter.py",
        "file edited": "cd $venv/lib/python3*/site-packages; echo >> gunicorn/arbiter.py",
        "file added": "cd $venv/lib/python3*/site-packages; touch sitecustomize.py",
        "owner": "chown rackhand-shop $venv/pyvenv.cfg",
        "never finished": "rm $venv/.rackhand",
    },
    "systemd_unit": {
        "removed": "rm etc/systemd/system/rackhand.service",
        "edited": "echo >> etc/systemd/system/rackhand.service",
        "masked": "ln -sf /dev/null etc/systemd/system/rackhand.service; systemctl daemon-reload",
    },
    "service": {
        "stopped": "systemctl stop shop-helper",
        "disabled": "systemctl disable shop-helper",
        "failed": "systemctl kill --signal=KILL shop-helper",
        "started from another file": (
            "cp -p etc/shop-helper.conf tmp/kept; echo >> etc/shop-helper.conf; systemctl restart shop-helper;"
            "cat tmp/kept > etc/shop-helper.conf; rm tmp/kept"
        ),
        "a file more": "mkdir -p etc/systemd/system/shop-helper.service.d; cd etc/systemd/system/shop-helper.service.d;"
        "printf '[Service]\nNice=1\n' > nice.conf",
        "what it was started from is forgotten": "rm var/lib/rackhand/services/shop-helper.service",
    },
    "nginx_site": {
        "removed": "rm etc/nginx/conf.d/rackhand.conf",
        "edited": "echo >> etc/nginx/conf.d/rackhand.conf",
        "broken": "echo '}' >> etc/nginx/conf.d/rackhand.conf",
        "put right, not loaded": (
            "cp etc/nginx/conf.d/rackhand.conf root/site;"
            f"echo >> etc/nginx/conf.d/rackhand.conf; {RELOAD};"
            "mv root/site etc/nginx/conf.d/rackhand.conf"
        ),
        "owner": "chown www-data etc/nginx/conf.d/rackhand.conf",
        "stopped": "systemctl stop nginx",
        "disabled": "systemctl disable --now nginx",
        "masked": "systemctl mask --now nginx",
        "masked until the next boot": "systemctl mask --now --runtime nginx",
    },
    "firewall": {
        "removed": "rm etc/rackhand/firewall.nft",
        "flushed": "nft flush ruleset",
        "a rule added": "nft add rule inet rackhand input tcp dport 23 accept",
        "a rule removed": (
            "nft delete rule inet rackhand input handle "
            "$(nft --handle list table inet rackhand | sed -n 's/.* invalid drop # handle //p')"
        ),
        "edited, not loaded": "sed -i 's/443/444/' etc/rackhand/firewall.nft",
        "edited and loaded": (
            "sed -i 's/443/444/' etc/rackhand/firewall.nft; nft -f etc/rackhand/firewall.nft;"
            "sed -i 's/444/443/' etc/rackhand/firewall.nft"
        ),
        "broken": "echo '}' >> etc/rackhand/firewall.nft",
        "policy": "nft add chain inet rackhand input '{ policy accept; }'",
        "owner": "chown daemon etc/rackhand/firewall.nft",
    },
    "sshd": {
        "removed": "rm etc/ssh/sshd_config.d/00-rackhand.conf",
        "edited and loaded": "sed -i 's/ no/ yes/' etc/ssh/sshd_config.d/00-rackhand.conf; systemctl reload ssh",
        "put right, not loaded": (
            "cp etc/ssh/sshd_config.d/00-rackhand.conf root/options;"
            "sed -i 's/ no/ yes/' etc/ssh/sshd_config.d/00-rackhand.conf; systemctl reload ssh;"
            "until test run/sshd.pid -nt etc/ssh/sshd_config.d/00-rackhand.conf; do sleep 0.1; done;"
            "mv root/options etc/ssh/sshd_config.d/00-rackhand.conf"
        ),
        "mode": "chmod 0600 etc/ssh/sshd_config.d/00-rackhand.conf",
    },
    "probe": {
        "no way to the application": "systemctl stop nginx",
    },
}
