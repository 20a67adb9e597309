"""Advice: what is found in source, and what is recommended for that."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rackhand.advice import advice
from rackhand.advise import advise
from rackhand.commands import Options
from rackhand.errors import UserError
from rackhand.findings import Findings, Hint, findings
from rackhand.inventory import Origin
from rackhand.settings import App

# What is found

FLASK = "from flask import Flask\napp = Flask(__name__)\n"
FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Findings]:
    def found(code: str, requirements: str = "", **others: str) -> Findings:
        for name, text in {"app": code, **others}.items():
            (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.py").write_text(text)
        return findings(tmp_path, "app:app", requirements)

    monkeypatch.chdir(tmp_path)
    return found


@pytest.mark.parametrize(
    ("code", "asynchronous", "plain"),
    [
        (f"{FASTAPI}@app.get('/a')\nasync def a(): ...\n@app.post(path='/b')\ndef b(): ...", 1, 1),
        ("from fastapi import APIRouter\nr = APIRouter()\n@r.api_route('')\n@r.get('/')\nasync def a(): ...", 2, 0),
        (f"{FLASK}@app.route('/a')\ndef a(): ...\napp.add_url_rule('/b', 'b', view_func=a)", 0, 2),
        ("from flask import Blueprint\nb = Blueprint('b', 'b')\n@b.get('/')\nasync def a(): ...", 1, 0),
        ("from flask.views import View as V\nclass A(V):\n def get(self): ...\n async def post(self): ...", 1, 1),
        ("from starlette.routing import Route\nasync def a(r): ...\nroutes = [Route('/', endpoint=a)]", 1, 0),
        ("from django.urls import path\nfrom . import views\nurls = [path('a', views.a), path('b', views.b)]", 0, 2),
        ("@cache.get('key')\ndef a(): ...\n@app.get\ndef b(): ...\nclient.get('/path')", 0, 0),
        (f"{FLASK}from flask_sock import Sock\nsock = Sock(app)\n@sock.route('/ws')\ndef ws(w): ...", 0, 0),
    ],
    ids=["FastAPI", "router", "Flask", "blueprint", "class", "Starlette", "Django", "no endpoints", "flask_sock"],
)
def test_endpoints(found: Callable[..., Findings], code: str, asynchronous: int, plain: int) -> None:
    """By decorators, by calls that add a route, and in classes of views."""
    seen = found(code)
    assert (seen.asynchronous, seen.plain) == (asynchronous, plain)


DJANGO = "from django.urls import path\n"


@pytest.mark.parametrize(
    ("app", "others", "asynchronous"),
    [
        (f"{FASTAPI}@app.get('/a')\nasync def index(): ...", {"b": f"{FLASK}@app.get('/b')\ndef index(): ..."}, 1),
        (f"{FASTAPI}@app.get('/a')\nasync def index(): ...", {"b": "def index(): ..."}, 1),
        (f"{FASTAPI}@app.get('/a')\ndef index(): ...", {"b": "async def index(): ..."}, 0),
        (f"{DJANGO}import b\nurls = [path('a', b.index)]", {"b": "async def index(): ..."}, 1),
        (
            f"{DJANGO}from b import index\nimport c\nurls = [path('b', index), path('c', c.index)]",
            {"b": "async def index(): ...", "c": "def index(): ..."},
            1,
        ),
        (
            f"{DJANGO}from b import index as start\nurls = [path('b', start)]",
            {"b": "async def index(): ...", "c": "def index(): ..."},
            1,
        ),
        (
            DJANGO,
            {
                "a/views": "def index(): ...",
                "b/urls": f"{DJANGO}from . import views\nurls = [path('b', views.index)]",
                "b/views": "async def index(): ...",
            },
            1,
        ),
    ],
    ids=[
        "in both",
        "only in one",
        "the other way round",
        "elsewhere",
        "in two others",
        "by another name",
        "in folders",
    ],
)
def test_endpoints_of_one_name(
    found: Callable[..., Findings], app: str, others: dict[str, str], asynchronous: int
) -> None:
    """An endpoint is the function of its own module, or of the one that it is from."""
    assert found(app, **others).asynchronous == asynchronous


@pytest.mark.parametrize(
    ("code", "framework", "speaks"),
    [
        (FLASK, "Flask", "wsgi"),
        (f"import flask\n{FASTAPI}", "FastAPI", "asgi"),
        (f"import fastapi\n{FLASK}", "Flask", "wsgi"),
        ("from starlette.applications import Starlette\napp = Starlette()", "Starlette", "asgi"),
        ("from elsewhere import app", "Litestar", "asgi"),
        ("async def app(scope, receive, send): ...", "Litestar", "asgi"),
    ],
)
def test_framework(found: Callable[..., Findings], code: str, framework: str, speaks: str) -> None:
    """That of the object, when several are imported; else that of the requirements."""
    seen = found(code, "litestar==2\n")
    assert (seen.framework, seen.protocol) == (framework, speaks)


BLOCKING = """
import time, subprocess, asyncio, hashlib
import requests as r
from urllib.request import urlopen
from redis.asyncio import Redis
import httpx

