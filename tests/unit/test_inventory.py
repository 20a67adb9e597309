"""Inventories mean what they mean to Ansible; besides, each value knows the file and line that set it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rackhand.errors import UserError
from rackhand.inventory import Host, Inventory, load_inventory

PROJECT = Path(__file__).parents[2]

Make = Callable[..., Inventory]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes files into the working directory and loads the inventory there, or those in `sources`."""
    monkeypatch.chdir(tmp_path)

    def make(files: dict[str, str], sources: tuple[str, ...] = ("hosts.yml",)) -> Inventory:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return load_inventory([tmp_path / source for source in sources])

    return make


def one_host(make: Make, variables: str, **files: str) -> Host:
    """A host with variables from group_vars/all.yml."""
    return make({"hosts.yml": "all: {hosts: {h: }}", "group_vars/all.yml": variables, **files}).host("h")


NESTED = """
all:
  hosts:
    lone:
  children:
    web:
      children:
        blue: {hosts: {web1: , web2: }}
        green: {hosts: {web3: , web2: }}
    db: {hosts: {db1: }}
"""


def test_groups_nest(make: Make) -> None:
    """A group has the hosts that it lists and those of the groups below it, each once."""
    inventory = make({"hosts.yml": NESTED})
    assert inventory.groups["web"].hosts == ()
    assert inventory.groups["web"].children == ("blue", "green")
    assert inventory.groups["web"].members == ("web1", "web2", "web3")
    assert set(inventory.groups["all"].members) == {"lone", "web1", "web2", "web3", "db1"}
    assert inventory.host("web2").groups == ("all", "web", "blue", "green")


def test_all_and_ungrouped_are_implicit(make: Make) -> None:
    """Top-level groups are below `all`; hosts of no other group are in `ungrouped`, and only those."""
    inventory = make({"hosts.yml": "web: {hosts: {a: }}\nall: {hosts: {a: , b: }}\nungrouped: {hosts: {a: , c: }}"})
    assert inventory.groups["all"].children == ("ungrouped", "web")
    assert set(inventory.groups["ungrouped"].members) == {"b", "c"}
    assert inventory.host("a").groups == ("all", "web")


def test_the_depth_of_a_group_is_its_longest_way_from_all(make: Make) -> None:
    """A group reached by two ways counts as deep as the longer one, whichever is written first."""
    inventory = make({"hosts.yml": "a: {children: {z: , b: {children: {c: {children: {z: }}}}}}\nz: {hosts: {h: }}"})
    assert {name: group.depth for name, group in inventory.groups.items()} == {
        "all": 0, "ungrouped": 1, "a": 1, "b": 2, "c": 3, "z": 4
    }  # fmt: skip


PRECEDENCE = {
    "hosts.yml": """
all:
  vars: {v: all inline}
  children:
    parent:
      vars: {v: parent inline}
      children:
        child:
          vars: {v: child inline}
          hosts: {h: {v: host inline}}
""",
    "group_vars/all.yml": "v: all file",
    "group_vars/parent.yml": "v: parent file",
    "group_vars/child.yml": "v: child file",
    "host_vars/h.yml": "v: host file",
}


@pytest.mark.parametrize(
    ("without", "winner"),
    [
        ((), "host file"),
        (("host_vars/h.yml",), "host inline"),
        (("host_vars/h.yml", "{v: host inline}"), "child file"),
        (("host_vars/h.yml", "{v: host inline}", "group_vars/child.yml"), "parent file"),
        # The file of `all` wins over what the inventory says for a deeper group: Ansible's order.
        (("host_vars/h.yml", "{v: host inline}", "group_vars/child.yml", "group_vars/parent.yml"), "all file"),
    ],
)
def test_precedence(make: Make, without: tuple[str, ...], winner: str) -> None:
    """all < parents < children < host, and within each the inventory's own variables below the files'."""
    files = {name: text for name, text in PRECEDENCE.items() if name not in without}
    for inline in without:
        files["hosts.yml"] = files["hosts.yml"].replace(inline, "")
    assert make(files).host("h").vars["v"] == winner


