"""One root file system per Debian release, as bare as a cloud provider's, made once and kept in the cache."""

import hashlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rackhand.errors import UserError
from rackhand.lab import machine

APT = Path("/etc/apt")
RELEASES = ("bookworm", "trixie")

PACKAGES = (
    *("systemd", "systemd-sysv", "libpam-systemd", "dbus", "openssh-server", "sudo", "python3"),
    *("iproute2", "procps", "netbase", "ca-certificates"),
)

# Run inside the new root. The masked units fail in a container, or take apt's lock at a random moment.
# Each host gets its own host key, machine id and package sources; the package lists are left out because a fresh VM's
# are stale: whoever wants a package has to update them first.
SETUP = """
set -eu
useradd --create-home --shell /bin/bash deployer
echo 'deployer ALL=(ALL:ALL) NOPASSWD: ALL' > /etc/sudoers.d/deployer
chmod 440 /etc/sudoers.d/deployer
useradd --create-home --shell /bin/bash --gid operator --groups sudo operator
echo operator:lab-operator | chpasswd
echo LANG=C.UTF-8 > /etc/default/locale
systemctl enable systemd-networkd.service
systemctl disable systemd-networkd-wait-online.service
systemctl mask systemd-firstboot.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer console-getty.service getty@tty1.service systemd-pstore.service
apt-get clean
rm -rf /etc/ssh/ssh_host_* /etc/apt/sources.list /var/lib/apt/lists/* /var/log/bootstrap.log
touch --reference=/usr /etc/.updated /var/.updated  # or the first boot makes caches anew that dpkg just made
"""


@dataclass(frozen=True, kw_only=True)
class Mirrors:
    """Where packages come from: the archive, and its security updates."""

    archive: str
    security: str


def ensure(release: str) -> Path:
    """The finished image of a release, building it (about a minute) when there is none made by this recipe."""
    if release not in RELEASES:
        raise UserError(f"no lab image called '{release}': there are {', '.join(RELEASES)}")
    recipe = hashlib.sha256(repr((release, PACKAGES, SETUP)).encode()).hexdigest()[:12]
    images = machine.cache() / "images"
    images.mkdir(parents=True, exist_ok=True)
    image = images / f"{release}-{recipe}"
    with machine.locked(images) as lock:
        if not image.exists():
            print(f"lab: building the image of {release}, once, in about a minute", file=sys.stderr)
            _build(release, image, lock)
    return image


def _build(release: str, image: Path, lock: int) -> None:
    unfinished = image.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    log = image.with_name("build.log")
    debootstrap: list[str | Path] = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    with log.open("w") as output:
        for command, stdin in (
            ([*debootstrap, release, unfinished, mirrors().archive], ""),
            (["chroot", unfinished, "sh"], SETUP),
        ):
            # The private mount namespace unmounts what a killed build had mounted; the inherited lock keeps the next
            # build waiting for one that outlives its parent.
            done = machine.start(["unshare", "--mount", *command], stdin=stdin, output=output, keep_open=[lock])
            if done.returncode:
                raise UserError(f"making the lab image of {release} failed ({log}): {machine.tail(log.read_text())}")
    unfinished.rename(image)
    in_use = {option for mount in machine.mounts() for option in mount.options}
    for outdated in image.parent.glob(f"{release}-*"):
        if outdated != image and f"lowerdir={outdated}" not in in_use:
            shutil.rmtree(outdated)


def mirrors() -> Mirrors:
    """This machine's own mirrors when it is a Debian; elsewhere one must be named. Raises UserError."""
    system = platform.freedesktop_os_release()
    codename = system.get("VERSION_CODENAME", "")
    found: dict[str, str] = {}
    if system["ID"] == "debian":
        for file in (APT / "sources.list", *sorted((APT / "sources.list.d").glob("*"))):
            for uri, suite in archives(file):
                found.setdefault(suite, uri.rstrip("/"))
    archive = os.environ.get("RACKHAND_LAB_MIRROR") or found.get(codename)
    if archive is None:
        raise UserError("the lab's hosts are Debians: set RACKHAND_LAB_MIRROR to the address of a Debian mirror")
    return Mirrors(archive=archive, security=found.get(f"{codename}-security", f"{archive}-security"))


def archives(file: Path) -> Iterator[tuple[str, str]]:
    """The package archives on the web that a file of apt's sources names, as (URI, suite)."""
    text = file.read_text() if file.exists() else ""
    if file.suffix == ".sources":
        for stanza in re.split(r"\n\s*\n", text):
            field = {key.lower(): value.split() for key, value in re.findall(r"^([\w-]+):(.*)$", stanza, re.MULTILINE)}
            if "deb" in field.get("types", []) and field.get("enabled") != ["no"]:
                web = [uri for uri in field.get("uris", []) if uri.startswith("http")]
                yield from ((uri, suite) for uri in web for suite in field.get("suites", []))
    else:
        yield from re.findall(r"^deb\s+(?:\[.*?\]\s+)?(http\S+)\s+(\S+)", text, re.MULTILINE)


def sources(release: str) -> str:
    """The sources.list of a host of this release."""
    at = mirrors()
    return (
        f"deb {at.archive} {release} main\n"
        f"deb {at.archive} {release}-updates main\n"
        f"deb {at.security} {release}-security main\n"
    )
