"""A user's own roles: found by name, with settings that are checked, and every mistake told with its place."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import roles
from rackhand import PROJECT, own_roles, templates
from rackhand.agent.plan import Plan
from rackhand.commands import Options, hosts
from rackhand.errors import UserError
from rackhand.inventory import Vault, load_inventory
from rackhand.inventory.vault import Password, encrypt
from rackhand.planning import plan
from rackhand.settings import ROLES, HostSettings, host_settings, read
from tests.unit.test_roles import target

Settings = Callable[..., HostSettings]

HEADER = """\
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from rackhand.agent.resources import File
from rackhand.settings import Secret
from rackhand.target import Target

"""
MINE = (
    HEADER
    + """
@dataclass(frozen=True, kw_only=True)
class Settings:
    text: str = "a"
    number: int = 1
    flag: bool = False
    size: Literal["small", "large"] = "small"
    names: tuple[str, ...] = ()
    maybe: int | None = None
    limits: Mapping[str, int] | None = None
    password: Secret = Secret("changeme")

    def __post_init__(self) -> None:
        if self.number == 13:
            raise ValueError(f"number should not be 13 with {self.password}")


def mine(target: Target, settings: Settings) -> Iterator[File]:
    yield File(path="/etc/mine", content=repr(settings))
"""
)
SIMPLE = HEADER + "def mine(target):\n    yield File(path='/etc/mine', content='x')\n"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What one test has imported is not there for the next one."""
    modules, path, folders = set(sys.modules), list(roles.__path__), list(templates.FOLDERS)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("roles."):
            del sys.modules[name]
            vars(roles).pop(name.removeprefix("roles."), None)
    roles.__path__[:] = path
    templates.FOLDERS[:] = folders
    own_roles.load.cache_clear()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a host with these variables, whose own roles are these files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project").mkdir()
    (tmp_path / "shop").mkdir()

    def settings(variables: str, vault: Vault | None = None, **files: str) -> HostSettings:
        (tmp_path / "roles").mkdir(exist_ok=True)
        for name, text in files.items():
            (tmp_path / "roles" / f"{name}.py").write_text(text)
        (tmp_path / "hosts.yml").write_text("all: {hosts: {h: }}")
        (tmp_path / "group_vars").mkdir(exist_ok=True)
        (tmp_path / "group_vars/all.yml").write_text(variables)
        inventory = load_inventory(tmp_path / "hosts.yml", vault=vault)
        return host_settings(inventory.host("h"), tmp_path / "project", sites=[tmp_path])

    return settings


def planned(host: HostSettings) -> Plan:
    """What the host's roles want."""
    return plan(replace(target(), settings=host), own_roles.loaded(host.roles))


# What is right


def test_rackhands_own_roles_have_one_order() -> None:
    """That of deploys: what settings know of roles, without loading them, is what they are."""
    assert list(ROLES) == [role.__name__ for role in roles.DEPLOY]
    assert [role.name for role in HostSettings.roles] == list(ROLES)


def test_a_role_is_picked_up_by_its_name(settings: Settings) -> None:
    """At its place among the others; `default` stands for Rackhand's own."""
    host = settings("roles: [baseline, mine, nginx]", mine=SIMPLE)
    assert [role.name for role in host.roles] == ["baseline", "mine", "nginx"]
    found = [one.id for one in planned(host)]
    assert found.index("directory:/opt/rackhand") < found.index("file:/etc/mine") < found.index("packages:apt")
    host = settings("roles: [default, mine]")
    assert [role.name for role in host.roles] == [*ROLES, "mine"]


def test_a_role_may_lie_in_rackhands_folder(settings: Settings, tmp_path: Path) -> None:
    """What lies beside the inventory comes first."""
    (tmp_path / "project/roles").mkdir()
    for name in ("mine", "yours"):
        text = SIMPLE.replace("def mine", f"def {name}").replace("/etc/mine", f"/etc/project/{name}")
        (tmp_path / f"project/roles/{name}.py").write_text(text)
    assert [one.id for one in planned(settings("roles: [mine, yours]", mine=SIMPLE))] == [
        "file:/etc/mine",
        "file:/etc/project/yours",
    ]


