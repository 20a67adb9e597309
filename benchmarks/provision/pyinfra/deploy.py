"""The job as a pyinfra deploy. The inventory gives `code`, the folder with the applications, and `most_workers`."""

from pathlib import Path

from pyinfra import host
from pyinfra.api.operation import OperationMeta
from pyinfra.facts.hardware import Cpus
from pyinfra.operations import apt, files, pip, server, systemd

FILES = "../files"


def install(app: str, workers: int, **settings: str | int) -> None:
    """One application: its user, code, environment, configuration and unit."""
    folder = f"/srv/{app}"
    code = Path(host.data.code) / app
    server.user(name=f"{app}: user", user=app, system=True, create_home=False)
    pinned = files.put(
        name=f"{app}: requirements", src=str(code / "requirements.txt"), dest=f"{folder}/requirements.txt", mode="644"
    )
    changes: list[OperationMeta] = [
        files.sync(name=f"{app}: code", src=str(code), dest=f"{folder}/code", delete=True),
        # Given packages instead of a file, it would compare them with what is installed, each time, but misses that
        # pydantic-core and pydantic_core are the same.
        pip.packages(
            name=f"{app}: environment",
            requirements=f"{folder}/requirements.txt",
            virtualenv=f"{folder}/venv",
            virtualenv_kwargs={"venv": True, "python": "python3"},
            _if=pinned.did_change,
        ),
        files.template(
            name=f"{app}: Gunicorn",
            src=f"{FILES}/gunicorn.conf.py.j2",
            dest=f"{folder}/gunicorn.conf.py",
            app=app,
            workers=workers,
            **settings,
        ),
        unit := files.template(
            name=f"{app}: unit", src=f"{FILES}/app.service.j2", dest=f"/etc/systemd/system/{app}.service", app=app
        ),
    ]
    systemd.daemon_reload(name=f"{app}: reload systemd", _if=unit.did_change)
    systemd.service(
        name=f"{app}: restart",
        service=app,
        restarted=True,
        _if=lambda: any(change.did_change() for change in changes),
    )
    systemd.service(name=f"{app}: start", service=app, running=True, enabled=True)


apt.packages(
    name="Packages",
    packages=["nginx-light", "python3-venv"],
    no_recommends=True,
    update=True,
    cache_time=86400,
)
most = host.data.get("most_workers") or host.get_fact(Cpus) + 1
install("async_api", most, worker_class="uvicorn_worker.UvicornWorker", threads=1, prefix="")
install("sync_api", most, worker_class="gthread", threads=2, prefix="/sync-api")
site = files.put(name="nginx: site", src=f"{FILES}/site.conf", dest="/etc/nginx/sites-available/default", mode="644")
systemd.service(name="nginx: start", service="nginx", running=True, enabled=True)
server.shell(name="nginx: check and reload", commands=["nginx -t -q", "systemctl reload nginx"], _if=site.did_change)
# pyinfra counts a command as a change whatever it does.
server.script(name="Wait for both applications", src=f"{FILES}/wait.py")
