"""What `inventory --lint` finds: mistakes, and what is unused, misspelt or shadowed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rackhand import PROJECT, inventory_command, settings
from rackhand.commands import Options
from rackhand.inventory import Host, load_inventory
from rackhand.lint import Finding, lint
from rackhand.settings import Read

KNOWN = frozenset({"ansible_host", "apps", "rackhand_nginx"})


def read(host: Host) -> Read:
    mistakes = tuple(f"{host.vars.origin(name)}: {name}: is wrong" for name in host.vars if name == "rackhand_nginx")
    return Read(names=KNOWN, mistakes=mistakes)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(folder: Path, **files: str) -> list[Finding]:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return lint(load_inventory("hosts"), read)


def test_nothing_is_found_in_an_inventory_that_is_right(folder: Path) -> None:
    """Variables that a template uses are read, also within other values."""
    hosts = "[web]\nweb1 ansible_host=192.0.2.1\nweb2\n"
    group = 'port: 80\ndomain: example.com\napps: {shop: {env: {URL: "http://{{ domain }}:{{ port | int }}"}}}\n'
    assert found(folder, hosts=hosts, group_vars__web=group) == []


def test_what_nothing_reads(folder: Path) -> None:
    assert found(folder, hosts="h\n", group_vars__all="a: 1\ntheme: dark\napps: {}\n") == [
        Finding(text="group_vars/all:1: a: nothing reads it"),
        Finding(text="group_vars/all:2: theme: nothing reads it"),
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ansible_hots", "ansible_host"),
        ("ansible_hos", "ansible_host"),
        ("apss", "apps"),
        ("app", "apps"),
        ("rackhand_nginxs", "rackhand_nginx"),
    ],
)
def test_what_is_misspelt(folder: Path, name: str, meant: str) -> None:
    """By a letter, or two in the wrong order."""
    text = f'hosts:1: {name}: nothing reads it (did you mean "{meant}"?)'
    assert found(folder, hosts=f"h {name}=x\n") == [Finding(text=text, wrong=True)]


def test_what_only_resembles_a_known_name_is_not_called_misspelt(folder: Path) -> None:
    """Ansible knows more connection variables than Rackhand needs."""
    (finding,) = found(folder, hosts="h ansible_port_range=1\n")
    assert finding == Finding(text="hosts:1: ansible_port_range: nothing reads it")


def test_what_counts_for_no_host(folder: Path) -> None:
    """Because each host that it is meant for gets another value elsewhere."""
    hosts = "[web]\na ansible_host=1.1.1.1\nb\n[web:vars]\nansible_host=2.2.2.2\n"
    assert found(folder, hosts=hosts) == []
    (finding,) = found(folder, hosts=hosts.replace("\nb\n", "\nb ansible_host=3.3.3.3\n"))
    assert finding.text == "hosts:5: ansible_host: counts for no host: hosts:2, hosts:3 override it"
    assert not finding.wrong


def test_groups_without_hosts(folder: Path) -> None:
    (finding,) = found(folder, hosts="h\n[db]\n[db:vars]\nansible_host=1.1.1.1\n")
    assert finding.text == "the group 'db' has no hosts: what is set for it counts for nobody"


def test_mistakes_come_first_and_once(folder: Path) -> None:
    """They keep a deploy from starting."""
    findings = found(folder, hosts="a\nb\n", group_vars__all="x: 1\nrackhand_nginx: 2\n")
    assert findings[0] == Finding(text="group_vars/all:2: rackhand_nginx: is wrong", wrong=True)
    assert [finding.text for finding in findings[1:]] == ["group_vars/all:1: x: nothing reads it"]


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It asks for the very settings that a deploy reads. What is wrong gives the exit code of bad input, what only
    has no effect none."""
    (folder / "hosts").write_text("h ansible_hots=192.0.2.1 ansible_port=ssh theme=dark\n")
    options = Options(host=None, inventory=("hosts",))

    def show() -> tuple[int, list[str]]:
        code = inventory_command.show(options, all_of_it=False, tree=False, check=True, blame=None)
        return code, capsys.readouterr().out.splitlines()

    code, lines = show()
    assert code == 5
    assert lines[0].startswith("hosts:1: ansible_port: should be a whole number")
    assert lines[1] == 'hosts:1: ansible_hots: nothing reads it (did you mean "ansible_host"?)'
    assert lines[2:] == ["hosts:1: theme: nothing reads it", "1 host: 2 wrong, 1 without effect"]
    options = replace(options, extra_vars=("ansible_prt=22",))
    assert show()[1][1] == '--extra-vars: ansible_prt: nothing reads it (did you mean "ansible_port"?)'
    options = replace(options, extra_vars=())
    (folder / "hosts").write_text("h theme=dark\n")
    assert show() == (0, ["hosts:1: theme: nothing reads it", "1 host: 0 wrong, 1 without effect"])
    (folder / "hosts").write_text("h\n")
    assert show() == (0, ["1 host: nothing amiss"])


def test_the_example_inventory_is_in_order() -> None:
    inventory = load_inventory(PROJECT / "inventory", PROJECT)
    assert lint(inventory, lambda host: settings.read(host, PROJECT)) == []