def test_precedence_of_inline_variables(make: Make) -> None:
    """Without files, the deepest group that sets a variable wins."""
    hosts = PRECEDENCE["hosts.yml"].replace("{v: host inline}", "")
    assert make({"hosts.yml": hosts}).host("h").vars["v"] == "child inline"
    hosts = hosts.replace("{v: child inline}", "{}")
    assert make({"hosts.yml": hosts}).host("h").vars["v"] == "parent inline"


def test_of_groups_of_one_depth_the_later_in_the_alphabet_wins(make: Make) -> None:
    """Unless ansible_group_priority says otherwise, which matters among groups of one depth only."""
    hosts = """
b: {hosts: {h: }, vars: {v: b}}
a: {hosts: {h: }, vars: {v: a, ansible_group_priority: 1}}
c: {vars: {w: c, ansible_group_priority: 1}, children: {d: {hosts: {h: }, vars: {w: d}}}}
"""
    assert make({"hosts.yml": hosts}).host("h").vars["v"] == "b"
    host = make({"hosts.yml": hosts.replace("priority: 1", "priority: 10")}).host("h")
    assert host.vars["v"] == "a"
    assert host.vars["w"] == "d"
    assert "ansible_group_priority" not in host.vars


def test_a_variable_is_replaced_as_a_whole(make: Make) -> None:
    """Mappings of several files are not merged, as Ansible does not by default."""
    host = one_host(make, "apps: {a: 1, b: 2}", **{"host_vars/h.yml": "apps: {a: 3}"})
    assert host.vars["apps"] == {"a": 3}


def test_a_host_listed_twice_takes_the_later_value_of_the_file(make: Make) -> None:
    """What a host is given in several groups adds up in the order of the file."""
    host = make({"hosts.yml": "a: {hosts: {h: {v: 1, w: 1}}}\nb: {hosts: {h: {v: 2}}}"}).host("h")
    assert host.vars.raw() == {"v": 2, "w": 1}


@pytest.mark.parametrize(
    "name", ["web", "web.yml", "web.yaml", "web.json", "web/any.yml", "web/any", "web/below/any.yml"]
)
def test_names_of_variable_files(make: Make, name: str) -> None:
    """group_vars/ and host_vars/ hold a file with or without a suffix, or a folder of files."""
    hosts = "web: {hosts: {h: }}\nweb1: {hosts: {web: }}"
    files = {f"group_vars/{name}": '{"v": "group"}', f"host_vars/{name}": '{"v": "host"}'}
    inventory = make({"hosts.yml": hosts, **files})
    assert inventory.host("h").vars["v"] == "group"
    assert inventory.host("web").vars["v"] == "host"


def test_files_of_a_folder_are_read_in_alphabetical_order(make: Make) -> None:
    """The later file wins; hidden files, backups and other suffixes are not read."""
    files = {"b.yml": "v: b", "a.yml": "v: a\nw: a", ".c.yml": "v: c", "d.yml~": "v: d", "e.txt": "v: e"}
    host = make({"hosts.yml": "all: {hosts: {h: }}", **{f"host_vars/h/{k}": v for k, v in files.items()}}).host("h")
    assert host.vars.raw() == {"v": "b", "w": "a"}


def test_files_that_nothing_reads_are_warned_about(make: Make) -> None:
    """A file for no group or host, and a second file for one, are no error: Ansible passes over them silently."""
    inventory = make(
        {
            "hosts.yml": "web: {hosts: {h: }}",
            "group_vars/wbe.yml": "",
            "group_vars/web.json": "{}",
            "group_vars/web.yml": "",
            "host_vars/x.yml": "",
            "host_vars/.hidden": "",
        }
    )
    assert inventory.warnings == (
        "group_vars/wbe.yml: is not read: no group is named 'wbe' (did you mean \"web\"?)",
        "group_vars/web.json: is not read: group_vars/web.yml is",
        "host_vars/x.yml: is not read: no host is named 'x'",
    )


