"""The floor under any tool: one hand-written, idempotent shell script for the job, piped through plain OpenSSH."""

import base64
from pathlib import Path

_FILES = Path(__file__).with_name("files")

_HEAD = """\
set -eu
export DEBIAN_FRONTEND=noninteractive
put() { # path mode: replaces a file when its content differs; says so in $changed
    base64 -d > "$1.new"
    if cmp -s "$1.new" "$1"; then rm "$1.new"; else chmod "$2" "$1.new"; mv "$1.new" "$1"; changed=yes; fi
}
if ! dpkg -s nginx-light python3-venv >/dev/null 2>&1; then
    apt-get -qq update
    apt-get -qq -y --no-install-recommends install nginx-light python3-venv >/dev/null 2>&1
fi
cores=$(nproc)
"""

_APP = """\
id -u {app} >/dev/null 2>&1 || useradd --system --no-create-home {app}
mkdir -p /srv/{app}/code
changed=no
{files}
put /srv/{app}/gunicorn.conf.py 644 <<CONF
$(base64 <<SETTINGS
{settings}
SETTINGS
)
CONF
code=$changed
[ -d /srv/{app}/venv ] || python3 -m venv /srv/{app}/venv
sum=$(sha256sum < /srv/{app}/code/requirements.txt)
if [ "$(cat /srv/{app}/installed 2>/dev/null)" != "$sum" ]; then
    /srv/{app}/venv/bin/pip install --quiet --disable-pip-version-check -r /srv/{app}/code/requirements.txt
    echo "$sum" > /srv/{app}/installed
    code=yes
fi
changed=no
put /etc/systemd/system/{app}.service 644 <<'UNIT'
{unit}
UNIT
if [ $changed = yes ]; then systemctl daemon-reload; systemctl enable --quiet {app}; code=yes; fi
if [ $code = yes ]; then systemctl restart {app}; else systemctl start {app}; fi
"""

_TAIL = """\
changed=no
put /etc/nginx/sites-available/default 644 <<'SITE'
{site}
SITE
if [ $changed = yes ]; then nginx -t -q; systemctl reload nginx; fi
python3 - <<'WAIT'
{wait}
WAIT
"""

#: Of each application: the variables of its files. `$((...))` is for the shell on the host.
_VARIABLES = {
    "async_api": {"worker_class": "uvicorn_worker.UvicornWorker", "threads": "1", "prefix": ""},
    "sync_api": {"worker_class": "gthread", "threads": "2", "prefix": "/sync-api"},
}


def _encoded(text: str) -> str:
    return base64.encodebytes(text.encode()).decode().strip()


def _rendered(template: str, **values: str) -> str:
    from jinja2 import Template

    return str(Template((_FILES / template).read_text()).render(**values))


def script(apps: Path, workers: int | None) -> str:
    """The script for the applications below a folder, with so many workers each, else one more than there are cores."""
    parts = [_HEAD]
    for app, variables in _VARIABLES.items():
        files = []
        for path in sorted((apps / app).rglob("*")):
            if path.is_file():
                target = f"/srv/{app}/code/{path.relative_to(apps / app)}"
                made = f"mkdir -p $(dirname {target})\n"
                files.append(f"{made}put {target} 644 <<'FILE'\n{_encoded(path.read_text())}\nFILE")
        count = "$((cores + 1))" if workers is None else str(workers)
        parts.append(
            _APP.format(
                app=app,
                files="\n".join(files),
                settings=_rendered("gunicorn.conf.py.j2", app=app, workers=count, **variables),
                unit=_encoded(_rendered("app.service.j2", app=app)),
            )
        )
    site, wait = (_FILES / "site.conf").read_text(), (_FILES / "wait.py").read_text()
    parts.append(_TAIL.format(site=_encoded(site), wait=wait))
    return "\n".join(parts)
