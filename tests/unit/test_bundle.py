"""What is sent of an application: the same for the same content, nothing that is not its own, and complete."""

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from rackhand.agent import files
from rackhand.bundle import SERVER_REQUIREMENTS, bundle, names, with_server
from rackhand.errors import UserError


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The folder of an application with all that may be in one."""
    folder = tmp_path / "shop"
    (folder / "pages" / "empty").mkdir(parents=True)
    (folder / "app.py").write_text("app = None\n")
    (folder / "requirements.txt").write_text("flask==3.1.3\n")
    (folder / "pages" / "odd 'name' \"ü\"\n.html").write_bytes(b"\xff\x00")
    (folder / "pages.py").touch()
    (folder / ("long" * 40)).write_text("name")
    job = folder / "job"
    job.write_text("#!/bin/sh\n")
    job.chmod(0o755)
    (folder / "pages" / "index").symlink_to("../app.py")
    (folder / "folder").symlink_to("pages")
    return folder


def members(folder: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(bundle("shop", folder).data)) as archive:
        return archive.getmembers()


def listed(folder: Path) -> list[str]:
    """The paths that are in the bundle of a folder."""
    return [member.name for member in members(folder)]


def test_the_same_content_gives_the_same_bytes(shop: Path, tmp_path: Path) -> None:
    """Whoever packs it, wherever and whenever: no owner, no time, no mode but the program's, no order of the disk's."""
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for path in sorted(shop.iterdir(), reverse=True):
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, copy / path.name, symlinks=True)
        else:
            shutil.copy(path, copy / path.name, follow_symlinks=False)
    for path in (copy, *copy.rglob("*")):
        os.utime(path, (0, 10**9), follow_symlinks=False)
        os.chown(path, 4711, 4711, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o060)
    one, other = bundle("shop", shop), bundle("shop", copy)
    assert one == other
    assert one.data == other.data


def test_other_content_gives_another_bundle(shop: Path) -> None:
    """A digest that stayed the same would keep a change from ever being deployed."""
    first = bundle("shop", shop)
    archives, listings = {first.archive}, {first.code}

    def changed(what: str) -> None:
        again = bundle("shop", shop)
        assert again.archive not in archives, what
        assert again.code not in listings, what
        archives.add(again.archive)
        listings.add(again.code)

    (shop / "app.py").write_text("app = 1\n")
    changed("content")
    (shop / "app.py").chmod(0o755)
    changed("program")
    (shop / "pages" / "empty").rmdir()
    changed("no empty folder")
    (shop / "folder").unlink()
    (shop / "folder").symlink_to("pages/")
    changed("link")
    (shop / "pages.py").rename(shop / "page.py")
    changed("name")


def test_both_sides_list_the_same(shop: Path, tmp_path: Path) -> None:
    """What the controller says of its files is what the host finds in what it has unpacked."""
    packed = bundle("shop", shop)
    with tarfile.open(fileobj=io.BytesIO(packed.data)) as archive:
        archive.extractall(tmp_path / "host", filter="data")
    assert files.listing(files.entries(str(tmp_path / "host"))) == packed.code


def test_programs_stay_programs(shop: Path) -> None:
    """Of a mode nothing else is kept."""
    modes = {member.name: member.mode for member in members(shop)}
    assert (modes["job"], modes["app.py"], modes["pages"]) == (0o755, 0o644, 0o755)


@pytest.mark.parametrize(
    "ignored",
    [
        *(".git/config", "__pycache__/app.cpython-311.pyc", "pages/__pycache__/x.pyc", "old.pyc", ".venv/bin/python"),
        *("venv/bin/python", ".env", "pages/.env", ".mypy_cache/x", ".pytest_cache/x", ".ruff_cache/x", ".tox/x"),
        *(".idea/x", ".vscode/x", ".DS_Store", "node_modules/x/x.js", ".hg/x", ".svn/x"),
    ],
)
def test_what_tools_leave_is_not_sent(shop: Path, ignored: str) -> None:
    """Nor what must not leave the controller; and none of it makes a new release."""
    before = bundle("shop", shop)
    path = shop / ignored
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("private")
    assert bundle("shop", shop) == before


@pytest.mark.parametrize("kept", ["environment", "env.py", ".well-known/x", "git/x", "venv.py", ".envrc.example"])
def test_what_only_looks_like_it_is_sent(shop: Path, kept: str) -> None:
    """Names are compared as a whole."""
    (shop / kept).parent.mkdir(exist_ok=True)
    (shop / kept).touch()
    assert kept in listed(shop)


OUTSIDE = {
    "absolute": ("secret", "/etc/shadow"),
    "absolute, to its own folder as it is here": ("secret", "HERE/app.py"),
    "upwards": ("secret", "../secret.txt"),
    "far upwards": ("pages/secret", "../../../etc/shadow"),
    "that leads nowhere": ("secret", "../absent"),
    "to a namesake's folder": ("secret", "../shop-private/x"),
    "by way of another": ("chain", "up/secret.txt"),
}


@pytest.mark.parametrize(("link", "to"), OUTSIDE.values(), ids=OUTSIDE)
def test_links_that_lead_outside_are_refused(shop: Path, link: str, to: str) -> None:
    """What is not in the application's folder is not sent, and the message says which link and what to do."""
    if to.startswith("up/"):
        (shop / "up").symlink_to("..")
    (shop / link).symlink_to(to.replace("HERE", str(shop)))
    with pytest.raises(
        UserError, match=r": a link that leads out of the application shop, to .*: copy the file there$"
    ):
        bundle("shop", shop)