def test_a_name_of_both_a_host_and_a_group_is_warned_about(make: Make) -> None:
    """Patterns could mean either."""
    assert make({"hosts.yml": "\ndb: {hosts: {db: }}"}).warnings == ("hosts.yml:2: 'db' is the name of a group too",)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("web[1:3]", ["web1", "web2", "web3"]),
        ("web[01:03]", ["web01", "web02", "web03"]),
        ("web[1:9:4].example.com", ["web1.example.com", "web5.example.com", "web9.example.com"]),
        ("db-[a:c]", ["db-a", "db-b", "db-c"]),
        ("[a:b][1:2]", ["a1", "a2", "b1", "b2"]),
        ("r[:2]", ["r0", "r1", "r2"]),
        ("10.0.0.[9:10]", ["10.0.0.9", "10.0.0.10"]),
        ("fe80::1", ["fe80::1"]),
        ("plain_name", ["plain_name"]),
    ],
)
def test_ranges(make: Make, written: str, names: list[str]) -> None:
    """A name may stand for several hosts; ends are included, leading zeros kept."""
    assert list(make({"hosts.yml": f"g: {{hosts: {{'{written}': {{v: 1}}}}}}"}).hosts) == names


@pytest.mark.parametrize(
    ("written", "name", "port"),
    [("web:2222", "web", 2222), ("[fe80::1]:22", "fe80::1", 22), ("10.0.0.1:8022", "10.0.0.1", 8022)],
)
def test_a_port_behind_the_name(make: Make, written: str, name: str, port: int) -> None:
    """It becomes ansible_port, which a variable still overrides."""
    assert make({"hosts.yml": f"g: {{hosts: {{'{written}': }}}}"}).host(name).vars["ansible_port"] == port
    host = make({"hosts.yml": f"g: {{hosts: {{'{written}': {{ansible_port: 1}}}}}}"}).host(name)
    assert host.vars["ansible_port"] == 1


def test_a_section_may_be_one_name(make: Make) -> None:
    """Ansible takes `hosts: web1` for a mapping with that key."""
    inventory = make({"hosts.yml": "web: {hosts: web1, children: inner}\ninner: {hosts: web2}"})
    assert inventory.groups["web"].members == ("web1", "web2")


def test_several_inventories_merge(make: Make) -> None:
    """Groups and hosts add up; of variables the last inventory's win, its group_vars/ over another's host's group."""
    inventory = make(
        {
            "one/hosts.yml": "web: {hosts: {a: {v: 1}}}",
            "one/group_vars/web.yml": "w: 1",
            "one/group_vars/all.yml": "x: 1",
            "two/hosts.yml": "web: {hosts: {a: {v: 2}, b: }}",
            "two/group_vars/web.yml": "w: 2",
        },
        ("one/hosts.yml", "two"),
    )
    assert inventory.groups["web"].members == ("a", "b")
    assert inventory.host("a").vars.raw() == {"v": 2, "w": 2, "x": 1}


def test_a_folder_is_all_inventories_in_it(make: Make) -> None:
    """Read in alphabetical order, subfolders too; hidden files, backups and notes are passed over."""
    inventory = make(
        {
            "inv/b.yml": "g: {hosts: {b: {v: b}}}",
            "inv/a.yml": "g: {hosts: {b: {v: a}}}",
            "inv/sub/c.yaml": "g: {hosts: {c: }}",
            "inv/.d.yml": "g: {hosts: {d: }}",
            "inv/README.md": "# notes",
            "inv/e.yml~": "",
            "inv/group_vars/g.yml": "w: 1",
        },
        ("inv",),
    )
    assert list(inventory.hosts) == ["b", "c"]
    assert inventory.host("b").vars.raw() == {"v": "b", "w": 1}


