"""One lab host: a container that behaves like a fresh VM, on an overlay over the image of its Debian release."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rackhand.errors import UserError
from rackhand.lab import image as images
from rackhand.lab import machine
from rackhand.lab.cgroup import Cgroup
from rackhand.lab.network import Network, uplink_mtu

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
CA_EXTRA = Path("/usr/local/share/ca-certificates")


# Number 1 in the container until it becomes systemd. systemd-nspawn mounts the first version's controllers read-only;
# made anew they are writable, so that systemd can limit units as on a VM.
INIT = """
mounts=$(cat /proc/mounts)
for controller in cpu cpuacct memory pids blkio; do
    case $mounts in *" /sys/fs/cgroup/$controller cgroup ro,"*)
        umount "/sys/fs/cgroup/$controller"
        mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
    esac
done
exec /sbin/init
"""


@dataclass(frozen=True, kw_only=True)
class LabHost:
    """A host: what it was made of. Whether it runs is asked of the machine, never remembered."""

    name: str
    address: str
    image: str
    folder: Path
    base: Path
    network: Network
    cores: int | None = None
    cpu_quota: float | None = None
    memory: int | None = None

    @property
    def root(self) -> Path:
        """The host's file system, as it is right now."""
        return self.folder / "root"

    @property
    def machine(self) -> str:
        """Its name among all the containers of this machine."""
        return f"{self.network.bridge}-{self.name}"

    @property
    def cgroup(self) -> Cgroup:
        """The control group that its processes live in."""
        return Cgroup(name=self.machine)

    @property
    def log(self) -> Path:
        """What systemd-nspawn and the host's console printed since the last boot."""
        return self.folder / "console.log"

    @property
    def running(self) -> bool:
        """Whether its init lives."""
        return self.cgroup.init() is not None

    def create(self, authorized_key: str) -> None:
        """Make its disk; a disk that an interrupted earlier run left half made is thrown away."""
        self.destroy()
        self.folder.mkdir(parents=True)
        machine.record(self.folder / "host.json", json.dumps(dataclasses.asdict(self), default=str))
        self._mount()
        for path, text in self._files().items():
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        if CA_BUNDLE.exists():
            shutil.copyfile(CA_BUNDLE, self.root / CA_BUNDLE.relative_to("/"))
        if CA_EXTRA.is_dir():
            shutil.copytree(CA_EXTRA, self.root / CA_EXTRA.relative_to("/"), dirs_exist_ok=True)
        for home, user in (("root", "root"), ("home/deployer", "deployer"), ("home/operator", "operator")):
            self._authorize(self.root / home, user, authorized_key)
        self._host_key.unlink(missing_ok=True)  # that of the host whose copy it is
        machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", self._host_key)
        self._created.touch()

    @property
    def created(self) -> bool:
        """Whether its disk was finished."""
        return self._created.exists()

    @staticmethod
    def load(folder: Path) -> "LabHost":
        """The host of this folder."""
        description = json.loads((folder / "host.json").read_text())
        paths = {key: Path(description[key]) for key in ("folder", "base")}
        return LabHost(**description | paths | {"network": Network(**description["network"])})

    def known_host(self) -> str:
        """Its line of a known_hosts file."""
        kind, key, _ = self._host_key.with_suffix(".pub").read_text().split()
        return f"{self.address} {kind} {key}\n"

    def boot(self) -> None:
        """Start it from the disk that it has. It answers SSH about a second later: see `wait_ssh`."""
        if self.running:
            return
        self._mount()
        self.cgroup.create(cpu_quota=self.cpu_quota, memory=self.memory)
        nspawn = [
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--resolv-conf=off"),
            *("--console=pipe", f"--directory={self.root}", f"--machine={self.machine}"),
            f"--network-bridge={self.network.bridge}",
        ]
        if self.cores is not None:
            usable = sorted(os.sched_getaffinity(0))
            if self.cores > len(usable):
                raise UserError(f"{self.name}: {self.cores} cores asked for, this machine has {len(usable)} to give")
            nspawn.append(f"--cpu-affinity={','.join(map(str, usable[: self.cores]))}")
        nspawn += ["/bin/sh", "-c", INIT]
        with self.log.open("w") as log:
            # A session of its own, so that neither Ctrl-C nor the end of this process reaches the host.
            machine.start([*_join(self.cgroup.folders), "setsid", "--fork", *nspawn], output=log)
        while self.cgroup.init() is None:
            self._check_alive()
            time.sleep(0.01)
        self.cgroup.limit(cpu_quota=self.cpu_quota, memory=self.memory)

    def wait_ssh(self, within: float = 60) -> None:
        """Return once sshd greets; a UserError when the host dies first, or after so many seconds."""
        deadline = time.monotonic() + within
        while not self._greets():
            self._check_alive()
            if time.monotonic() > deadline:
                raise UserError(f"{self.name} does not answer SSH at {self.address}: {self._last_lines()}")
            time.sleep(0.02)

    def run(self, command: Sequence[str], *, check: bool = True, input: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as root inside the host, without SSH: an independent eye. It is under the host's limits."""
        init = self.cgroup.init()
        if init is None:
            raise UserError(f"{self.name} does not run")
        cores = ",".join(map(str, sorted(os.sched_getaffinity(init))))
        enter = ["taskset", "--cpu-list", cores, "nsenter", f"--target={init}", "--all", "--root", "--wd"]
        done = machine.start([*_join(self.cgroup.of(init)), *enter, *command], stdin=input)
        done.args = list(command)
        if check and done.returncode:
            said = machine.tail(done.stderr or done.stdout)
            raise UserError(f"{self.name}: `{' '.join(command)}` failed (exit {done.returncode}): {said}")
        return done

    def power_cut(self) -> None:
        """Stop it as pulling the plug would: nothing in it gets to say goodbye. `boot` starts it again."""
        self.cgroup.kill()

    def reboot(self, within: float = 60) -> None:
        """Shut it down properly and boot it again; returns once sshd greets."""
        self.run(["systemctl", "--no-block", "reboot"])
        if not self.cgroup.empties(within=within):
            raise UserError(f"{self.name} did not shut down within {within:.0f} s: {self._last_lines()}")
        self.boot()
        self.wait_ssh()

    def destroy(self) -> None:
        """Remove it and its disk, however much there is of it."""
        self.cgroup.kill()
        self.cgroup.remove()
        machine.unmount_below(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _created(self) -> Path:
        return self.folder / "created"

    @property
    def _host_key(self) -> Path:
        return self.root / "etc/ssh/ssh_host_ed25519_key"

    def _mount(self) -> None:
        if any(mount.point == self.root for mount in machine.mounts()):
            return
        if not self.base.exists():
            raise UserError(
                f"{self.name}: the image that its disk is based on is gone ({self.base}): run lab.down first"
            )
        layers = {"upperdir": self.folder / "disk", "workdir": self.folder / "work"}
        for folder in (*layers.values(), self.root):
            folder.mkdir(exist_ok=True)
        options = ",".join(f"{key}={folder}" for key, folder in ({"lowerdir": self.base} | layers).items())
        machine.run("mount", "-t", "overlay", "overlay", "-o", options, self.root)

    def _files(self) -> dict[str, str]:
        resolved = Path("/run/systemd/resolve/resolv.conf")  # where /etc/resolv.conf names a stub on the loopback
        resolv_conf = resolved if resolved.exists() else Path("/etc/resolv.conf")
        return {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n::1 localhost ip6-localhost ip6-loopback\n",
            "etc/machine-id": f"{uuid.uuid4().hex}\n",
            "etc/resolv.conf": resolv_conf.read_text(),
            "etc/apt/sources.list": images.sources(self.image),
            "etc/systemd/network/10-host0.network": (
                "[Match]\nName=host0\n"
                f"[Link]\nMTUBytes={uplink_mtu()}\n"
                f"[Network]\nAddress={self.address}/24\nGateway={self.network.address(1)}\n"
                "IPv6AcceptRA=no\n"  # or networkd waits for a router that never comes
            ),
        }

    def _authorize(self, home: Path, user: str, key: str) -> None:
        passwd = (self.root / "etc/passwd").read_text().splitlines()
        uid, gid = next(map(int, row.split(":")[2:4]) for row in passwd if row.startswith(f"{user}:"))
        ssh = home / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        (ssh / "authorized_keys").write_text(key)
        for path in (ssh, ssh / "authorized_keys"):
            os.chown(path, uid, gid)

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _check_alive(self) -> None:
        if not self.cgroup.processes():
            raise UserError(f"{self.name} does not run ({self.log}): {self._last_lines()}")

    def _last_lines(self) -> str:
        return machine.tail(self.log.read_text(errors="replace"), lines=10)


def _join(cgroup: Sequence[Path]) -> list[str]:
    """What to put before a command so that it runs in this control group, given by its folder in each hierarchy."""
    # A group that systemd has just removed has left its processes to the one above it.
    enter = '{ echo 0 > "$folder/cgroup.procs"; } 2>/dev/null || echo 0 > "${folder%/*}/cgroup.procs" || exit'
    script = f'for folder in $1; do {enter}; done; shift; exec "$@"'
    return ["sh", "-c", script, "sh", "\n".join(map(str, cgroup))]
