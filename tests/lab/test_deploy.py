"""The main job on a real host: deploy, deploy again, drift, a bad release, rollback."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from testinfra.host import Host as Eye

from rackhand.lab import Lab, LabHost
from tests.contract import RELOAD
from tests.lab.site import Site

SERVED = {"async_api": "/async-api/health", "sync_api": "/sync-api/health"}


def served(host: LabHost) -> dict[str, str]:
    """By application: the release that answers through port 80, as the application itself names it."""
    answers = {app: httpx.get(f"http://{host.address}{path}", timeout=10) for app, path in SERVED.items()}
    assert {app: answer.status_code for app, answer in answers.items()} == dict.fromkeys(SERVED, 200)
    return {app: answer.json()["release"] for app, answer in answers.items()}


def everything(host: LabHost) -> str:
    """A digest of all that Rackhand has to do with on a host: names, owners, modes, times, running processes. What a
    run writes by itself, its journal and its lock, is left out."""
    places = "/opt/rackhand /etc/nginx /etc/systemd /etc/passwd /etc/group /var/lib/dpkg/status /var/lib/apt/lists"
    files = host.run(["sh", "-c", f"find {places} -printf '%p %u %g %m %i %T@ %C@ %l\\n' | sort"]).stdout
    units = "systemctl show --property=Id,InvocationID,ExecMainPID,StateChangeTimestamp 'rackhand-*' nginx.service"
    services = host.run(["sh", "-c", units]).stdout
    workers = host.run(["sh", "-c", "ps -eo pid,user:32,args | awk '/nginx|gunicorn/ && !/awk/'"]).stdout
    return hashlib.sha256(f"{files}{services}{workers}".encode()).hexdigest()


def test_check_predicts_the_first_deploy_and_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    """On a fresh host a check touches nothing, and the deploy then changes just what the check has said."""
    (host,) = lab.up(["fresh1"])
    site = Site(tmp_path, lab, [host])
    before = everything(host)
    predicted = site.deploy("fresh1", "--check")
    assert everything(host) == before
    assert host.run(["test", "-e", "/opt/rackhand"], check=False).returncode == 1
    assert site.deploy("fresh1").resources("changed") == predicted.resources("changed")
    served(host)


def test_a_second_run_changes_nothing(site: Site, host: LabHost) -> None:
    """Nothing is written, reloaded or restarted, not even a file's time."""
    before = everything(host)
    result = site.invoke("deploy", "--host", "web1")
    assert result.code == 0
    assert re.search(r"web1 +: ok=\d+ +changed=0 ", result.out)
    assert everything(host) == before


def test_the_host_is_as_the_roles_say(site: Site, host: LabHost, eye: Callable[[LabHost], Eye]) -> None:
    """Seen over plain SSH: packages, services, users, and who may read what."""
    seen = eye(host)
    assert seen.package("nginx").is_installed
    assert seen.service("nginx").is_running
    assert seen.service("nginx").is_enabled
    assert seen.socket("tcp://0.0.0.0:80").is_listening
    for app, release in served(host).items():
        assert seen.user(f"rackhand-{app}").shell == "/usr/sbin/nologin"
        unit = seen.check_output(f"readlink /opt/rackhand/current/{app}/unit").rpartition("/")[2]
        assert unit.startswith(f"rackhand-{app}@{release}-")
        assert seen.service(unit).is_running
        folder = f"/opt/rackhand/apps/{app}/releases/{release}"
        assert seen.file(f"{folder}/env").mode == 0o600
        assert (seen.file(f"{folder}/code").group, seen.file(f"{folder}/code").mode) == (f"rackhand-{app}", 0o750)
        assert seen.file(f"/opt/rackhand/current/{app}/release").linked_to == folder
    assert "welcome" not in httpx.get(f"http://{host.address}/").text.lower()
    failed = seen.check_output("systemctl list-units --state=failed --no-legend")
    assert failed == ""


#: Where an instance is not as wanted, another one is started beside it, made current, and the first one retired.
ANOTHER = {"instance", "current", "retired"}