async def a():
    time.sleep(1)
    r.get("/")
    await asyncio.to_thread(time.sleep, 1)
    async with httpx.AsyncClient() as client:
        await client.get("/")
    Redis()
    if True:
        urlopen("/")
    def inner():
        time.sleep(1)
    call = lambda: time.sleep(1)
    open("file").read()
    hashlib.scrypt(b"", salt=b"", n=2, r=1, p=1)
    subprocess.run(["true"])

def b():
    time.sleep(1)
    open("file")
"""


def test_what_holds_up_an_event_loop(found: Callable[..., Findings]) -> None:
    """Calls within async def, not those in a function of its own, which a thread may run; each with its line."""
    seen = found(BLOCKING)
    assert [(hint.where, hint.what.partition(" ")[0]) for hint in seen.blocking] == [
        ("app.py:9", "time.sleep()"),
        ("app.py:10", "requests.get()"),
        ("app.py:16", "urllib.request.urlopen()"),
        ("app.py:20", "open()"),
        ("app.py:21", "hashlib.scrypt()"),
        ("app.py:22", "subprocess.run()"),
    ]
    assert all(hint.instead for hint in seen.blocking)
    assert [hint.where for hint in seen.waiting if hint.what == "time.sleep()"] == [
        "app.py:18",
        "app.py:19",
        "app.py:25",
    ]
    assert [hint.what for hint in seen.computing] == ["hashlib.scrypt()"]


CLIENTS = """
import boto3, psycopg2, redis, requests, httpx, subprocess
from urllib.request import Request
import redis.asyncio

s: requests.Session = requests.Session()
r = redis.Redis()
q = redis.asyncio.Redis()
asked = Request("/")
got = requests.get("/")
if True:
    try:
        c = boto3.client("s3")
    except ValueError:
        c = None

async def a(shadowed):
    s.get("/")
    r.get("key")
    await q.get("key")
    c.get_object(Key="key")
    late.cursor()
    asked.add_header("a", "b")
    got.json()

async def b(s, *r, **c):
    s.get("/")
    r.get("/")
    c.get("/")
    late = await elsewhere()
    late.cursor()

async def inside():
    with httpx.Client() as client:
        client.get("/")
    cursor = late.cursor()
    cursor.execute("select 1")
    if (process := subprocess.Popen(["true"])):
        process.wait()
    for s in (): s.get("/")
    call = lambda r: r.get("key")
    def thread(r, c):
        client.get("/")
    r.get("key")

def plain():
    s.get("/")