def test_what_lies_beside_the_inventory_comes_first(settings: Settings, tmp_path: Path) -> None:
    """Also where Rackhand's folder, which is where modules of roles are looked for, has files of the same names: the
    role, and what it imports."""
    (tmp_path / "project/roles").mkdir()
    roles.__path__.insert(0, str(tmp_path / "project/roles"))
    texts = {
        "mine": SIMPLE.replace("/etc/mine", "/etc/{NAME}").replace("path='", "path=f'")
        + "\nfrom roles.shared import NAME",
        "yours": SIMPLE.replace("def mine", "def yours").replace("'/etc/mine'", "f'/etc/{shared.NAME}'"),
    }
    texts["yours"] += "\nfrom roles import shared"
    for name, text in texts.items():
        (tmp_path / f"project/roles/{name}.py").write_text(text)
    (tmp_path / "project/roles/shared.py").write_text("NAME = 'project'")
    beside = {"mine": texts["mine"], "shared": "NAME = 'beside'"}
    for order in ("mine, yours", "yours, mine"):
        own_roles.load.cache_clear()
        found = {one.id for one in planned(settings(f"roles: [{order}]", **beside))}
        assert found == {"file:/etc/beside", "file:/etc/project"}


@pytest.mark.parametrize(
    "way", ["from roles.shared import Settings", "from roles import shared\nSettings = shared.Settings"]
)
def test_two_inventories_have_modules_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """The role of each gets its own, whichever comes first, and for each host."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name / "roles").mkdir(parents=True)
        (tmp_path / name / "hosts.yml").write_text("all: {hosts: {h1: , h2: }, vars: {roles: [of_b, of_a]}}")
        (tmp_path / name / "roles/shared.py").write_text(
            "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom pathlib import Path\n"
            f"Text{name} = str\n\n\n@dataclass(frozen=True)\nclass Settings:\n    name: Text{name} = '{name}'\n"
        )
        (tmp_path / name / f"roles/of_{name}.py").write_text(
            f"from rackhand.agent.resources import File\n{way}\n\n\n"
            f"def of_{name}(target, settings: Settings):\n    yield File(path=f'/etc/{{settings.name}}', content='')\n"
        )
    for host in hosts(Options(host="all", inventory=("a/hosts.yml", "b/hosts.yml"))):
        assert [one.id for one in planned(host)] == ["file:/etc/b", "file:/etc/a"]


def test_rackhands_modules_stay_what_they_are(settings: Settings) -> None:
    """Whatever files lie beside the inventory."""
    names = {path.stem for path in (PROJECT / "roles").glob("[a-z]*.py")}
    planned(settings("roles: [mine]", mine=SIMPLE, **dict.fromkeys(names, "raise ValueError\n")))
    for name in names:
        module = importlib.import_module(f"roles.{name}")
        assert module.__file__ == str(PROJECT / f"roles/{name}.py")
    assert {f"roles.{name}" for name in names} == own_roles.RACKHANDS


def test_settings_reach_the_role(settings: Settings) -> None:
    """Typed as the fields are annotated; what is not set has its default."""
    variables = """
    roles: [mine]
    mine:
      text: "{{ 'b' * 2 }}"
      number: "7"
      flag: yes
      size: large
      names: [x, y]
      maybe: 3
      limits: {open: 1}
      password: hunter2
    """
    (file,) = planned(settings(textwrap.dedent(variables), mine=MINE))
    assert file.wanted()["content"] == (
        "Settings(text='bb', number=7, flag=True, size='large', names=('x', 'y'), maybe=3, limits={'open': 1}, "
        "password='hunter2')"
    )
    (file,) = planned(settings("roles: [mine]"))
    assert "number=1, flag=False, size='small', names=(), maybe=None, limits=None" in str(file.wanted()["content"])


def test_a_secret_of_a_role_is_one_of_the_host(settings: Settings) -> None:
    """Given, encrypted or by default; it is in no description of the settings either."""
    assert "hunter2" in settings("roles: [mine]\nmine: {password: hunter2}", mine=MINE).secrets
    assert "changeme" in settings("roles: [mine]").secrets
    vault = Vault((Password(label="default", where="here", read=lambda: "word"),))
    encrypted = textwrap.indent(encrypt("of-the-vault", "word"), "    ")
    host = settings(f"roles: [mine]\nmine:\n  password: !vault |\n{encrypted}", vault)
    assert "of-the-vault" in host.secrets
    assert "of-the-vault" not in repr(host)
    with pytest.raises(UserError, match=r"mine\.text: was encrypted, and would be readable"):
        settings(f"roles: [mine]\nmine:\n  text: !vault |\n{encrypted}", vault)


def test_settings_of_roles_are_read_by_somebody(tmp_path: Path, settings: Settings) -> None:
    """What `inventory --lint` goes by: only those of the roles that the host has."""
    host = settings("roles: [mine]\nmine: {number: 2}\nyours: {number: 2}", mine=MINE)
    assert host.roles[0].values == {"number": 2}
    asked = read(load_inventory(tmp_path / "hosts.yml").host("h"), tmp_path / "project", sites=[tmp_path])
    assert "mine" in asked.names
    assert "yours" not in asked.names
    assert asked.mistakes == ()


def test_roles_may_share_modules_and_have_templates(settings: Settings, tmp_path: Path) -> None:
    """Modules in the same folder, and templates in the folder beside it."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/mine.conf.j2").write_text("cores {{ cores }}\n")
    text = SIMPLE.replace("content='x'", "content=render('mine.conf.j2', cores=CORES)")
    text = "from rackhand.templates import render\nfrom roles.shared import CORES\n" + text
    (file,) = planned(settings("roles: [mine]", mine=text, shared="CORES = 3\n"))
    assert file.wanted()["content"] == "cores 3\n"


