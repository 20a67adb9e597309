"""The lab itself: its hosts behave like VMs, labs never meet, and nothing of a lab outlives it."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from rackhand.errors import UserError
from rackhand.lab import Lab, LabHost
from rackhand.lab.image import archives

PROJECT = Path(__file__).parents[2]
NewLab = Callable[[], Lab]


@pytest.fixture
def new_lab() -> Iterator[NewLab]:
    """Makes labs that are removed after the test."""
    labs: list[Lab] = []

    def make() -> Lab:
        labs.append(Lab(f"self-{os.getpid()}-{len(labs)}", owned=True))
        return labs[-1]

    yield make
    for lab in labs:
        lab.down()


def shell(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    return done.stdout


def traces(lab: Lab, bridge: str) -> list[str]:
    """Everything on this machine that names a lab's folder or bridge."""
    everything = shell(
        "cat /proc/mounts; ip -oneline address; ip -oneline link; nft list tables; ps -eo args;"
        f"find /sys/fs/cgroup -type d; ls -d {shlex.quote(str(lab.folder))} || true"
    )
    trace = re.compile(rf"{re.escape(str(lab.folder))}|\b{bridge}(_|\b)")
    return [line for line in everything.splitlines() if trace.search(line)]


def ssh(lab: Lab, host: LabHost, command: str, user: str = "root") -> str:
    """What a command prints over SSH, connecting as the lab's inventory says."""
    web = yaml.safe_load((lab.inventory / "hosts.yml").read_text())["all"]["children"]["web"]
    address, variables = web["hosts"][host.name]["ansible_host"], web["vars"]
    key = shlex.quote(variables["ansible_ssh_private_key_file"])
    options = f"-F none -o BatchMode=yes -i {key} {variables['ansible_ssh_common_args']}"
    return shell(f"ssh {options} {user}@{address} {shlex.quote(command)}").strip()


def start_python(script: str) -> subprocess.Popen[str]:
    """A process group of its own, to be hit as a terminal's Ctrl-C hits one: as a whole."""
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.002)


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_a_host_is_a_bare_debian_that_is_fully_up_and_lets_its_three_users_in(new_lab: NewLab, release: str) -> None:
    lab = new_lab()
    (host,) = lab.up(["one"], release)
    host.run(["systemctl", "is-system-running", "--wait"], check=False)
    failed = host.run(["systemctl", "list-units", "--state=failed", "--no-legend", "--plain"]).stdout.split()[:1]
    assert not failed, host.run(["journalctl", "--no-pager", "--unit", *failed]).stdout
    assert f"VERSION_CODENAME={release}\n" in host.run(["cat", "/etc/os-release"]).stdout
    assert host.run(["sh", "-c", "ls /var/lib/apt/lists; command -v nginx || true"]).stdout == ""
    assert ssh(lab, host, "hostname; id -un") == "one\nroot"
    assert ssh(lab, host, "sudo --non-interactive id -un", user="deployer") == "root"
    assert (
        ssh(lab, host, "sudo --non-interactive true || echo lab-operator | sudo -S id -un", user="operator") == "root"
    )


