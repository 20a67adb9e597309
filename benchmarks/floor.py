"""The floor under any tool: one hand-written, idempotent shell script for the main job, piped through plain OpenSSH."""

import base64
from pathlib import Path

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
units=no
"""

_APP = """\
id -u {name} >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin {name}
mkdir -p /srv/{name}/code
changed=no
{files}
put /srv/{name}/gunicorn.conf.py 644 <<CONF
$(base64 <<SETTINGS
bind = "unix:/run/{name}/app.sock"
workers = $((cores + 1))
worker_class = "{worker}"
raw_env = ["SCRIPT_NAME={script}"]
SETTINGS
)
CONF
code=$changed
[ -d /srv/{name}/venv ] || python3 -m venv /srv/{name}/venv
sum=$(sha256sum < /srv/{name}/code/requirements.txt)
if [ "$(cat /srv/{name}/installed 2>/dev/null)" != "$sum" ]; then
    /srv/{name}/venv/bin/pip install --quiet --disable-pip-version-check -r /srv/{name}/code/requirements.txt
    /srv/{name}/venv/bin/pip install --quiet --disable-pip-version-check {server}
    echo "$sum" > /srv/{name}/installed
    code=yes
fi
changed=no
put /etc/systemd/system/{name}.service 644 <<'UNIT'
{unit}
UNIT
if [ $changed = yes ]; then systemctl daemon-reload; systemctl enable --quiet {name}; code=yes; fi
if [ $code = yes ]; then systemctl restart {name}; else systemctl start {name}; fi
"""

_UNIT = """\
[Service]
Type=notify
User={name}
RuntimeDirectory={name}
WorkingDirectory=/srv/{name}/code
ExecStart=/srv/{name}/venv/bin/python -m gunicorn -c /srv/{name}/gunicorn.conf.py app:app
[Install]
WantedBy=multi-user.target
"""

_SITE = """\
server {
    listen 80 default_server;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    location /async-api/ { proxy_pass http://unix:/run/async_api/app.sock:/; }
    location /sync-api/ { proxy_pass http://unix:/run/sync_api/app.sock; }
}
"""

_TAIL = """\
changed=no
put /etc/nginx/sites-available/default 644 <<'SITE'
{site}
SITE
if [ $changed = yes ]; then nginx -t -q; systemctl reload nginx; fi
python3 - <<'WAIT'
import time, urllib.request
for path in ("async-api", "sync-api"):
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1/{{path}}/health", timeout=2)
            break
        except OSError:
            time.sleep(0.02)
    else:
        raise SystemExit(f"{{path}} is not healthy")
WAIT
"""

_WORKERS = {"async_api": ("uvicorn_worker.UvicornWorker", ""), "sync_api": ("gthread", "/sync-api")}


def _encoded(text: str) -> str:
    return base64.encodebytes(text.encode()).decode().strip()


def script(apps: Path, server: dict[str, str]) -> str:
    """The script for the applications below a folder; `server` names, by application, the server packages to add."""
    parts = [_HEAD]
    for name, (worker, prefix) in _WORKERS.items():
        files = []
        for path in sorted((apps / name).rglob("*")):
            relative = path.relative_to(apps / name)
            if path.is_dir() or "tests" in relative.parts or "__pycache__" in relative.parts:
                continue
            target = f"/srv/{name}/code/{relative}"
            files.append(f"mkdir -p $(dirname {target})\nput {target} 644 <<'FILE'\n{_encoded(path.read_text())}\nFILE")
        parts.append(
            _APP.format(
                name=name,
                worker=worker,
                script=prefix,
                server=server[name],
                files="\n".join(files),
                unit=_encoded(_UNIT.format(name=name)),
            )
        )
    parts.append(_TAIL.format(site=_encoded(_SITE)))
    return "\n".join(parts)
