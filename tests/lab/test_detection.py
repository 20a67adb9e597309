"""What an application is, is found out by its own workers on the host: what they cannot serve never gets traffic."""

import re

import httpx
import pytest

from rackhand.lab import LabHost
from tests.lab.site import Site
from tests.lab.test_deploy import served


def line_of(site: Site, app: str, setting: str) -> str:
    """The place of a setting as messages name it."""
    path = site.inventory / "group_vars" / "web.yml"
    lines = path.read_text().splitlines()
    start = lines.index(f"  {app}:")
    number = next(n for n, line in enumerate(lines[start:], start + 1) if line.startswith(f"    {setting}:"))
    return f"{path}:{number}: apps.{app}.{setting}"


@pytest.mark.parametrize(
    ("app", "worker", "what", "write"),
    [
        ("sync_api", "uvicorn", r"a WSGI application \(Flask 3[0-9.]+\), which Uvicorn's workers", "sync or gthread"),
        ("async_api", "sync", r"an ASGI application \(FastAPI [0-9.]+\), which sync workers", "uvicorn or asgi"),
    ],
)
def test_workers_of_the_wrong_kind(site: Site, host: LabHost, app: str, worker: str, what: str, write: str) -> None:
    """They are refused before traffic, with the reason, the line to change and what to write there."""
    before = served(host)
    site.variables["apps"][app] |= {"worker": worker}
    site.variables["apps"][app].pop("threads", None)
    site.write()
    result = site.invoke("deploy", "--host", "web1", "--app", app)
    assert result.code == 2
    place = re.escape(line_of(site, app, "worker"))
    assert re.search(rf"^ +{place}: {app} is {what} cannot serve: write {write}, or leave it out$", result.out, re.M)
    assert "what served before goes on serving" in result.out
    assert "the application said" not in result.out
    assert served(host) == before


def test_an_object_that_is_not_there(site: Site, host: LabHost) -> None:
    """The line to change is that of `app`; the message names what there is."""
    before = served(host)
    site.variables["apps"]["sync_api"]["app"] = "app:application"
    site.write()
    result = site.invoke("deploy", "--host", "web1", "--app", "sync_api")
    assert result.code == 2
    assert f"{line_of(site, 'sync_api', 'app')}: the module app has no application, but app\n" in result.out
    assert served(host) == before


def test_factories(site: Site, host: LabHost) -> None:
    """Are called, for applications of either protocol, with Gunicorn and without, whether or not that is written."""
    for app in ("sync_api", "async_api"):
        with (site.apps / app / "app.py").open("a") as file:
            file.write("\n\ndef create_app(name=None):\n    return app\n")
    site.variables["apps"]["sync_api"] |= {"app": "app:create_app", "worker": "gthread"}
    del site.variables["apps"]["async_api"]["worker"]
    site.variables["apps"]["async_api"] |= {"app": "app:create_app()", "server": "uvicorn"}
    site.write()
    site.deploy("web1")
    served(host)


def test_asgi_2(site: Site, host: LabHost) -> None:
    """Is adapted for workers that speak ASGI 3 alone."""
    with (site.apps / "async_api" / "app.py").open("a") as file:
        file.write("\n\nclass Second:\n    def __init__(self, scope):\n        self.scope = scope\n\n")
        file.write("    async def __call__(self, receive, send):\n        await app(self.scope, receive, send)\n")
    for worker in ("uvicorn", "asgi"):
        site.variables["apps"]["async_api"] |= {"app": "app:Second", "worker": worker}
        site.write()
        site.deploy("web1")
        served(host)


def test_warnings(site: Site, host: LabHost) -> None:
    """They are told by every run that looks at the instance, in every form, and fail none."""
    site.variables["apps"]["sync_api"]["workers"] = 1000
    with (site.apps / "sync_api" / "requirements.txt").open("a") as file:
        file.write("livereload==2.7.1\n")
    site.write()
    seen = site.invoke("plan", "--host", "web1")
    assert seen.code == 0
    assert re.search(
        r"^warning: .*sync_api: the requirements of sync_api have livereload, a development", seen.out, re.M
    )
    assert re.search(r"^web1 +warning +.*apps.sync_api.workers: 1000 workers of 128 MiB each need", seen.out, re.M)

    del site.variables["apps"]["sync_api"]["workers"]
    site.write()
    site.edit("sync_api/requirements.txt", "livereload==2.7.1\n", "")
    site.edit("sync_api/app.py", "app = Flask(__name__)", "app = Flask(__name__)\napp.debug = True")
    with (site.apps / "sync_api" / "app.py").open("a") as file:
        file.write('\n\n@app.get("/later")\nasync def later() -> str:\n    return "later"\n')
    # Named, and left out.
    with (site.apps / "async_api" / "requirements.txt").open("a") as file:
        file.write('uvloop==0.21.0; sys_platform == "win32"\n')
    told = [
        "async_api: uvloop cannot be imported: Uvicorn is slower without: require uvicorn[standard]",
        "sync_api: debug mode is on: error pages show code and variables to everybody: turn it off",
        "sync_api: 1 of 7 endpoints are async def (later): under Flask each",
    ]
    deployed = site.deploy("web1")
    again = site.invoke("deploy", "--host", "web1")
    texts = [event["text"] for event in deployed.events if event["event"] == "warning"]
    assert [one for text, one in zip(texts, told, strict=True) if not text.startswith(one)] == [], texts
    assert again.code == 0
    assert all(f"web1  warning  {one}" in again.out for one in told)
    assert httpx.get(f"http://{host.address}/sync-api/health").status_code == 200


def test_advice_for_a_host(site: Site, host: LabHost) -> None:
    """A host that is named is asked how much it has; what the inventory says otherwise is told with its line."""
    site.variables["apps"]["sync_api"]["workers"] = 1000
    with (site.apps / "sync_api" / "access_report" / "log.py").open("a") as file:
        file.write("\n\nimport sqlite3\n")
    site.write()
    result = site.invoke("advise", "--host", "web1", "--app", "sync_api")
    assert result.code == 0
    assert re.match(r"sync_api on web1 \(\d+ cores, \d+ MiB\): Flask, 5 endpoints \(0 async def, 5 def\)\n", result.out)
    assert re.search(
        r"^workers +1000 +auto .*: \d+ for \d+ cores and \d+ MiB; 1000 of 128 MiB each do not fit$", result.out, re.M
    )
    assert f"    workers: auto  # {line_of(site, 'sync_api', 'workers')} is 1000\n" in result.out
    assert "    threads: 4  # " in result.out
    (told,) = site.invoke("advise", "--host", "web1", "--app", "sync_api", "--json").events
    assert (told["host"], told["app"]) == ("web1", "sync_api")
