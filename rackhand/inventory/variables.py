"""A host's variables: layers of definitions, the later ones winning, templated when they are read."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from rackhand.errors import UserError
from rackhand.inventory.documents import Definition, Layer, Origin, Unsafe, dotted
from rackhand.inventory.vars_files import Encrypted
from rackhand.inventory.vault import UndecryptableError, Vault, Vaulted


class SelfReferenceError(UserError):
    """A variable whose template needs its own value: unlike one that is undefined, no default can stand in
    for it."""


class Variables(Mapping[str, Any]):
    """Maps the variables set for a host to plain values, templates filled in. Reading one raises UserError,
    naming file and line, when its template fails. As in Ansible a later layer replaces a variable as a whole,
    mappings too.

    `magic` holds what templates see besides (`inventory_hostname`, `groups`, `hostvars` ...): it is not
    iterated over, and what files set under these names counts for nothing. `vault` decrypts values that are
    encrypted, when they are read.
    """

    def __init__(self, layers: Sequence[Layer], magic: Mapping[str, Any], vault: Vault) -> None:
        self._layers = tuple(layers)
        self._magic = magic
        self.vault = vault
        self._rendered: dict[tuple[str | int, ...], Any] = {}
        self._rendering: list[tuple[str | int, ...]] = []

    @cached_property
    def _winning(self) -> dict[str, Definition]:
        winning = {name: found for layer in self._layers for name, found in layer.items()}
        return {name: found for name, found in winning.items() if name not in self._magic}

    @cached_property
    def lazy(self) -> Mapping[str, Any]:
        """The variables as a view whose mappings fill in each template only when it is reached."""
        return _View(self, self.raw(), ())

    def __getitem__(self, name: str) -> Any:
        return plain(self.lazy[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._winning)

    def __len__(self) -> int:
        return len(self._winning)

    def __contains__(self, name: object) -> bool:
        return name in self._winning

    def raw(self) -> dict[str, Any]:
        """The variables with their templates unfilled, and each encrypted value as it is."""
        return {name: found.value for name, found in self._winning.items()}

    def origin(self, name: str, *path: str | int) -> Origin | None:
        """Where the value of a variable, or a part of it, was set; None when it is not set at all."""
        found = self._winning.get(name)
        return None if found is None else found.origin(*path)

    def definitions(self, name: str) -> tuple[Definition, ...]:
        """What every place sets a variable to, the winning one last."""
        return tuple(layer[name] for layer in self._layers if name in layer)

    def encrypted(self, name: str) -> bool:
        """Whether the value of a variable stands in a file that is encrypted as a whole."""
        found = self._winning.get(name)
        return found is not None and found.document.encrypted

    def text(self, name: str, *path: str | int) -> str | None:
        """A scalar as it was written in its file; None for what is no scalar there, or a template."""
        found = self._winning.get(name)
        text = None if found is None else found.text(*path)
        return None if text is None or is_template(text) else text

    def closed(self, hostvars: Mapping[str, Any]) -> Variables:
        """The same without what would have to be decrypted: files are left out, and to read a value raises
        UndecryptableError."""
        layers = [layer for layer in self._layers if not isinstance(layer, Encrypted) or layer.opened]
        return Variables(layers, {**self._magic, "hostvars": hostvars}, self.vault.closed())

    def namespace(self) -> Mapping[str, Any]:
        """What a template sees: the magic variables, which nothing overrides, and these."""
        return ChainMap(self._magic, _Namespace(self))  # type: ignore[arg-type]  # neither is written to

    def _lazy(self, value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, str):
            return self._render(value, path) if is_template(value) else value
        if isinstance(value, dict):
            return _View(self, value, path)
        if isinstance(value, list):
            return [self._lazy(item, (*path, index)) for index, item in enumerate(value)]
        return self._reveal(value, path) if isinstance(value, Vaulted) else value

    def _reveal(self, value: Vaulted, path: tuple[str | int, ...]) -> Unsafe:
        try:
            return Unsafe(self.vault.reveal(value))
        except UndecryptableError as error:
            where = self.origin(str(path[0]), *path[1:])
            raise UndecryptableError(f"{where}: {dotted(path)}: {error}") from None

    def _render(self, source: str, path: tuple[str | int, ...]) -> Any:
        # Imported here because Jinja2 takes longer to load than most inventories, and many have no template.
        from rackhand.inventory.templating import TemplateError, render

        if path not in self._rendered:
            where = self.origin(str(path[0]), *path[1:])
            if path in self._rendering:
                cycle = [*self._rendering[self._rendering.index(path) :], path]
                raise SelfReferenceError(
                    f"{where}: {dotted(path)}: refers to itself: {' -> '.join(map(dotted, cycle))}"
                )
            self._rendering.append(path)
            try:
                self._rendered[path] = render(source, self.namespace())
            except TemplateError as problem:
                raise UserError(f"{where}: {dotted(path)}: {self.vault.hide(str(problem))}") from None
            finally:
                self._rendering.pop()
        return self._rendered[path]


class _View(Mapping[Any, Any]):
    """A mapping inside a variable, each value templated when it is read."""

    def __init__(self, variables: Variables, raw: dict[Any, Any], path: tuple[str | int, ...]) -> None:
        self._variables = variables
        self._raw = raw
        self._path = path

    def __getitem__(self, key: Any) -> Any:
        return self._variables._lazy(self._raw[key], (*self._path, key))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __contains__(self, key: object) -> bool:
        return key in self._raw

    def __repr__(self) -> str:
        return repr(plain(self))


class _Namespace(Mapping[str, Any]):
    """The variables as a template sees them: one whose own template fails is undefined, so that `default()`
    applies."""

    def __init__(self, variables: Variables) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> Any:
        from rackhand.inventory.templating import or_undefined

        return or_undefined(self._variables.lazy.__getitem__, name)

    def __contains__(self, name: object) -> bool:
        return name in self._variables

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def is_template(text: str) -> bool:
    return ("{{" in text or "{%" in text or "{#" in text) and not isinstance(text, Unsafe)


def plain(value: Any) -> Any:
    """A value with all its templates filled in: dictionaries and lists of plain values."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return sorted(value, key=str) if isinstance(value, set) else value
