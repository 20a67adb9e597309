"""Inventories made by chance mean what they mean to Ansible."""

from __future__ import annotations

import ast
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rackhand.errors import UserError
from rackhand.inventory import load_inventory
from rackhand.inventory.listing import graph, listed
from tests.inventory.oracle import Ansible
from tests.inventory.test_corpus import whole

# The same examples in every run: what is found by chance belongs into the corpus.
by_chance = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

HOSTS = ("a", "b", "c1", "c2", "d.example.org", "10.0.0.1")
GROUPS = ("web", "db", "B", "x_1", "site", "zone")
VARIABLES = ("u", "v", "w")

variables = st.dictionaries(st.sampled_from(VARIABLES), st.integers(0, 9), max_size=3)
priorities = st.sampled_from([{}, {}, {}, {"ansible_group_priority": 0}, {"ansible_group_priority": 7}])
group_variables = st.builds(lambda a, b: {**a, **b}, variables, priorities)


@st.composite
def sections(draw: st.DrawFn) -> list[tuple[str, str, Any]]:
    """Groups with hosts, variables, and children, which come behind them in GROUPS, so that there is no circle."""
    found: list[tuple[str, str, Any]] = []
    for name in draw(st.lists(st.sampled_from((*GROUPS, "all", "ungrouped")), min_size=1, max_size=6, unique=True)):
        if draw(st.booleans()):
            some = st.dictionaries(st.sampled_from(HOSTS), variables, max_size=4)
            found.append((name, "hosts", draw(some)))
        if draw(st.booleans()):
            found.append((name, "vars", draw(group_variables)))
        below = list(GROUPS[GROUPS.index(name) + 1 :]) if name in GROUPS else []
        wanted: bool = draw(st.booleans())
        if below and wanted:
            found.append((name, "children", draw(st.lists(st.sampled_from(below), max_size=3, unique=True))))
    return found


@st.composite
def inventories(draw: st.DrawFn) -> dict[str, str]:
    """The files of up to three inventories with their variables, in folders of their own."""
    files: dict[str, str] = {}
    for folder in range(draw(st.integers(1, 3))):
        content = draw(sections())
        if draw(st.booleans()):
            files[f"{folder}/hosts.yml"] = as_yaml(content)
        else:
            files[f"{folder}/hosts.ini"] = as_ini(content)
        for kind, names in (("group_vars", (*GROUPS, "all", "ungrouped")), ("host_vars", HOSTS)):
            for name, values in draw(st.dictionaries(st.sampled_from(names), variables, max_size=3)).items():
                files[f"{folder}/{kind}/{name}.yml"] = yaml.safe_dump(values)
    return files


def as_yaml(content: list[tuple[str, str, Any]]) -> str:
    groups: dict[str, Any] = {}
    for name, section, entries in content:
        groups.setdefault(name, {})[section] = dict.fromkeys(entries) if isinstance(entries, list) else entries
    return yaml.safe_dump(groups or {"all": {}}, sort_keys=False)


def as_ini(content: list[tuple[str, str, Any]]) -> str:
    lines = []
    for name, section, entries in content:
        lines.append(f"[{name}]" if section == "hosts" else f"[{name}:{section}]")
        if section == "hosts":
            lines += [" ".join([host, *pairs(values)]) for host, values in entries.items()]
        else:
            lines += pairs(entries) if section == "vars" else entries
    # Every group has to be declared.
    lines += [f"[{name}]" for name in (*GROUPS, "all", "ungrouped")]
    return "\n".join(lines)


def pairs(values: Mapping[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@settings(by_chance, max_examples=120)
@given(files=inventories(), project=st.booleans())
def test_groups_hosts_and_precedence(ansible: Ansible, files: dict[str, str], project: bool) -> None:
    """Of whatever groups, hosts and variables there are in several inventories, and in the folder of a project."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), files)
        sources = [str(path) for path in sorted(Path(folder).glob("?/hosts.*"))]
        of_project = f"{folder}/0" if project else None
        inventory = load_inventory(sources, Path(of_project) if of_project else None)
        about = {"sources": sources, "cwd": Path(folder), "project": of_project}
        assert listed(inventory, whole) == ansible.inventory("--list", **about)
        assert graph(inventory) == ansible.inventory("--graph", **about)


# Text that is near to what a value of INI can be, and the rest.
literals = st.recursive(
    st.sampled_from(
        ["1", "-1", "1.5", "True", "None", "'a'", '"b c"', "x", "yes", "0x1f", "01", "1e3", "{{ q }}", "a=b"]
    ),
    lambda inner: st.builds(
        lambda template, parts: template.format(*parts, *["0"] * 3),
        st.sampled_from(
            ["[{}]", "[{}, {}]", "({},)", "({})", "{{'k': {}}}", "{{{}: {}}}", "{} + {}", "-{}", " {} ", "{}#"]
        ),
        st.lists(inner, min_size=2, max_size=2),
    ),
    max_leaves=4,
)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"]), max_size=12)
lines = st.lists(literals | texts, min_size=1, max_size=60)


@settings(by_chance, max_examples=40)
@given(values=lines)
def test_typing_of_ini(ansible: Ansible, values: list[str]) -> None:
    """Of whatever stands behind the sign in a section of variables, and behind a host."""
    in_section = [f"s{number}={value}" for number, value in enumerate(values) if hashable(value)]
    of_hosts = [f"h{number} v={value}" for number, value in enumerate(values) if splits(value)]
    text = "\n".join(["[web]", "h", *of_hosts, "[web:vars]", *in_section])
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {"hosts.ini": text})
        source = f"{folder}/hosts.ini"
        assert listed(load_inventory(source), whole) == ansible.inventory("--list", sources=[source], cwd=Path(folder))


def splits(value: str) -> bool:
    """Whether a host with this behind a variable's name can be read; what cannot be is seen elsewhere."""
    try:
        words = shlex.split(f"h v={value}", comments=True)
    except ValueError:
        return False
    return all("=" in word and hashable(word.partition("=")[2]) for word in words[1:])


def hashable(value: str) -> bool:
    """A literal with a list as a key is text here; Ansible gives up."""
    try:
        ast.literal_eval(value)
    except TypeError:
        return False
    except (ValueError, SyntaxError):
        pass
    return True


@st.composite
def ranges(draw: st.DrawFn) -> str:
    def one() -> str:
        step = draw(st.sampled_from(["", "", ":2", ":3"]))
        if draw(st.booleans()):
            first, last = sorted(draw(st.lists(st.sampled_from("abcxyz"), min_size=2, max_size=2)))
            return f"[{first}:{last}{step}]"
        first_, last_ = sorted(draw(st.lists(st.integers(0, 30), min_size=2, max_size=2)))
        width = draw(st.sampled_from([0, 0, 2, 3]))
        return f"[{str(first_).zfill(width)}:{str(last_).zfill(width)}{step}]"

    parts = draw(st.lists(st.sampled_from(["n", "-x", ".y", "R"]), min_size=1, max_size=4))
    port = draw(st.sampled_from(["", "", ":22"]))
    return "h" + "".join(one() if part == "R" else part for part in parts) + port


@settings(by_chance, max_examples=40)
@given(names=st.lists(ranges(), min_size=1, max_size=20))
def test_ranges(ansible: Ansible, names: list[str]) -> None:
    """Of whatever kind, alone and several in one name."""
    read = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), {"hosts.ini": name})
            try:
                load_inventory(f"{folder}/hosts.ini")
            except UserError:
                continue  # Ours are refused for more reasons, and each has a test of its own.
        read.append(name)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {"hosts.ini": "\n".join(["[g]", *read])})
        source = f"{folder}/hosts.ini"
        assert listed(load_inventory(source), whole) == ansible.inventory("--list", sources=[source], cwd=Path(folder))