def test_yaml_and_json_types(make: Make) -> None:
    """Values have the types that Ansible reads: YAML 1.1, and JSON's numbers in a JSON file."""
    host = one_host(make, "a: yes\nb: 0644\nc: 1.50\nd: ~\ne: &x {k: 1}\nf: {<<: *x, l: 2}")
    assert host.vars.raw() == {"a": True, "b": 420, "c": 1.5, "d": None, "e": {"k": 1}, "f": {"k": 1, "l": 2}}
    host = make({"hosts.yml": "g: {hosts: {j: }}", "host_vars/j.json": '{\n\t"n": 1e5, "s": "\\u00e9"}'}).host("j")
    assert host.vars["n"] == 100000.0
    assert host.vars["s"] == "é"
    assert str(host.vars.origin("s")) == "host_vars/j.json:2"


def test_unknown_host(make: Make) -> None:
    """Is named, with what may have been meant."""
    inventory = make({"hosts.yml": "all: {hosts: {prod1: }}"})
    with pytest.raises(UserError) as raised:
        inventory.host("prod2")
    assert str(raised.value) == "'prod2': no host of the inventory has this name (did you mean \"prod1\"?)"


class TestOrigin:
    """Every value knows the file and the line that set it."""

    def test_of_nested_values(self, make: Make) -> None:
        """A path leads to the line of its key, in mappings and lists; a path that leaves the file to the last known."""
        host = one_host(make, "apps:\n  a:\n    workers: 2\n    list:\n      - x\n      - y\n\nb: 1")
        lines: dict[tuple[str, *tuple[str | int, ...]], int] = {
            ("apps",): 1,
            ("apps", "a"): 2,
            ("apps", "a", "workers"): 3,
            ("apps", "a", "list", 1): 6,
            ("b",): 8,
            ("apps", "a", "nothing"): 2,
        }
        for path, line in lines.items():
            assert str(host.vars.origin(*path)) == f"group_vars/all.yml:{line}"
        assert host.vars.origin("nothing") is None

    def test_of_the_value_that_wins(self, make: Make) -> None:
        """And of all that it won over, in order."""
        host = make({**PRECEDENCE}).host("h")
        assert str(host.vars.origin("v")) == "host_vars/h.yml:1"
        assert [str(found.origin()) for found in host.vars.definitions("v")] == [
            "hosts.yml:3",
            "hosts.yml:6",
            "hosts.yml:9",
            "group_vars/all.yml:1",
            "group_vars/parent.yml:1",
            "group_vars/child.yml:1",
            "hosts.yml:10",
            "host_vars/h.yml:1",
        ]

    def test_of_merged_keys(self, make: Make) -> None:
        """A key that `<<` brings is where it is written, one that overrides it where that is."""
        host = one_host(make, "base: &b\n  x: 1\n  y: 1\nmore:\n  <<: *b\n  y: 2")
        assert str(host.vars.origin("more", "x")) == "group_vars/all.yml:2"
        assert str(host.vars.origin("more", "y")) == "group_vars/all.yml:6"