def test_a_worker_with_other_files_is_refused(settings: Settings, tmp_path: Path) -> None:
    """It would carry out another role than that whose settings were checked."""
    host = settings("roles: [mine]", mine=SIMPLE)
    (one,) = host.roles
    with pytest.raises(UserError, match="the worker has other roles"):
        planned(replace(host, roles=(replace(one, digest="another"),)))
    (tmp_path / "roles/mine.py").unlink()
    with pytest.raises(UserError, match="the worker has no "):
        planned(host)


# What is wrong

#: By name: variables, the file `roles/mine.py`, and what is told.
WRONG = {
    "no such role": (
        "roles: [default, mime]\n",
        SIMPLE,
        "group_vars/all.yml:1: roles: there is no role 'mime' (did you mean \"mine\"?): roles/mime.py or "
        "project/roles/mime.py would be it",
    ),
    "no list": ("roles: mine\n", SIMPLE, "group_vars/all.yml:1: roles: should be a list of names, got 'mine'"),
    "twice": ("roles: [mine, mine]\n", SIMPLE, "group_vars/all.yml:1: roles: mine is there twice"),
    "out of order": (
        "roles: [mine, nginx_site]\n",
        SIMPLE,
        "group_vars/all.yml:1: roles: nginx_site needs nginx before it",
    ),
    "applications without what serves them": (
        "roles: [baseline, nginx, mine]\napps: {shop: {path: ../shop, app: app:app, route: /}}\n",
        SIMPLE,
        "group_vars/all.yml:1: roles: the host has apps, which need edge, python_app, gunicorn, nginx_site: add "
        "them, or default",
    ),
    "a name that is taken": (
        "roles: [apps]\n",
        SIMPLE,
        "group_vars/all.yml:1: roles: apps is no name for a role: its settings would be in the variable apps",
    ),
    "a name of Rackhand's modules": (
        "roles: [serving]\n",
        "",
        f"group_vars/all.yml:1: roles: roles/serving.py: {PROJECT}/roles/serving.py has this name already: rename this "
        "one",
    ),
    "unknown setting": (
        "roles: [mine]\nmine:\n  text: a\n  numbr: 2\n",
        MINE,
        'group_vars/all.yml:4: mine.numbr: unknown key (did you mean "number"?)',
    ),
    "settings of a role without": (
        "roles: [mine]\nmine: {text: a}\n",
        SIMPLE,
        "group_vars/all.yml:2: mine: the role takes no settings (roles/mine.py)",
    ),
    "missing": (
        "roles: [mine]\n",
        MINE.replace('text: str = "a"', "text: str"),
        "group_vars/all.yml:1: roles: mine.text is missing",
    ),
    "no mapping": ("roles: [mine]\nmine: a\n", MINE, "group_vars/all.yml:2: mine: should be a mapping, got 'a'"),
    "text": (
        "roles: [mine]\nmine:\n  text: [a]\n",
        MINE,
        "group_vars/all.yml:3: mine.text: should be text, got a list",
    ),
    "number": (
        "roles: [mine]\nmine:\n  number: many\n",
        MINE,
        "group_vars/all.yml:3: mine.number: should be a whole number, got 'many'",
    ),
    "flag": (
        "roles: [mine]\nmine:\n  flag: maybe\n",
        MINE,
        "group_vars/all.yml:3: mine.flag: should be true or false, got 'maybe'",
    ),
    "choice": (
        "roles: [mine]\nmine:\n  size: huge\n",
        MINE,
        "group_vars/all.yml:3: mine.size: should be small or large, got 'huge'",
    ),
    "list": (
        "roles: [mine]\nmine:\n  names: a\n",
        MINE,
        "group_vars/all.yml:3: mine.names: should be a list, got 'a'",
    ),
    "in a mapping": (
        "roles: [mine]\nmine:\n  limits:\n    a: 1\n    b: two\n",
        MINE,
        "group_vars/all.yml:5: mine.limits.b: should be a whole number, got 'two'",
    ),
    "secret": (
        "roles: [mine]\nmine:\n  password: [hunter2]\n",
        MINE,
        "group_vars/all.yml:3: mine.password: should be text: quote it",
    ),
    "its own check": (
        "roles: [mine]\nmine:\n  number: 13\n  password: hunter2\n",
        MINE,
        "group_vars/all.yml:2: mine: number should not be 13 with ********",
    ),
    "its own check is wrong": (
        "roles: [mine]\nmine:\n  number: 13\n",
        MINE.replace("raise ValueError", "raise NoSuchError"),
        "group_vars/all.yml:2: mine: roles/mine.py:23: NameError: name 'NoSuchError' is not defined",
    ),
    "undefined variable": (
        "roles: [mine]\nmine:\n  text: '{{ nobody }}'\n",
        MINE,
        "group_vars/all.yml:3: mine.text: 'nobody' is undefined",
    ),
    "type that no setting can be": (
        "roles: [mine]\nmine:\n  number: 1\n",
        MINE.replace("number: int", "number: set"),
        "group_vars/all.yml:3: mine.number: is declared as <class 'set'>, which no setting can be: see docs/roles.md",
    ),
    "syntax": (
        "roles: [mine]\n",
        "x = 1\ndef mine(target:\n",
        "group_vars/all.yml:1: roles: roles/mine.py:2: SyntaxError: '(' was never closed",
    ),
    "raises when it is imported": (
        "roles: [mine]\n",
        "x = 1\n\nx / 0\n",
        "group_vars/all.yml:1: roles: roles/mine.py:3: ZeroDivisionError: division by zero",
    ),
    "ends the program": (
        "roles: [mine]\n",
        "import sys\nsys.exit(0)\n",
        "group_vars/all.yml:1: roles: roles/mine.py:2: SystemExit: 0",
    ),
    "imports what is not there": (
        "roles: [mine]\n",
        "import no_such_module\n",
        "group_vars/all.yml:1: roles: roles/mine.py:1: ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "no function": (
        "roles: [mine]\n",
        "def other(target):\n    return ()\n",
        "group_vars/all.yml:1: roles: roles/mine.py: has no function mine(target): a role is a function of its file's "
        "name",
    ),
    "too many parameters": (
        "roles: [mine]\n",
        "\ndef mine(target, settings, more):\n    return ()\n",
        "group_vars/all.yml:1: roles: roles/mine.py:2: should be mine(target) or mine(target, settings: Settings)",
    ),
    "settings without annotation": (
        "roles: [mine]\n",
        "\ndef mine(target, settings):\n    return ()\n",
        "group_vars/all.yml:1: roles: roles/mine.py:2: settings should have a frozen dataclass as its annotation: its "
        "fields are the settings",
    ),
    "settings that are not frozen": (
        "roles: [mine]\n",
        MINE.replace("frozen=True, ", ""),
        "group_vars/all.yml:1: roles: roles/mine.py:26: settings should have a frozen dataclass as its annotation: its "
        "fields are the settings",
    ),
    "annotation that is nothing": (
        "roles: [mine]\n",
        "\ndef mine(target: 'Nothing'):\n    return ()\n",
        "group_vars/all.yml:1: roles: roles/mine.py:2: NameError: name 'Nothing' is not defined",
    ),
    "annotation of a setting that is nothing": (
        "roles: [mine]\n",
        MINE.replace("number: int", "number: 'Nothing'"),
        "group_vars/all.yml:1: roles: roles/mine.py:26: NameError: name 'Nothing' is not defined",
    ),
}


