"""Patterns select the hosts that they select in Ansible; what it would pass over silently is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from rackhand.errors import UserError
from rackhand.inventory import Inventory, load_inventory

HOSTS = """
all:
  hosts: {lone: , 'fe80::1': }
  children:
    web: {hosts: {'web[1:4].example.com': }}
    db: {hosts: {'db[1:2]': }}
    prod: {hosts: {web1.example.com: , web2.example.com: , db1: }}
    stage: {hosts: {web3.example.com: , db2: }}
    empty:
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    return load_inventory(tmp_path)


def names(inventory: Inventory, pattern: str, limit: str | None = None) -> str:
    return " ".join(host.name.removesuffix(".example.com") for host in inventory.select(pattern, limit))


@pytest.mark.parametrize(
    ("pattern", "selected"),
    [
        ("all", "lone fe80::1 web1 web2 web3 web4 db1 db2"),
        ("*", "lone fe80::1 web1 web2 web3 web4 db1 db2"),
        ("web", "web1 web2 web3 web4"),
        ("db1", "db1"),
        ("web1.example.com", "web1"),
        ("db:web", "db1 db2 web1 web2 web3 web4"),
        ("db1,web", "db1 web1 web2 web3 web4"),
        ("db1, db2 ,", "db1 db2"),
        ("db1:db1:db", "db1 db2"),
        ("web:&prod", "web1 web2"),
        ("web:!prod", "web3 web4"),
        ("web:&prod:!web1.example.com", "web2"),
        ("!web1.example.com:&prod:web", "web2"),
        ("web:!prod:&stage", "web3"),
        ("!web", "lone fe80::1 db1 db2"),
        ("&prod", "web1 web2 db1"),
        ("&prod:&web", "web1 web2"),
        ("web[12]*", "web1 web2"),
        ("w*", "web1 web2 web3 web4"),
        ("d?", "db1 db2"),
        ("db?", "db1 db2"),
        ("*1*", "fe80::1 web1 db1"),
        ("[dl]*", "db1 db2 lone"),
        ("[pl][ro][on][de]", "web1 web2 db1 lone"),
        ("~(web|db)1", "web1 db1"),
        ("~.*2", "web2 db2"),
        ("~db[0-9]:lone", "db1 db2 lone"),
        ("web:!~.*[34]", "web1 web2"),
        ("web[0]", "web1"),
        ("web[-1]", "web4"),
        ("web[0:2]", "web1 web2 web3"),
        ("web[2:]", "web3 web4"),
        ("web[0:0]", "web1"),
        ("web[2:0]", "web3"),
        ("web[1:99]", "web2 web3 web4"),
        ("web[0:1]:db[1]", "web1 web2 db2"),
        ("web:!web[0]", "web2 web3 web4"),
        ("fe80::1", "fe80::1"),
        ("fe80::1,lone", "fe80::1 lone"),
        ("ungrouped", "lone fe80::1"),
        ("web:!nothing*", "web1 web2 web3 web4"),
    ],
)
def test_patterns(inventory: Inventory, pattern: str, selected: str) -> None:
    """Names, groups, unions, intersections, exclusions, globs, regular expressions and subscripts."""
    assert names(inventory, pattern) == selected


@pytest.mark.parametrize(
    ("limit", "selected"),
    [("prod", "web1 web2"), ("!prod", "web3 web4"), ("web[3],lone", "web4"), ("*", "web1 web2 web3 web4")],
)
def test_limit(inventory: Inventory, limit: str, selected: str) -> None:
    """Of what the pattern selects, only what the limit selects as well is left, in the pattern's order."""
    assert names(inventory, "web", limit) == selected