class TestTemplates:
    """Jinja2 in variables is filled in when a value is read, with Ansible's types."""

    @pytest.mark.parametrize(
        ("template", "value"),
        [
            ("{{ number }}", 5),
            ("{{ number }}{{ number }}", "55"),
            (" {{ number }}", " 5"),
            ("{{ '5' }}", "5"),
            ("{{ [number, '1'] }}", [5, "1"]),
            ("{{ {'a': number} }}", {"a": 5}),
            ("{{ mapping }}", {"x": 5, "y": [5]}),
            ("{{ mapping.x + 1 }}", 6),
            ("{{ mapping['y'][0] }}", 5),
            ("{{ list + [2] }}", [5, 2]),
            ("{{ none }}", None),
            ("a{{ none }}b", "ab"),
            ("{{ true }}", True),
            ("{{ true }}!", "True!"),
            ("{{ (1, 2) }}", [1, 2]),
            ("{# note #}text", "text"),
            ("{% if number > 4 %}many{% endif %}", "many"),
            ("line\n{{ 1 }}\n", "line\n1\n"),
            ("{% if true %}\nline\n{% endif %}\n", "line\n"),
            ("{{ nothing | default(3) }}", 3),
            ("{{ broken | default(3) }}", 3),
            ("{{ half.broken | default(3) }}", 3),
            ("{{ half.fine }}", 1),
            ("{{ broken is defined }}", False),
            ("{{ range(2) | list }}", [0, 1]),
            ("{{ mapping | length }}", 2),
            ("{{ mapping | tojson }}", '{"x": 5, "y": [5]}'),
            ("{{ raw }}", "{{ number }}"),
            ("{{ inventory_hostname }} {{ group_names }}", "h ['ungrouped']"),
            ("{{ groups['all'] }}", ["h"]),
            ("{{ hostvars['h'].mapping.x }}", 5),
            ("{{ hostvars.h.inventory_hostname_short }}", "h"),
            ("{{ ''.__class__ | default('safe') }}", "safe"),
        ],
    )
    def test_values(self, make: Make, template: str, value: object) -> None:
        """One expression keeps its type, anything else is text; what fails counts as undefined."""
        variables = (
            "number: 5\nmapping: {x: '{{ number }}', y: ['{{ number }}']}\nlist: ['{{ number }}']\n"
            "broken: '{{ nobody }}'\nhalf: {broken: '{{ nobody }}', fine: 1}\nraw: !unsafe '{{ number }}'\n"
        )
        host = one_host(make, variables, **{"host_vars/h.json": json.dumps({"template": template})})
        got = host.vars["template"]
        assert (got, type(got)) == (value, type(value))

    def test_each_host_sees_its_own_variables(self, make: Make) -> None:
        """`hostvars` fills in another host's templates with that host's variables."""
        variables = "m: '{{ n }}'\no: '{{ hostvars.b.m }}'"
        inventory = make({"hosts.yml": "g: {hosts: {a: {n: 1}, b: {n: 2}}}", "group_vars/g.yml": variables})
        assert (inventory.host("a").vars["m"], inventory.host("a").vars["o"]) == (1, 2)

    def test_nothing_is_filled_in_before_it_is_read(self, make: Make) -> None:
        """A variable that fails is no trouble for the others, nor is it one in a mapping."""
        host = one_host(make, "bad: '{{ nobody }}'\ngood: 1\nmapping: {bad: '{{ nobody }}', good: '{{ good }}'}")
        assert host.vars["good"] == 1
        assert host.vars.lazy["mapping"]["good"] == 1
        assert host.vars.raw()["bad"] == "{{ nobody }}"
        with pytest.raises(UserError, match=r"^group_vars/all.yml:3: mapping.bad: 'nobody' is undefined$"):
            host.vars["mapping"]

    def test_a_template_cannot_reach_out(self, make: Make) -> None:
        """Jinja's sandbox keeps templates from Python's insides and from changing values."""
        host = one_host(make, "l: [1]\na: '{{ l.append(2) }}'\nb: '{{ [].__class__.__mro__ }}'")
        for name in ("a", "b"):
            with pytest.raises(UserError, match=r"unsafe|not safely|immutable"):
                host.vars[name]

    def test_jinja_is_not_loaded_without_templates(self, make: Make, tmp_path: Path) -> None:
        """Nor is anything else that costs time at every start."""
        make({"hosts.yml": "all: {hosts: {h: {a: 1}}}"})
        program = (
            "import sys, pathlib; from rackhand.inventory import load_inventory;"
            "load_inventory(pathlib.Path('hosts.yml')).host('h').vars['a'];"
            "sys.exit('jinja2' in sys.modules or 'fabric' in sys.modules)"
        )
        environment = {"PYTHONPATH": str(PROJECT)}
        subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, check=True)


def test_the_example_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads without a warning, and gives both applications to every host of `web`."""
    monkeypatch.chdir(PROJECT)
    inventory = load_inventory(PROJECT / "inventory")
    assert inventory.warnings == ()
    for host in inventory.select("web"):
        assert list(host.vars["apps"]) == ["async_api", "sync_api"]
    assert str(inventory.host("staging1").vars.origin("ansible_user")) == "inventory/host_vars/staging1.yml:2"
