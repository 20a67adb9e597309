"""Runs an executable inventory and reads the JSON that it prints: Ansible's protocol of `--list` and `--host`."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rackhand.errors import UserError
from rackhand.inventory.documents import HOST, Document, dotted, got, json_value, layer, shown
from rackhand.inventory.graph import Graph
from rackhand.inventory.names import checked

#: Seconds within which a script must have answered.
PATIENCE = 120

#: Of scripts that have to be asked for each host, so many run at once.
_AT_ONCE = 8

_SECTIONS = ("hosts", "children", "vars")


def add(path: Path, graph: Graph) -> bool:
    """Runs a file and adds the groups and hosts that it tells of to the graph. False when the system takes it for no
    program. Raises UserError, which names the file."""
    said = _ask(path, graph, "--list")
    if said is None:
        return False
    groups = _mapping(said, f"{shown(path)} --list", "groups")
    told = _Told(shown(path), graph)
    for name, content in groups.items():
        if name != "_meta":
            told.add_group(name, content)
    if "_meta" in groups:
        meta = _mapping(groups["_meta"], told.place("_meta"), "hostvars")
        of_hosts = _mapping(meta.get("hostvars", {}), told.place("_meta", "hostvars"), "hosts")
    else:
        of_hosts = _ask_for_each(path, graph, told.hosts)
    for name in told.hosts:
        variables = _mapping(of_hosts.get(name, {}), told.place("_meta", "hostvars", name), "variables")
        graph.hosts[name].define(layer(told.document, variables=variables, scope=HOST))
    return True


class _Told:
    """What a script has said of groups; `hosts` are those that it named, in its order."""

    def __init__(self, file: str, graph: Graph) -> None:
        self.document = Document(file=file, value=None)
        self.hosts: dict[str, None] = {}
        self._graph = graph

    def place(self, *path: str) -> str:
        return f"{self.document.file}: {dotted(path)}"

    def add_group(self, name: str, content: Any) -> None:
        if not name:
            raise UserError(f"{self.document.file}: a group's name is empty")
        group = self._graph.add_group(name)
        if not isinstance(content, dict):
            content = {"hosts": content}
        elif content.keys().isdisjoint(_SECTIONS):
            # From before there were sections: a host of the group's name, with these variables.
            content = {"hosts": [name], "vars": content}
        for host in self._names(name, "hosts", content):
            try:
                self._graph.add_host(checked(host), group, self.document, (), None)
            except ValueError as error:
                raise UserError(f"{self.place(name, 'hosts')}: {host!r}: {error}") from None
            self.hosts[host] = None
        variables = _mapping(content.get("vars", {}), self.place(name, "vars"), "variables")
        group.define(layer(self.document, variables=variables, scope=f"group {name}"))
        for child in self._names(name, "children", content):
            self._graph.add_child(group, self._graph.add_group(child), self.document.origin())

    def _names(self, group: str, section: str, content: Mapping[str, Any]) -> list[str]:
        names = content.get(section, [])
        if not isinstance(names, list) or not all(name and isinstance(name, str) for name in names):
            raise UserError(f"{self.place(group, section)}: should be a list of names, got {got(names)}")
        return names


def _ask_for_each(path: Path, graph: Graph, hosts: Iterable[str]) -> dict[str, Any]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        answers = threads.map(lambda host: _ask(path, graph, "--host", host), hosts)
        return {host: answer or {} for host, answer in zip(hosts, answers, strict=True)}


def _ask(path: Path, graph: Graph, *arguments: str) -> Any:
    """What the script answers; None when it is no program, or prints nothing about a host."""
    asked = " ".join((shown(path), *arguments))
    try:
        process = subprocess.Popen(
            (path.absolute(), *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            return None
        raise UserError(f"{shown(path)}: cannot be run: {error.strerror}: is its first line right?") from None
    with process:
        try:
            printed, complaints = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise UserError(f"{asked}: no answer within {PATIENCE} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    errors = complaints.decode(errors="replace").strip()
    if process.returncode:
        said = f":\n{errors}" if errors else ", without a word"
        raise UserError(f"{asked}: failed with exit code {process.returncode}{said}")
    if errors:
        graph.warnings.append(f"{asked}: {errors}")
    if arguments[0] == "--host" and not printed.strip():
        return None
    try:
        return json_value(printed.decode())
    except json.JSONDecodeError as error:
        message = f"{asked}: should print JSON, and line {error.lineno} is not: {error.msg}"
    except UnicodeDecodeError:
        message = f"{asked}: should print JSON, and this is not UTF-8 text"
    raise UserError(f"{message}\n{errors}".rstrip())


def _mapping(value: Any, place: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{place}: should be a mapping of {what}, got {got(value)}")
    return value