def test_labs_at_the_same_time_do_not_meet(new_lab: NewLab) -> None:
    """Hosts of the same name in two labs differ in everything, and one lab's end does not touch the other."""
    first, second = new_lab(), new_lab()
    (a,), (b,) = first.up(["same"]), second.up(["same"])
    assert a.address != b.address
    a.run(["touch", "/root/here"])
    assert b.run(["test", "-e", "/root/here"], check=False).returncode == 1
    assert a.run(["cat", "/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout.split() != (
        b.run(["cat", "/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout.split()
    )
    first.down()
    assert first.hosts() == []
    assert second.hosts() == [b]
    assert ssh(second, b, "echo alive") == "alive"
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "1\n"


def test_up_again_keeps_what_is_there_and_adds_the_rest(new_lab: NewLab) -> None:
    lab = new_lab()
    (one,) = lab.up(["one"])
    boot = one.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    again, two = lab.up(["one", "two"])
    assert again == one
    assert one.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout == boot
    assert lab.hosts() == [one, two]
    assert ssh(lab, two, "hostname") == "two"


def test_who_reads_how_hosts_are_reached_while_it_is_written_anew_reads_all_of_it(new_lab: NewLab) -> None:
    lab = new_lab()
    lab.up(["one"])
    whole = [path.read_text() for path in (lab.known_hosts, lab.inventory / "hosts.yml")]
    over = threading.Event()

    def read() -> set[str]:
        found: set[str] = set()
        while not over.is_set():
            found |= {path.read_text() for path in (lab.known_hosts, lab.inventory / "hosts.yml")}
        return found

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(read)
        try:
            for _ in range(50):
                lab.up(["one"])
        finally:
            over.set()
    assert reading.result() == set(whole)


def test_a_host_keeps_its_disk_but_nothing_else_through_a_power_cut_and_a_reboot(new_lab: NewLab) -> None:
    lab = new_lab()
    (host,) = lab.up(["one"])
    boots = set()
    for stop in (host.power_cut, host.reboot):
        boots.add(host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout)
        host.run(["sh", "-c", "echo kept >> /root/disk; touch /run/memory"])
        stop()
        assert lab.hosts() == ([] if stop == host.power_cut else [host])
        host.boot()
        host.wait_ssh()
        assert host.run(["test", "-e", "/run/memory"], check=False).returncode == 1
    boots.add(host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout)
    assert len(boots) == 3
    assert ssh(lab, host, "cat /root/disk") == "kept\nkept"


def test_a_host_that_begins_as_a_copy_has_its_files_and_an_identity_of_its_own(new_lab: NewLab, tmp_path: Path) -> None:
    lab = new_lab()
    (first,) = lab.up(["first"])
    first.run(["sh", "-c", "echo kept > /srv/mark"])
    first.power_cut()
    copied = tmp_path / "root"
    subprocess.run(["cp", "--archive", first.root, copied], check=True)
    first.boot()
    (copy,) = lab.up(["copy"], base=copied)
    first.wait_ssh()
    assert ssh(lab, copy, "cat /srv/mark") == "kept"
    for file in ("/etc/hostname", "/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"):
        assert ssh(lab, copy, f"cat {file}") != ssh(lab, first, f"cat {file}")


def test_a_host_sees_its_cores_its_cpu_quota_and_its_memory_limit(new_lab: NewLab) -> None:
    """In the control group at the top of what it sees, in either version; and the limits of a unit bind too."""
    lab = new_lab()
    (host,) = lab.up(["small"], cores=1, cpu_quota=1.5, memory=512 * 2**20)
    assert ssh(lab, host, "nproc") == "1"
    assert host.run(["nproc"]).stdout == "1\n"
    top = "cd /sys/fs/cgroup; if [ -e cpu.max ]; then cat cpu.max memory.max; else "
    top += "cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us memory/memory.limit_in_bytes; fi"
    assert ssh(lab, host, top).split() == ["150000", "100000", str(512 * 2**20)]
    own = "cat /sys/fs/cgroup/system.slice/limited.service/memory.max || "
    own += "cat /sys/fs/cgroup/memory/system.slice/limited.service/memory.limit_in_bytes"
    unit = ["systemd-run", "--quiet", "--unit=limited", "--property=MemoryMax=64M", "--wait", "--pipe", "sh", "-c", own]
    assert host.run(unit).stdout == f"{64 * 2**20}\n"


def test_down_gives_the_machine_back_as_it_was(tmp_path: Path) -> None:
    """Mounts, addresses, nftables, forwarding, control groups, processes: all as before. Asked in a network and mount
    namespace of the test's own, where no other lab keeps forwarding and systemd-nspawn's folder in use: the folder is
    one of its own, too, as removing one takes what is mounted there from every namespace."""
    script = f"""
import os, subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from rackhand.lab import Lab
lab = Lab("clean-{os.getpid()}", owned=True)
def look():
    # A mount of another lab disappears here too when that lab goes down.
    eyes = "awk '!/.lab.labs./ || /clean-/' /proc/mounts; cat /proc/sys/net/ipv4/ip_forward;"
    eyes += "cat /proc/sys/fs/inotify/max_user_instances;"
    eyes += "ip -o address; nft list ruleset; ls -d /run/systemd/nspawn"
    return subprocess.run(eyes, shell=True, capture_output=True, text=True).stdout
def own(bridge):  # other labs' processes and control groups come and go
    eyes = 'ps -eo args; find /sys/fs/cgroup -type d'
    lines = subprocess.run(eyes, shell=True, capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if bridge + "-one" in line]
before = look()
[host] = lab.up(["one"])
bridge = host.network.bridge
assert look() != before and own(bridge)
lab.down()
assert look() == before, look() + "-- but before:\\n" + before
assert not own(bridge), own(bridge)
assert not lab.folder.exists()
lab.down()
print("clean")
"""
    alone = 'umount --lazy /run/systemd/nspawn; mount --bind "$1" /run/systemd; shift;'
    alone += 'echo 0 > /proc/sys/net/ipv4/ip_forward; exec "$@"'
    command = ["unshare", "--mount", "--net", "sh", "-c", alone, "sh", str(tmp_path), sys.executable, "-c", script]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout == "clean\n", done.stderr


def test_a_lab_is_swept_once_its_owner_was_killed_and_not_before() -> None:
    name = f"orphan-{os.getpid()}"
    lab = Lab(name)
    script = f"""
from rackhand.lab import Lab
(host,) = Lab({name!r}, owned=True).up(["one"])
with host.network.disturbed("cut", "chain input {{ type filter hook input priority 0; }}"):
    print("up", flush=True)
    input()
"""
    with start_python(script) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        assert name not in Lab.sweep()
        (host,) = lab.hosts()
        os.killpg(owner.pid, signal.SIGKILL)
    assert lab.hosts() == [host]
    assert name in Lab.sweep()
    assert traces(lab, host.network.bridge) == []


@pytest.mark.parametrize("moment", ["network", "hosts/one/host.json", "hosts/one/created", "hosts/two/console.log"])
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_down_removes_what_an_interrupted_up_left(moment: str, blow: signal.Signals) -> None:
    name = f"interrupted-{os.getpid()}"
    lab = Lab(name)
    with start_python(f"from rackhand.lab import Lab; Lab({name!r}).up(['one', 'two'])") as up:
        wait_for(lab.folder / moment)
        os.killpg(up.pid, blow)
    assert up.returncode != 0
    bridge = f"rhlab{(lab.folder / 'network').read_text()}"
    lab.down()
    assert traces(lab, bridge) == []


def test_up_finishes_what_an_interrupted_up_began() -> None:
    name = f"resumed-{os.getpid()}"
    lab = Lab(name)
    try:
        with start_python(f"from rackhand.lab import Lab; Lab({name!r}).up(['one'])") as up:
            wait_for(lab.folder / "hosts/one/host.json")
            os.killpg(up.pid, signal.SIGKILL)
        (host,) = lab.up(["one"])
        assert ssh(lab, host, "hostname") == "one"
    finally:
        lab.down()


def test_a_host_that_cannot_boot_is_reported_with_the_last_words_of_its_console(new_lab: NewLab) -> None:
    lab = new_lab()
    (host,) = lab.up(["one"])
    host.power_cut()
    (host.root / "sbin/init").unlink()
    with pytest.raises(UserError, match=r"(?s)one does not run .*console\.log.*/sbin/init"):
        lab.up(["one"])


def test_a_failed_command_is_reported_with_what_it_said(new_lab: NewLab) -> None:
    (host,) = new_lab().up(["one"])
    with pytest.raises(UserError, match=r"one: `ls /nowhere` failed \(exit 2\): ls: cannot access '/nowhere'"):
        host.run(["ls", "/nowhere"])
    assert host.run(["cat"], input="said").stdout == "said"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "sources.list",
            "# deb http://no/ a main\ndeb [arch=amd64 signed-by=/k] http://a/debian b main\ndeb-src http://no c main\n",
        ),
        (
            "a.sources",
            "# Types: deb\nTypes: deb deb-src\nURIs: http://a/debian\nSuites: b\nComponents: main\n\n"
            "Types: deb\nURIs: http://no\nSuites: b\nEnabled: no\n\nTypes: deb\nURIs: mirror+file:/no\nSuites: b\n",
        ),
        ("a.list", "deb cdrom:[Debian]/ b main\ndeb http://a/debian b main"),
    ],
)
def test_the_mirror_is_read_from_both_forms_of_apts_sources(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert list(archives(tmp_path / name)) == [("http://a/debian", "b")]


def test_without_root_the_lab_says_so_in_one_line() -> None:
    script = "import os; from rackhand.lab import Lab; os.seteuid(65534)\n"
    script += "try: Lab('rootless').up(['one'])\nexcept Exception as error: print(repr(error))"
    with start_python(script) as up:
        said, _ = up.communicate()
    assert said == "UserError('lab hosts are containers of this machine and need root: run this again as root')\n"


@pytest.mark.parametrize(
    ("names", "image", "message"),
    [
        (["one"], "potato", "no lab image called 'potato': there are bookworm, trixie"),
        (["One"], "bookworm", "'One' cannot name a host: use lower-case letters, digits and hyphens, a letter first"),
    ],
)
def test_wrong_wishes_are_refused_in_one_line(new_lab: NewLab, names: list[str], image: str, message: str) -> None:
    lab = new_lab()
    with pytest.raises(UserError) as refused:
        lab.up(names, image)
    assert str(refused.value) == message
    assert not lab.folder.exists()
