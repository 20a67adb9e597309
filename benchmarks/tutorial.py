"""What the usual tutorials set up by hand: Gunicorn on a TCP port of the loopback address, nginx with its defaults
before it, and a unit of four lines."""

from pathlib import Path

from rackhand.bundle import SERVER_REQUIREMENTS
from rackhand.lab import LabHost

#: Where its nginx listens: Rackhand's has port 80 of the same host.
PORT = 8080

_PORTS = {"fast": 8000, "slow": 8001}

_WORKERS = {"fast": "uvicorn_worker.UvicornWorker", "slow": "sync"}

_UNIT = """\
[Service]
User=www-data
WorkingDirectory=/srv/{name}
ExecStart=/srv/{name}/venv/bin/gunicorn app:app --worker-class {worker} --workers {workers} --bind 127.0.0.1:{port}
"""

_SITE = f"""\
server {{
    listen {PORT};
    location /fast/ws {{
        proxy_pass http://127.0.0.1:8000/ws;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_set_header Host $host;
    }}
    location /fast/ {{ proxy_pass http://127.0.0.1:8000/; }}
    location /slow/ {{ proxy_pass http://127.0.0.1:8001/; }}
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
}}
"""


def unit(app: str) -> str:
    return f"tutorial-{app}.service"


def set_up(host: LabHost, apps: Path, workers: int) -> None:
    """On a host that has nginx. The versions of all packages are the same as Rackhand's, and Uvicorn has its fast parts
    (`uvicorn[standard]`). Raises UserError."""
    host.run(["apt-get", "-qq", "-y", "--no-install-recommends", "install", "python3-venv"])
    server = {"slow": SERVER_REQUIREMENTS["gunicorn"], "fast": tuple(sum(SERVER_REQUIREMENTS.values(), ()))}
    for name, port in _PORTS.items():
        folder = host.root / "srv" / name
        folder.mkdir()
        for file in ("app.py", "requirements.txt"):
            (folder / file).write_bytes((apps / name / file).read_bytes())
        host.run(["python3", "-m", "venv", f"/srv/{name}/venv"])
        pip = [f"/srv/{name}/venv/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        host.run([*pip, "-r", f"/srv/{name}/requirements.txt", *server[name]])
        text = _UNIT.format(name=name, worker=_WORKERS[name], workers=workers, port=port)
        (host.root / "etc/systemd/system" / unit(name)).write_text(text)
    (host.root / "etc/nginx/conf.d/tutorial.conf").write_text(_SITE)
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "start", *map(unit, _PORTS)])
    host.run(["systemctl", "reload", "nginx"])
