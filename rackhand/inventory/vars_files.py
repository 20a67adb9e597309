"""Finds and reads the files of group_vars/ and host_vars/."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

from rackhand.errors import UserError
from rackhand.inventory.documents import HOST, Definition, Layer, layer, read, shown
from rackhand.inventory.names import did_you_mean
from rackhand.inventory.vault import HEADER, Vault

_SUFFIXES = ("", ".yml", ".yaml", ".json")


class VarsFolder:
    """One group_vars/ or host_vars/ folder, which need not exist. `kind` is what its files are named for."""

    def __init__(self, folder: Path, kind: Literal["group", "host"], vault: Vault) -> None:
        self._folder = folder
        self._kind = kind
        self._vault = vault
        entries = folder.iterdir() if folder.is_dir() else ()
        self._entries = {entry.name for entry in entries if not _ignored(entry)}

    def layers(self, name: str) -> tuple[Layer, ...]:
        """What is set for one group or host: its file, or the files of its folder in alphabetical order."""
        entry = self._entry(name)
        scope = HOST if self._kind == "host" else f"group {name}"
        return () if entry is None else tuple(filter(None, (_read(file, scope, self._vault) for file in _files(entry))))

    def warnings(self, names: Collection[str]) -> Iterator[str]:
        """Files that nothing reads: named for no group or host, or hidden by another one of the same name."""
        used = {entry.name for entry in map(self._entry, names) if entry is not None}
        for other in sorted(self._entries - used):
            suffix = next(suffix for suffix in reversed(_SUFFIXES) if other.endswith(suffix))
            name = other.removesuffix(suffix)
            hidden_by = self._entry(name) if name in names else None
            if hidden_by is not None:
                reason = f"{shown(hidden_by)} is"
            else:
                reason = f"no {self._kind} is named {name!r}{did_you_mean(name, names)}"
            yield f"{shown(self._folder / other)}: is not read: {reason}"

    def _entry(self, name: str) -> Path | None:
        """As in Ansible only the first of these is read: `web` (folder or file), web.yml, web.yaml, web.json."""
        return next((self._folder / (name + suffix) for suffix in _SUFFIXES if name + suffix in self._entries), None)


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


class Encrypted(Mapping[str, Definition]):
    """What an encrypted file sets. It is decrypted for a host that is worked on, not for others."""

    def __init__(self, path: Path, scope: str, vault: Vault) -> None:
        self._path = path
        self._scope = scope
        self._vault = vault

    @cached_property
    def _layer(self) -> Layer:
        return _decrypted(self._path, self._scope, self._vault)

    @property
    def opened(self) -> bool:
        """Whether it has been decrypted."""
        return "_layer" in vars(self)

    def __getitem__(self, name: str) -> Definition:
        return self._layer[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layer)

    def __len__(self) -> int:
        return len(self._layer)

    def __bool__(self) -> bool:
        return True


def _read(path: Path, scope: str, vault: Vault) -> Layer:
    try:
        with path.open("rb") as file:
            encrypted = file.read(len(HEADER)) == HEADER.encode()
    except OSError:
        encrypted = False  # what is wrong with it is told below
    return Encrypted(path, scope, vault) if encrypted else _decrypted(path, scope, vault)


def _decrypted(path: Path, scope: str, vault: Vault) -> Layer:
    document = read(path, vault)
    if document.value is not None and not isinstance(document.value, dict):
        raise UserError(f"{document.origin()}: should be a mapping of variables")
    return layer(document, variables=document.value, scope=scope)