#: By name: what somebody does to the host by hand, and the kinds of resources that see it.
DAMAGE = {
    "a deleted unit": ("rm /run/systemd/system/rackhand-sync_api@*.service", ANOTHER),
    "an edited unit": (
        "sed -i s/UMask=0027/UMask=0000/ /run/systemd/system/rackhand-sync_api@*.service; systemctl daemon-reload",
        ANOTHER,
    ),
    "a unit edited in the release": (
        "sed -i s/UMask=0027/UMask=0000/ /opt/rackhand/current/sync_api/release/unit.service",
        {"release", *ANOTHER},
    ),
    "an edited site": ("sed -i s/server_tokens/#/ /etc/nginx/conf.d/rackhand.conf", {"nginx_site"}),
    "an edited site that nginx has loaded": (
        f"sed -i s/16m/1k/ /etc/nginx/conf.d/rackhand.conf; {RELOAD}",
        {"nginx_site"},
    ),
    "a deleted site": (f"rm /etc/nginx/conf.d/rackhand.conf; {RELOAD}", {"nginx_site"}),
    "a stopped instance": ("systemctl stop 'rackhand-sync_api@*'", ANOTHER),
    "a masked instance": (
        "cd /run/systemd/system; u=$(echo rackhand-sync_api@*.service); systemctl stop $u; rm $u; systemctl mask $u",
        ANOTHER,
    ),
    "a masked nginx": ("systemctl mask --now nginx", {"nginx_site"}),
    "a disabled nginx": ("systemctl disable nginx", {"nginx_site"}),
    "a wrong owner": ("chown daemon /opt/rackhand/current/sync_api/release/code/app.py", {"release", *ANOTHER}),
    "a readable secret": ("chmod 644 /opt/rackhand/current/sync_api/release/env", {"release", *ANOTHER}),
    "edited code": ("echo >> /opt/rackhand/current/sync_api/release/code/app.py", {"release", *ANOTHER}),
    "a removed file of an environment": (
        "rm $(readlink -f /opt/rackhand/current/sync_api/release/venv)/lib/python3*/site-packages/flask/app.py",
        {"virtualenv", *ANOTHER},
    ),
    "a removed environment": (
        "rm -r $(readlink -f /opt/rackhand/current/sync_api/release/venv)",
        {"virtualenv", *ANOTHER},
    ),
    "a removed record of what is current": ("rm -r /opt/rackhand/current/sync_api", {"current"}),
    "the default site put back": (
        "ln -sf /etc/nginx/sites-available/default /etc/nginx/sites-enabled/default",
        {"link"},
    ),
    "a removed package": ("apt-get -qq -y purge nginx nginx-common 2>&1", {"packages", "nginx_site", "link"}),
    "a user with a shell": ("usermod -s /bin/sh rackhand-sync_api", {"user"}),
    "a removed boot script": ("rm /opt/rackhand/boot", {"file"}),
    "a disabled start at boot": ("systemctl disable rackhand.service", {"link"}),
    "a folder that anyone may write to": ("chmod 777 /opt/rackhand/apps", {"directory"}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_seen_and_repaired(site: Site, host: LabHost, name: str) -> None:
    """A plan sees it and leaves it; a deploy repairs it, changing just what the plan said; then all is well."""
    command, kinds = DAMAGE[name]
    release = served(host)
    host.run(["sh", "-c", command])
    damaged = everything(host)
    seen = site.invoke("plan", "--host", "web1", "--json")
    assert seen.code == 0, seen.out + seen.err
    assert {resource.partition(":")[0] for resource in seen.resources("changed")} == kinds
    assert everything(host) == damaged
    assert site.deploy("web1").resources("changed") == seen.resources("changed")
    assert site.deploy("web1").resources("changed") == []
    assert served(host) == release


#: By name: what is wrong with a release's code, and what the run says of it.
BAD = {
    "does not import": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "ends while it starts": ("import os; os._exit(7)", "instance:sync_api"),
    "has no such object": ("del app", "apps.sync_api.app: the module app has no app"),
    "answers with an error": (
        "app.view_functions['health'] = lambda: ('out of order', 500)",
        "/sync-api/health on its own socket: status 500",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_release_never_serves(site: Site, host: LabHost, name: str) -> None:
    """The run ends with 2 and the application's own last lines; the old release serves on, in the same processes, and
    nothing of the new one runs."""
    code, said = BAD[name]
    release = served(host)
    # An older instance may still drain: it is not looked at.
    running = "systemctl list-units --no-legend --plain --state=active --output=json 'rackhand-*@*'"
    running += "; systemctl show -p MainPID -p InvocationID $(basename $(readlink /opt/rackhand/current/sync_api/unit))"
    before = host.run(["sh", "-c", running]).stdout
    with (site.apps / "sync_api" / "app.py").open("a") as file:
        file.write(f"\n{code}\n")
    result = site.invoke("deploy", "--host", "web1")
    assert result.code == 2, result.out
    assert said in result.out
    assert "goes on serving" in result.out
    assert re.search(r"web1 +: .*failed=1 ", result.out)
    assert served(host) == release
    assert host.run(["sh", "-c", running]).stdout == before


def test_dependencies_that_cannot_be_installed(site: Site, host: LabHost) -> None:
    """The run ends with 2 and says why; the old release serves on, and no half-made environment is left."""
    release = served(host)
    (site.apps / "sync_api" / "requirements.txt").write_text("flask==0.0.0.1\n")
    result = site.invoke("deploy", "--host", "web1")
    assert result.code == 2
    assert "flask==0.0.0.1" in result.out
    assert served(host) == release
    assert ".partial" not in host.run(["ls", "-a", "/opt/rackhand/venvs"]).stdout


def test_rollback_and_releases(site: Site, host: LabHost) -> None:
    """Rollback goes to the release before, or to a named one, and a deploy comes back; one that failed is no target."""
    first = served(host)["sync_api"]
    site.edit("sync_api/requirements.in", "", "# a second release\n")
    site.deploy("web1")
    second = served(host)["sync_api"]
    assert second != first
    assert site.invoke("rollback", "--host", "web1", "--app", "sync_api").code == 0
    assert served(host)["sync_api"] == first
    assert site.invoke("rollback", "--host", "web1", "--app", "sync_api", "--release", second[:6]).code == 0
    assert served(host)["sync_api"] == second

    with (site.apps / "sync_api" / "app.py").open("a") as file:
        file.write("\nraise RuntimeError('broken')\n")
    assert site.invoke("deploy", "--host", "web1").code == 2
    listed = site.invoke("releases", "--host", "web1", "--app", "sync_api", "--json").events
    assert [row["id"] for row in listed if row["current"]] == [second]
    (failed,) = (row["id"] for row in listed if row["failed"])
    refused = site.invoke("rollback", "--host", "web1", "--app", "sync_api", "--release", failed)
    assert refused.code == 2
    assert f"release {failed} of sync_api has failed" in refused.out
    assert served(host)["sync_api"] == second
    unknown = site.invoke("rollback", "--host", "web1", "--app", "sync_api", "--release", "nonesuch")
    assert unknown.code == 2
    assert "is not on the host" in unknown.out


def test_old_releases_go_and_the_kept_ones_stay(site: Site, host: LabHost) -> None:
    """With two to keep, the third release removes the first; nothing of it runs or lies about."""
    site.variables["rackhand_keep_releases"] = 2
    site.write()
    for number in range(3):
        (site.apps / "sync_api" / "number.txt").write_text(str(number))
        site.deploy("web1")
    listed = site.invoke("releases", "--host", "web1", "--app", "sync_api", "--json").events
    assert len(listed) == 2
    assert len(host.run(["ls", "-A", "/opt/rackhand/apps/sync_api/releases"]).stdout.split()) == 2
    assert site.invoke("deploy", "--host", "web1", "--json").resources("changed") == []


def test_one_application_alone(site: Site, host: LabHost) -> None:
    """--app deploys that one; the other, changed as well, is left as it is, and its route stays."""
    before = served(host)
    for app in SERVED:
        (site.apps / app / "note.txt").write_text("changed")
    site.deploy("web1", "--app", "sync_api")
    after = served(host)
    assert after["async_api"] == before["async_api"]
    assert after["sync_api"] != before["sync_api"]
    for command in ("deploy", "rollback", "smoke", "status", "releases"):
        refused = site.invoke(command, "--host", "web1", "--app", "nope")
        assert (refused.code, refused.err.count("\n")) == (5, 1)
        assert "--app nope" in refused.err


def test_status_facts_and_smoke(site: Site, host: LabHost) -> None:
    """What they print is what the host and the applications say."""
    release = served(host)
    rows = {row["app"]: row for row in site.invoke("status", "--host", "web1", "--json").events}
    assert {app: row["release"] for app, row in rows.items()} == release
    assert {row["health"] for row in rows.values()} == {"ok"}
    for app, row in rows.items():
        workers = host.run(["pgrep", "-c", "-u", f"rackhand-{app}", "-f", "gunicorn"]).stdout
        assert row["workers"] == int(workers) - 1
        assert row["memory"] > 10 * 2**20
    (facts,) = site.invoke("facts", "--host", "web1", "--json").events
    assert facts["facts"]["cores"] == int(host.run(["nproc"]).stdout)
    assert facts["facts"]["os_version"] == "12"
    assert site.invoke("smoke", "--host", "web1").code == 0
    host.run(["systemctl", "stop", "nginx"])
    try:
        assert site.invoke("smoke", "--host", "web1", "--app", "sync_api").code == 2
    finally:
        host.run(["systemctl", "start", "nginx"])


def test_the_site_is_refused_before_it_replaces_anything(site: Site, host: LabHost) -> None:
    """When nginx's configuration does not parse, for whatever reason, the run says so and nothing was replaced."""
    release = served(host)
    path = "/etc/nginx/conf.d/rackhand.conf"
    host.run(["sh", "-c", "echo 'nonsense;' > /etc/nginx/conf.d/own.conf"])
    try:
        content = host.run(["cat", path]).stdout
        del site.variables["apps"]["async_api"]
        site.write()
        result = site.invoke("deploy", "--host", "web1")
        assert result.code == 2
        assert 'unknown directive "nonsense"' in result.out
        assert host.run(["cat", path]).stdout == content
        assert served(host) == release
    finally:
        host.run(["rm", "/etc/nginx/conf.d/own.conf"])


#: Holds each of apt's locks until the apt that needs it has been there for two seconds.
_HOLD = """
import fcntl, glob, time

def hold(path, command):
    file = open(path, "w")
    fcntl.lockf(file, fcntl.LOCK_EX)
    yield
    seen = 0
    while seen < 20:
        time.sleep(0.1)
        for name in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                words = open(name).read().split(chr(0))
            except OSError:
                continue
            seen += words[0] == "apt-get" and command in words
    file.close()
    yield

locks = [hold("/var/lib/apt/lists/lock", "update"), hold("/var/lib/dpkg/lock-frontend", "install")]
for lock in locks:
    next(lock)
open("/run/holding", "w").close()
for lock in locks:
    next(lock)
"""


def test_apts_locks_are_waited_for(site: Site, host: LabHost) -> None:
    """While another program holds apt's locks, a deploy that has a package to install, from lists that it must first
    update, waits for it instead of failing."""
    host.run(["sh", "-c", "apt-get -qq -y purge nginx nginx-common 2>&1; rm -rf /var/lib/apt/lists/*_*"])
    host.run(["systemd-run", "--quiet", "--unit=holder", "python3", "-c", _HOLD])
    host.run(["sh", "-c", "until [ -e /run/holding ]; do sleep 0.1; done; rm /run/holding"])
    assert "packages:apt" in site.deploy("web1").resources("changed")
    served(host)
