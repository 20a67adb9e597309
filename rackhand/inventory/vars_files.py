"""Finds and reads the files of group_vars/ and host_vars/."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from rackhand.errors import UserError
from rackhand.inventory.documents import Layer, layer, read, shown
from rackhand.inventory.names import did_you_mean

_SUFFIXES = ("", ".yml", ".yaml", ".json")


class VarsFolder:
    """One group_vars/ or host_vars/ folder, which need not exist. `kind` is what its files are named for."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._kind = kind
        self._entries: dict[str, list[Path]] = {}
        entries = [entry for entry in folder.iterdir() if not _ignored(entry)] if folder.is_dir() else []
        # As in Ansible only the first of these is read: `web` (folder or file), web.yml, web.yaml, web.json.
        for entry in sorted(entries, key=lambda entry: (_name(entry), _SUFFIXES.index(_suffix(entry)))):
            self._entries.setdefault(_name(entry), []).append(entry)

    def layers(self, name: str) -> tuple[Layer, ...]:
        """What is set for one group or host: its file, or the files of its folder in alphabetical order."""
        entries = self._entries.get(name)
        return tuple(filter(None, map(_read, _files(entries[0])))) if entries else ()

    def warnings(self, names: Collection[str]) -> Iterator[str]:
        """Files that nothing reads: named for no group or host, or hidden by another one of the same name."""
        for name, (used, *others) in self._entries.items():
            if name not in names:
                hint = did_you_mean(name, names)
                yield f"{shown(used)}: is not read: no {self._kind} is named {name!r}{hint}"
            else:
                yield from (f"{shown(other)}: is not read: {shown(used)} is" for other in others)


def _suffix(entry: Path) -> str:
    return entry.suffix if entry.suffix in _SUFFIXES else ""


def _name(entry: Path) -> str:
    return entry.name.removesuffix(_suffix(entry))


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for entry in sorted(path.iterdir()):
        if _ignored(entry):
            continue
        if entry.is_dir() and not entry.suffix:
            yield from _files(entry)
        elif entry.is_file() and entry.suffix in _SUFFIXES:
            yield entry


def _ignored(entry: Path) -> bool:
    return entry.name.startswith(".") or entry.name.endswith("~")


def _read(path: Path) -> Layer:
    document = read(path)
    if document.value is not None and not isinstance(document.value, dict):
        raise UserError(f"{document.origin()}: should be a mapping of variables")
    return layer(document, variables=document.value)