def test_what_is_no_file_is_refused(shop: Path) -> None:
    os.mkfifo(shop / "pipe")
    with pytest.raises(UserError) as raised:
        bundle("shop", shop)
    assert str(raised.value) == f"{shop}/pipe: neither a file, a folder nor a link: it cannot be deployed"


def test_requirements_are_needed(shop: Path) -> None:
    """An application says what it needs, if only by an empty file."""
    (shop / "requirements.txt").unlink()
    with pytest.raises(UserError) as raised:
        bundle("shop", shop)
    assert (
        str(raised.value)
        == f"{shop}: the application shop has neither requirements.txt nor pyproject.toml with uv.lock"
    )


def test_a_project_needs_its_lock_file(shop: Path) -> None:
    """Without one, two deploys of the same code could install different packages."""
    (shop / "requirements.txt").unlink()
    (shop / "pyproject.toml").write_text('[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n')
    with pytest.raises(UserError) as raised:
        bundle("shop", shop)
    assert str(raised.value) == f"{shop}/pyproject.toml: has no lock file beside it: run `uv lock` there"


def test_a_project_with_its_lock_file(shop: Path) -> None:
    """The requirements are those of the lock file, without the project itself."""
    (shop / "requirements.txt").unlink()
    (shop / "pyproject.toml").write_text('[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n')
    (shop / "uv.lock").write_text(
        'version = 1\nrequires-python = ">=3.11"\n'
        '[[package]]\nname = "shop"\nversion = "1"\nsource = { virtual = "." }\n'
    )
    assert names(bundle("shop", shop).requirements) == frozenset()


def test_names_of_requirements() -> None:
    """In their normal form, and nothing that is no package."""
    text = """\
# flask
Flask[async]==3.1.3 ; python_version > "3" \\
    --hash=sha256:0a1b
  uvicorn_worker>=0.4
zope.interface
-r other.txt
--index-url https://example.org/simple
"""
    assert names(text) == {"flask", "uvicorn-worker", "zope-interface"}


ADDED = {
    "sync": SERVER_REQUIREMENTS["gunicorn"],
    "gthread": SERVER_REQUIREMENTS["gunicorn"],
    "uvicorn": sum((SERVER_REQUIREMENTS[kind] for kind in ("gunicorn", "uvicorn", "uvicorn worker")), ()),
    "asgi": sum((SERVER_REQUIREMENTS[kind] for kind in ("gunicorn", "uvicorn", "uvicorn worker")), ()),
}


@pytest.mark.parametrize("worker", ADDED)
@pytest.mark.parametrize("own", ["", "flask==3.1.3\n", "flask==3.1.3"], ids=["none", "some", "no line end"])
def test_the_server_is_added(worker: str, own: str) -> None:
    """To what the application requires, each package on a line of its own, pinned."""
    lines = with_server(own, worker).split("\n")
    assert [line for line in lines if line] == [*own.split(), *ADDED[worker]]
    assert all("==" in pin for pin in ADDED[worker])


def test_uvicorn_alone_brings_no_gunicorn() -> None:
    """A WSGI application gets the adapter as well."""
    asgi = SERVER_REQUIREMENTS["uvicorn"]
    assert tuple(with_server("", "uvicorn", "uvicorn").split()) == asgi
    assert tuple(with_server("", "sync", "uvicorn").split()) == asgi + SERVER_REQUIREMENTS["adapter"]


@pytest.mark.parametrize(
    "own",
    ["gunicorn==25.1\n", "Gunicorn>=25\n", "Uvicorn[standard]==0.40\n", "uvicorn_worker==0.4.0\n", "websockets\n"],
)
def test_what_the_application_pins_is_left_to_it(own: str) -> None:
    """Two pins of one package would contradict each other."""
    (name,) = names(own)
    text = with_server(own, "uvicorn")
    assert text.startswith(own)
    assert [pin for pin in ADDED["uvicorn"] if pin not in text.splitlines()] == [
        pin for pin in ADDED["uvicorn"] if pin.startswith(f"{name}==")
    ]
