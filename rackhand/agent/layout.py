"""Where Rackhand keeps things on a host. Paths are as the host sees them.

/opt/rackhand/current/APP/release          link to the release that serves
/opt/rackhand/current/APP/unit             link to the unit of the instance that serves
/opt/rackhand/current/APP/app.sock         link to its socket, which nginx follows
/opt/rackhand/apps/APP/releases/ID/        one release: code, gunicorn.conf.py, env, unit.service, a link to its venv
/opt/rackhand/venvs/KEY/                   one virtual environment, shared by releases with the same dependencies
/opt/rackhand/uv/DIGEST                    the uv that makes them
/opt/rackhand/boot                         starts, at boot, what `current` names
/opt/rackhand/maintenance/APP              there while nginx answers for an application
/run/systemd/system/UNIT                   the unit of one instance: a copy of its release's
/run/rackhand-APP/ID-N/                    the socket of one instance, which files it has loaded, what it is
/run/rackhand.drained                      edges may send nothing here
/var/lib/rackhand/runs/RUN.jsonl           the events of a run
/var/lib/rackhand/runs/last                link to those of the last one
/var/lib/rackhand/agent                    the agent, compiled by the host's Python
/var/lib/rackhand/guard/                   what is put back unless a change is confirmed
/var/lib/rackhand/services/UNIT            what a service was started from
/run/rackhand-tune/                        a candidate, while the host is tuned: like a release

`current` is the one record of what serves on the host. It is a folder that is replaced as a whole, in one step; all
that lies under /run can be made from it.
"""

BASE = "/opt/rackhand"
CURRENT = f"{BASE}/current"
APPS = f"{BASE}/apps"
VENVS = f"{BASE}/venvs"
UV = f"{BASE}/uv"
BOOT = f"{BASE}/boot"
MAINTENANCE = f"{BASE}/maintenance"
STATE = "/var/lib/rackhand"
RUNS = f"{STATE}/runs"
LAST_RUN = f"{RUNS}/last"
INCOMING = f"{STATE}/incoming"
AGENT = f"{STATE}/agent"
GUARD = f"{STATE}/guard"
SERVICES = f"{STATE}/services"
GUARD_UNIT = "rackhand-guard.service"
FIREWALL = "/etc/rackhand/firewall.nft"
LOCK = "/run/rackhand.lock"
DRAINED = "/run/rackhand.drained"
TUNING = "/run/rackhand-tune"
TUNING_LOCK = "/run/rackhand-tune.lock"
SYSTEMD = "/etc/systemd/system"
#: Units until the next boot. Systemd finds a new one here without being told.
VOLATILE = "/run/systemd/system"


def app(name: str) -> str:
    return f"{APPS}/{name}"


def release(name: str, release_id: str) -> str:
    return f"{APPS}/{name}/releases/{release_id}"


def current(name: str) -> str:
    return f"{CURRENT}/{name}"


def venv(key: str) -> str:
    return f"{VENVS}/{key}"


def runtime(name: str, instance: str) -> str:
    return f"/run/rackhand-{name}/{instance}"


def socket(name: str, instance: str) -> str:
    """The socket of one instance."""
    return f"{runtime(name, instance)}/app.sock"


def shared_socket(name: str) -> str:
    """The socket that systemd holds for an application whose releases run one after the other."""
    return f"/run/rackhand-{name}/app.sock"


def user(name: str) -> str:
    """The system user of an application: prefixed, so that an application may be called `backup` or `mail`."""
    return f"rackhand-{name}"


def instance(release_id: str, serial: int) -> str:
    """The name of an instance: its release, and a number that grows with every start of the application."""
    return f"{release_id}-{serial}"


def release_of(instance_name: str) -> str:
    return instance_name.rpartition("-")[0]


def serial_of(instance_name: str) -> int:
    """0 for what is no instance's name."""
    serial = instance_name.rpartition("-")[2]
    return int(serial) if serial.isdigit() else 0


def unit(name: str, instance_name: str) -> str:
    """The unit of an instance, prefixed so that an application may be called `ssh` or `getty`."""
    return f"rackhand-{name}@{instance_name}.service"


def slice_of(name: str) -> str:
    """The slice in which systemd puts all instances of an application."""
    return f"system-rackhand\\x2d{name}.slice"


def instance_of(unit_name: str) -> str:
    return unit_name.partition("@")[2].removesuffix(".service")


def listener(name: str, kind: str) -> str:
    """The unit that holds an application's shared socket (`socket`), or that a request there starts (`service`)."""
    return f"rackhand-{name}.{kind}"


#: The instance's name of whatever is a candidate. Its unit is that of the application `tune-APP`, which nobody's is
#: called, since names have no hyphens.
CANDIDATE = "candidate"
#: In a release's folder: when and by which run it last became current, as JSON.
ACTIVATED = "activated"
#: In a release's folder: why the release failed.
FAILED = "failed"
#: In a release's folder: the units of its instances and, where releases run one after the other, of their socket.
UNIT, SOCKET, HOLDER = "unit.service", "app.socket", "app.service"
#: In an instance's runtime folder: a digest of what it was started from.
LOADED = "loaded"
#: In an instance's runtime folder, written by its first worker: what the application is, as JSON.
APPLICATION = "application.json"