@pytest.mark.parametrize(("variables", "file", "message"), WRONG.values(), ids=WRONG)
def test_mistakes(settings: Settings, variables: str, file: str, message: str) -> None:
    """In the inventory and in the file of a role, before any host is touched."""
    name = "serving" if "serving" in variables else "mine"
    with pytest.raises(UserError) as raised:
        settings(variables, **{name: file})
    assert str(raised.value) == message


#: By name: what the role does, and what is told.
RAISES = {
    "an error": ("    yield File(path=target.nope, content='x')\n", "10: AttributeError: 'Target' object has no"),
    "an error of a resource": ("    yield File(path='/x')\n", "10: TypeError: File needs content"),
    "what is no resource": ("    x = 1\n    yield x\n", "11: TypeError: should yield resources, got 1"),
    "a value of another type": (
        "    yield File(path='/x', content=7)\n",
        "10: TypeError: content of file should be text, got 7",
    ),
    "nothing": ("    pass\n", "9: TypeError: 'NoneType' object is not iterable"),
    "no generator": ("    return [1]\n", "9: TypeError: should yield resources, got 1"),
}


@pytest.mark.parametrize(("body", "message"), RAISES.values(), ids=RAISES)
def test_a_role_that_raises(settings: Settings, body: str, message: str) -> None:
    """With the line of its file and its name, and no traceback."""
    host = settings("roles: [mine]", mine=HEADER + "def mine(target):\n" + body)
    with pytest.raises(UserError) as raised:
        planned(host)
    assert str(raised.value).startswith(f"roles/mine.py:{message}")
    assert str(raised.value).endswith(" (role mine)")


def test_roles_that_contradict_each_other(settings: Settings) -> None:
    """Two that want the same file are told apart from defects."""
    host = settings("roles: [mine, yours]", mine=SIMPLE, yours=SIMPLE.replace("def mine", "def yours"))
    with pytest.raises(UserError, match=r"contradict each other: .*file:/etc/mine"):
        planned(host)
