"""Where Rackhand keeps things on a host. Paths are as the host sees them.

/opt/rackhand/apps/APP/current             link to the release that serves: the one record of what is current
/opt/rackhand/apps/APP/releases/ID/        one release: code, gunicorn.conf.py, env, links to venv and socket
/opt/rackhand/venvs/KEY/                   one virtual environment, shared by releases with the same dependencies
/opt/rackhand/uv/DIGEST                    the uv that makes them
/run/rackhand-APP/ID/app.sock              the socket of one instance
/var/lib/rackhand/runs/RUN.jsonl           the events of a run
/var/lib/rackhand/guard/                   what is put back unless a change is confirmed
"""

BASE = "/opt/rackhand"
APPS = f"{BASE}/apps"
VENVS = f"{BASE}/venvs"
UV = f"{BASE}/uv"
STATE = "/var/lib/rackhand"
RUNS = f"{STATE}/runs"
INCOMING = f"{STATE}/incoming"
GUARD = f"{STATE}/guard"
GUARD_UNIT = "rackhand-guard.service"
FIREWALL = "/etc/rackhand/firewall.nft"
LOCK = "/run/rackhand.lock"
SYSTEMD = "/etc/systemd/system"


def app(name: str) -> str:
    return f"{APPS}/{name}"


def release(name: str, release_id: str) -> str:
    return f"{APPS}/{name}/releases/{release_id}"


def current(name: str) -> str:
    return f"{APPS}/{name}/current"


def venv(key: str) -> str:
    return f"{VENVS}/{key}"


def runtime(name: str, release_id: str) -> str:
    return f"/run/rackhand-{name}/{release_id}"


def user(name: str) -> str:
    """The system user of an application: prefixed, so that an application may be called `backup` or `mail`."""
    return f"rackhand-{name}"


def template_unit(name: str) -> str:
    return f"rackhand-{name}@.service"


def unit(name: str, release_id: str) -> str:
    """The unit of an instance, prefixed so that an application may be called `ssh` or `getty`."""
    return f"rackhand-{name}@{release_id}.service"


#: In a release's folder: a file whose time says when the release last became current.
ACTIVATED = "activated"
#: In a release's folder: why the release failed.
FAILED = "failed"
