"""The command `inventory` shows where values come from, and no secrets; wrong sources are told with their place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rackhand.errors import UserError
from rackhand.inventory import hosts_script, load_inventory
from rackhand.inventory.listing import listed
from rackhand.inventory_command import blamed, masked

INI = """[web]
h ansible_password=sentinel v=1
[web:vars]
v=2
apps={"shop": {"workers": 2, "env": {"KEY": "sentinel"}}, "token": "sentinel"}
"""


def test_secrets_are_not_listed(tmp_path: Path) -> None:
    """Passwords, tokens, and what applications get as their environment."""
    (tmp_path / "hosts.ini").write_text(INI)
    inventory = load_inventory(tmp_path / "hosts.ini")
    assert "sentinel" not in listed(inventory, masked)
    for variable in ("ansible_password", "apps", "apps.shop.env.KEY"):
        assert "sentinel" not in blamed(inventory.host("h"), variable)


def test_every_place_that_sets_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which they override each other, also those of several inventories and of the command line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts.ini").write_text(INI)
    (tmp_path / "more.yml").write_text("web:\n  vars:\n    v: 3\n")
    host = load_inventory(["hosts.ini", "more.yml"], extra_vars=("v=4",)).host("h")
    places = [line.split() for line in blamed(host, "v").splitlines()[1:]]
    assert places == [
        ["hosts.ini:4", "group", "web", "2"],
        ["more.yml:3", "group", "web", "3"],
        ["hosts.ini:2", "host", "1"],
        ["--extra-vars", "command", "line", "'4'", "wins"],
    ]
    assert "hosts.ini:5  group web  2      wins" in blamed(host, "apps.shop.workers")
    with pytest.raises(UserError, match=r"^--blame w: nothing sets 'w' for h"):
        blamed(host, "w")


MISTAKES = {
    "[web:host]\n": 'hosts.ini:1: [web:host]: unknown kind of section (did you mean "hosts"?)',
    "[we b]\n": "hosts.ini:1: [we b]: a section is [group], [group:children] or [group:vars], without spaces",
    "\n[web:vars]\na=1\n": "hosts.ini:2: [web:vars]: no section declares the group 'web'",
    "[top:children]\nweb\n[wbe]\n": (
        "hosts.ini:2: [top:children]: no section declares the group 'web' (did you mean \"wbe\"?)"
    ),
    "[web]\n[web:vars]\na\n": "hosts.ini:3: a line of [web:vars] is name=value, got 'a'",
    "a b\n": "hosts.ini:1: what follows a host is name=value, got 'b'",
    "a b='c\n": "hosts.ini:1: no closing quotation",
    "web[3:1]\n": "hosts.ini:1: web[3:1]: has a range that ends before it begins: 3 to 1",
    "---\nweb:\n": "hosts.ini:1: this is YAML: give the file a name that ends with .yml",
    "web:\n": "hosts.ini:1: web:: ends with a colon, and no port behind it",
    "[a:children]\nb\n[b:children]\na\n": "hosts.ini:4: the group 'a' contains itself",
    "#!/bin/sh\necho no >&2; exit 3\n": "hosts.ini --list: failed with exit code 3:\nno",
    "#!/bin/sh\necho '{'\n": (
        "hosts.ini --list: should print JSON, and line 2 is not: Expecting property name enclosed in double quotes"
    ),
    "#!/bin/sh\necho '[]'\n": "hosts.ini --list: should be a mapping of groups, got a list",
    '#!/bin/sh\necho \'{"web": {"hosts": "a"}}\'\n': "hosts.ini: web.hosts: should be a list of names, got 'a'",
    "#!/no/such/program\n": "hosts.ini: cannot be run: No such file or directory: is its first line right?",
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_mistakes(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of INI files and of scripts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts.ini").write_text(text)
    (tmp_path / "hosts.ini").chmod(0o755 if text.startswith("#!") else 0o644)
    with pytest.raises(UserError) as raised:
        load_inventory("hosts.ini")
    assert str(raised.value) == message


def test_what_a_script_says_on_its_error_stream_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a warning, when it has answered."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts.sh").write_text('#!/bin/sh\necho old >&2\necho \'{"_meta": {"hostvars": {}}}\'\n')
    (tmp_path / "hosts.sh").chmod(0o755)
    assert load_inventory("hosts.sh").warnings == ("hosts.sh --list: old",)


def test_a_script_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and ended with what it has started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hosts_script, "PATIENCE", 0.5)
    (tmp_path / "hosts").write_text("#!/bin/sh\nsleep 600 &\necho $! > started\nwait\n")
    (tmp_path / "hosts").chmod(0o755)
    with pytest.raises(UserError, match=r"^hosts --list: no answer within 0\.5 s$"):
        load_inventory("hosts")
    started = int((tmp_path / "started").read_text())
    deadline = time.monotonic() + 10  # the kernel ends it when it comes to that
    while _runs(started):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