PATTERN_HOSTS = """
[web]
web1
web2
web3.example.org
[db]
db1
db2
web1
[prod]
web2
db2
[empty]
[all:vars]
x=1
"""

terms = st.one_of(
    st.sampled_from(["web", "db", "prod", "all", "empty", "ungrouped", "web1", "db2", "web3.example.org", "lone", "*"]),
    st.sampled_from(["web*", "d?", "*1", "[wd]*", "*.example.*", "~web[12]", "~.*2$", "~(db|prod)", "nothing*", "~no"]),
    st.builds(
        "{}[{}]".format, st.sampled_from(["web", "db", "all", "w*"]), st.sampled_from(["0", "-1", "1", "0:1", "1:"])
    ),
)
chosen = st.builds("{}{}".format, st.sampled_from(["", "", "!", "&"]), terms)
lists = st.lists(chosen, min_size=1, max_size=4)


@settings(by_chance, max_examples=200)
@given(pattern=st.builds(str.join, st.sampled_from([":", ",", ", "]), lists), limit=st.none() | chosen)
def test_patterns(ansible: Ansible, tmp_path_factory: pytest.TempPathFactory, pattern: str, limit: str | None) -> None:
    """Of whatever terms, with and without a limit. Where nothing is selected, Ansible goes on with nothing or fails,
    and we always refuse."""
    folder = tmp_path_factory.getbasetemp()
    source = folder / "patterns.ini"
    source.write_text("lone\n" + PATTERN_HOSTS)
    theirs = ansible.hosts(pattern, limit=limit, sources=[str(source)], cwd=folder)
    if not theirs or isinstance(theirs, str):
        with pytest.raises(UserError, match=r"selects no host|to choose from"):
            load_inventory(source).select(pattern, limit)
    else:
        assert [host.name for host in load_inventory(source).select(pattern, limit)] == theirs


several = st.sampled_from(["web:&prod", "web1,db1", "web1 db1"])
padded = st.builds("{}{}{}".format, st.sampled_from(["", " ", "\t"]), chosen, st.sampled_from(["", "  "]))


@settings(by_chance, max_examples=200)
@given(
    lines=st.lists(st.one_of(padded, padded, padded, st.just(""), several), min_size=1, max_size=5),
    others=st.lists(chosen, max_size=2),
    end=st.sampled_from(["", "\n", "\n\n"]),
)
def test_limits_from_a_file(
    ansible: Ansible, tmp_path_factory: pytest.TempPathFactory, lines: list[str], others: list[str], end: str
) -> None:
    """A pattern on each line, alone or with others; blank lines are passed over. Where nothing is selected, by Ansible
    or by the file, and where a line has several parts, which Ansible takes for a name that nothing has, we refuse."""
    folder = tmp_path_factory.getbasetemp()
    source, file = folder / "patterns.ini", folder / "limit"
    source.write_text("lone\n" + PATTERN_HOSTS)
    file.write_text("\n".join(lines) + end)
    limit = ":".join((f"@{file}", *others))
    theirs = ansible.hosts("all", limit=limit, sources=[str(source)], cwd=folder)
    terms = [*map(str.strip, lines), *others]
    if not theirs or isinstance(theirs, str) or not any(terms) or {"web:&prod", "web1,db1", "web1 db1"} & {*terms}:
        with pytest.raises(UserError, match=r"selects no host|to choose from|is not a pattern|has this name"):
            load_inventory(source).select("all", limit)
    else:
        assert [host.name for host in load_inventory(source).select("all", limit)] == theirs