late = psycopg2.connect("")
"""


def test_clients_hold_up_an_event_loop(found: Callable[..., Findings]) -> None:
    """What is called of an object that waits for others does too, wherever the object is made: in the module or in the
    function. What is of the same name there, or cannot wait, does not count."""
    seen = found(CLIENTS)
    assert [(hint.where, hint.what.partition(" ")[0]) for hint in seen.blocking] == [
        ("app.py:18", "requests.Session.get()"),
        ("app.py:19", "redis.Redis.get()"),
        ("app.py:21", "boto3.client.get_object()"),
        ("app.py:22", "psycopg2.connect.cursor()"),
        ("app.py:34", "httpx.Client()"),
        ("app.py:35", "httpx.Client.get()"),
        ("app.py:36", "psycopg2.connect.cursor()"),
        ("app.py:37", "psycopg2.connect.cursor.execute()"),
        ("app.py:38", "subprocess.Popen()"),
        ("app.py:39", "subprocess.Popen.wait()"),
        ("app.py:44", "redis.Redis.get()"),
    ]
    assert [hint.where for hint in seen.waiting if hint.what.startswith(("requests.S", "httpx.Client"))] == [
        "app.py:6",
        "app.py:43",
        "app.py:47",
    ]


def test_what_stays_connected(found: Callable[..., Findings]) -> None:
    seen = found(
        f"{FASTAPI}from fastapi.responses import StreamingResponse as S, StreamingResponse\n"
        "@app.websocket('/ws')\nasync def ws(): ...\n"
        "@app.get('/s')\nasync def s(): return StreamingResponse(None)\n"
        "@app.get('/e')\nasync def e(): return S(None, media_type='text/event-stream; charset=utf-8')\n"
    )
    assert [hint.where for hint in seen.websockets] == ["app.py:4"]
    assert [hint.where for hint in seen.streams] == ["app.py:7", "app.py:9"]


def test_what_is_not_the_applications_code(found: Callable[..., Findings], tmp_path: Path) -> None:
    """Tests, virtual environments, and files that no Python can read, do not count."""
    for name in ("tests/a.py", ".venv/lib/a.py", "test_a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("import numpy")
    assert found(FLASK, broken="def (", pandas_report="import pandas").computing == (
        Hint(file="pandas_report.py", line=1, what="pandas"),
    )


# What is recommended

HERE = (Hint(file="app.py", line=7, what="requests"),)
ASGI = Findings(framework="FastAPI", protocol="asgi", asynchronous=3)
WSGI = Findings(framework="Flask", protocol="wsgi", plain=3)
FACTS = {"cores": 2, "memory_mb": 4096}


def shop(**settings: Any) -> App:
    return App(
        name="shop", path=Path("shop"), app="app:app", route="/", origin=Origin(file="web.yml", line=2), **settings
    )


def but(found: Findings, **changed: Any) -> Findings:
    return Findings(**{**vars(found), **changed})


@pytest.mark.parametrize(
    ("found", "now", "worker", "workers", "threads"),
    [
        (ASGI, "uvicorn", "uvicorn", "auto", None),
        (ASGI, "sync", "uvicorn", "auto", None),
        (ASGI, "asgi", "asgi", "auto", None),
        (but(ASGI, computing=HERE), "uvicorn", "uvicorn", "min(cores, memory_mb // 128)", None),
        (but(ASGI, websockets=HERE), "uvicorn", "uvicorn", "auto", None),
        (WSGI, "sync", "sync", "auto", None),
        (WSGI, "uvicorn", "sync", "auto", None),
        (WSGI, "gthread", "gthread", "auto", 2),
        (but(WSGI, waiting=HERE), "sync", "gthread", "auto", 4),
        (but(WSGI, computing=HERE), "gthread", "sync", "auto", None),
        (but(WSGI, computing=HERE, waiting=HERE), "sync", "gthread", "auto", 4),
        (but(WSGI, websockets=HERE), "sync", "gthread", "auto", 16),
        (but(WSGI, streams=HERE), "sync", "gthread", "auto", 16),
        (Findings(), "uvicorn", "uvicorn", "auto", None),
        (Findings(), "sync", "sync", "auto", None),
    ],
)
def test_the_decision_table(found: Findings, now: str, worker: str, workers: str, threads: int | None) -> None:
    """The rows of docs/choosing.md. Every one has its reason; where nothing is known, what is set stays."""
    given = {one.setting: one for one in advice(found, shop(), now).recommendations}
    assert (given["server"].better, given["worker"].better, given["workers"].better) == ("gunicorn", worker, workers)
    assert (given["threads"].better if "threads" in given else None) == threads
    assert given["worker"].differs == (now != worker)
    assert all(one.why for one in given.values())


def test_uvicorn_alone(found: Callable[..., Findings]) -> None:
    """Gunicorn is better; its workers are then a setting that there is not yet."""
    given = {one.setting: one for one in advice(ASGI, shop(server="uvicorn"), "uvicorn").recommendations}
    assert (given["server"].now, given["server"].better) == ("uvicorn", "gunicorn")


def test_a_host_gives_numbers() -> None:
    """What a setting comes to there, and whether what is set fits its memory."""

    def why(**settings: Any) -> str:
        given = advice(ASGI, shop(**settings), "uvicorn", FACTS).recommendations
        return next(one.why for one in given if one.setting == "workers")

    assert why().endswith("and one more: 3 for 2 cores and 4096 MiB")
    assert why(workers=64).endswith("; 64 of 128 MiB each do not fit")


@pytest.mark.parametrize(
    ("found", "remark"),
    [
        (but(ASGI, blocking=HERE), "app.py:7: requests holds up all requests of its worker meanwhile"),
        (but(ASGI, asynchronous=0, plain=3), "all 3 endpoints are def"),
        (ASGI, None),
        (WSGI, "nothing here asks for async: Flask on Gunicorn is a good choice"),
        (but(WSGI, asynchronous=2), "2 endpoints are async def: under Flask"),
        (but(WSGI, websockets=HERE), "requests at app.py:7: hundreds of clients"),
    ],
)
def test_remarks(found: Findings, remark: str | None) -> None:
    """What goes beyond settings: code to change, or a framework."""
    remarks = advice(found, shop(), "uvicorn").remarks
    assert len(remarks) == (0 if remark is None else 1)
    assert all(text.startswith(remark or "") for text in remarks)


# The command


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command says of an application that could be served better, declared for two hosts."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/requirements.txt").write_text("flask\n")
    (tmp_path / "shop/app.py").write_text(f"import requests\n{FLASK}@app.get('/')\ndef a(): ...\n")
    app = f"{{path: {tmp_path}/shop, app: app:app, route: /, workers: 3,\n  worker: sync}}"
    (tmp_path / "hosts.yml").write_text(f"all:\n hosts: {{a: , b: }}\n vars:\n  apps:\n   shop: {app}\n")
    monkeypatch.chdir(tmp_path)

    def told(app: str | None = None, *, json: bool = False) -> str:
        assert advise(Options(host=None, inventory=("hosts.yml",), json=json), app=app) == 0
        return capsys.readouterr().out

    return told


def test_command(told: Callable[..., str]) -> None:
    """Without a host none is asked; what is declared alike for several is told once, with what to write instead of
    which line."""
    lines = told().splitlines()
    assert lines[0] == "shop: Flask, 1 endpoint (0 async def, 1 def)"
    (row,) = (line for line in lines if line.startswith("worker "))
    assert row.split(maxsplit=3)[1:3] == ["sync", "gthread"]
    assert "requests wait for others (requests at shop/app.py:1)" in row
    assert lines[lines.index("apps:") :] == [
        "apps:",
        "  shop:",
        "    worker: gthread  # hosts.yml:6: apps.shop.worker is sync",
        "    workers: auto  # hosts.yml:5: apps.shop.workers is 3",
        "    threads: 4  # hosts.yml:5",
        "",
    ]


TUNED = "rackhand_tuning:\n  shop:\n    worker: sync\n    workers: 5\n"


@pytest.fixture
def tuned(tmp_path: Path) -> Callable[[str], None]:
    """Notes a tuning for the host `a`."""

    def tuned(text: str) -> None:
        (tmp_path / "host_vars").mkdir()
        (tmp_path / "host_vars/a.yml").write_text(text)

    return tuned


def test_what_is_measured_is_not_advised_against(told: Callable[..., str], tuned: Callable[[str], None]) -> None:
    """What the source lets one guess is no reason to undo it; the other host has its own advice."""
    tuned(TUNED.replace("sync", "gthread") + "    threads: 8\n")
    of_a, of_b = told().split("shop: ")[1:]
    rows = {line.split()[0]: line.split(maxsplit=3)[1:] for line in of_a.splitlines() if line.startswith(("wo", "th"))}
    assert rows == {
        "worker": ["gthread", "gthread", "tune has measured it (host_vars/a.yml:3)"],
        "workers": ["5", "5", "tune has measured it (host_vars/a.yml:4)"],
        "threads": ["8", "8", "tune has measured it (host_vars/a.yml:5)"],
    }
    assert "Its settings are as they should be." in of_a
    assert "    workers: auto  # hosts.yml:5: apps.shop.workers is 3" in of_b


def test_threads_beside_a_worker_that_is_measured(
    told: Callable[..., str], tuned: Callable[[str], None], tmp_path: Path
) -> None:
    """Belong to a worker that counts no more, and are no mistake."""
    hosts = tmp_path / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("worker: sync", "worker: gthread, threads: 8"))
    tuned("rackhand_tuning: {shop: {worker: sync}}\n")
    assert "    workers: auto  # hosts.yml:5: apps.shop.workers is 3" in (of_a := told().split("shop: ")[1])
    assert "threads" not in of_a


def test_what_is_measured_no_longer_fits(
    told: Callable[..., str], tuned: Callable[[str], None], tmp_path: Path
) -> None:
    """When the application speaks another protocol by now. What to write is named where it takes effect."""
    tuned(TUNED)
    (tmp_path / "shop/app.py").write_text(FASTAPI)
    lines = told().split("shop: ")[1].splitlines()
    assert lines[lines.index("To write:") + 2 :] == [
        "rackhand_tuning:",
        "  shop:",
        "    worker: uvicorn  # host_vars/a.yml:3: rackhand_tuning.shop.worker is sync",
        "    workers: auto  # host_vars/a.yml:4: rackhand_tuning.shop.workers is 5",
        "",
    ]


def test_json(told: Callable[..., str]) -> None:
    """One object a line, and nothing else."""
    (one,) = map(json.loads, told("shop", json=True).splitlines())
    assert (one["app"], one["findings"]["framework"]) == ("shop", "Flask")
    assert one["recommendations"][1]["better"] == "gthread"


def test_an_application_that_there_is_not(told: Callable[..., str]) -> None:
    with pytest.raises(
        UserError, match=r'^--app shup: no host has an application of this name \(did you mean "shop"\?\)$'
    ):
        told("shup")