def test_patterns_from_a_file(inventory: Inventory, tmp_path: Path) -> None:
    """`@file` stands for the patterns on its lines; an empty one does not stand for all hosts."""
    (tmp_path / "failed").write_text("web4.example.com\ndb\n\n")
    assert names(inventory, "all", f"@{tmp_path / 'failed'}") == "web4 db1 db2"
    (tmp_path / "failed").write_text("\n")
    with pytest.raises(UserError, match=r"is not a pattern of hosts$"):
        inventory.select("all", f"@{tmp_path / 'failed'}")
    with pytest.raises(UserError, match=r"^@nope: cannot be read: No such file or directory$"):
        inventory.select("all", "@nope")


def test_a_file_has_one_pattern_on_a_line(inventory: Inventory, tmp_path: Path) -> None:
    """Without parts: as in Ansible they are no names, which is told here."""
    for line in ("web:&prod", "db1,db2", "db1 db2"):
        (tmp_path / "failed").write_text(f"lone\n{line}\n")
        with pytest.raises(UserError, match=rf"^'{line}': no host or group of the inventory has this name"):
            inventory.select("all", f"@{tmp_path / 'failed'}")


@pytest.mark.parametrize(
    ("limit", "selected"),
    [
        ("@failed", "web1 web2 db1"),
        ("@failed:!web1.example.com", "web2 db1"),
        ("@failed,!prod", ""),
        ("&web:@failed", "web1 web2"),
        ("db2:@failed", "web1 web2 db1 db2"),
    ],
)
def test_lists_of_hosts(inventory: Inventory, tmp_path: Path, limit: str, selected: str) -> None:
    """Go together with other terms, as a file does. A list is asked for only when it is named."""
    lists = {"failed": lambda: ("web2.example.com", "web1.example.com", "db1")}

    def names(pattern: str, limit: str | None) -> str:
        found = inventory.select(pattern, limit, lists)
        return " ".join(host.name.removesuffix(".example.com") for host in found)

    if selected:
        assert names("all", limit) == selected
    else:
        with pytest.raises(UserError, match="selects no host"):
            names("all", limit)


def test_a_list_and_a_file_of_its_name(inventory: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path means the file. What no list is called is a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "failed").write_text("db1\n")
    lists = {"failed": lambda: ("lone",)}
    assert [host.name for host in inventory.select("@failed", None, lists)] == ["lone"]
    assert [host.name for host in inventory.select("@./failed", None, lists)] == ["db1"]

    def none() -> tuple[str, ...]:
        raise AssertionError

    assert [host.name for host in inventory.select("db1", "@./failed", {"failed": none})] == ["db1"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("wbe", "'wbe': no host or group of the inventory has this name (did you mean \"web\"?)"),
        ("web:xyzzy", "'xyzzy': no host or group of the inventory has this name"),
        ("web:!db3", "'db3': no host or group of the inventory has this name (did you mean \"db\"?)"),
        ("web:&pord", "'pord': no host or group of the inventory has this name (did you mean \"prod\"?)"),
        ("wbe[0]", "'wbe': no host or group of the inventory has this name (did you mean \"web\"?)"),
        ("localhost", "'localhost': no host or group of the inventory has this name"),
        ("web[4]", "'web[4]': there are only 4 hosts to choose from"),
        ("~web(", "'~web(': is not a regular expression: missing ), unterminated subpattern at position 3"),
        ("nothing*", "'nothing*': selects no host"),
        ("empty", "'empty': selects no host"),
        ("web:!all", "'web:!all': selects no host"),
        ("", "'': is not a pattern of hosts"),
        (" , ", "' , ': is not a pattern of hosts"),
        ("!", "'!': is not a pattern of hosts"),
    ],
)
def test_patterns_that_select_nothing_known(inventory: Inventory, pattern: str, message: str) -> None:
    """A name that nothing has stops the run, also where it was to be left out; so does an empty selection."""
    with pytest.raises(UserError) as raised:
        inventory.select(pattern)
    assert str(raised.value) == message


def test_a_limit_that_leaves_nothing(inventory: Inventory) -> None:
    """Is named besides the pattern."""
    with pytest.raises(UserError, match=r"^'web': selects no host within the limit 'db'$"):
        inventory.select("web", "db")
