"""Reads YAML (and so JSON) files, and knows the line of every value in them; where variables come from, whoever reads
them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rackhand.errors import UserError
from rackhand.inventory.vault import UndecryptableError, Vault, Vaulted, is_encrypted, problem

if TYPE_CHECKING:
    from yaml import SafeLoader as _BaseLoader
else:
    # libyaml's parser gives the same marks ten times faster, and is not in every build of PyYAML.
    _BaseLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_VAULT_TAGS = ("!vault", "!vault-encrypted")


class Unsafe(str):
    """Text tagged `!unsafe`: never a template, whatever it contains."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a value was set: the file as messages show it, and the line counted from 1, if the place has
    lines."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Document:
    """The value of one file, and the YAML nodes that it was made of. Without nodes it is one value on one `line` of a
    file of another kind, as it was `written` there, or what a script says, which has no lines. `encrypted`: whether the
    file is, as a whole."""

    file: str
    value: Any
    root: Node | None = None
    line: int | None = None
    written: str | None = None
    encrypted: bool = False

    def origin(self, *path: str | int) -> Origin:
        """Where the value at `path` was set; for a value that only a template knows, where that template
        is."""
        if self.root is None:
            return Origin(file=self.file, line=self.line)
        return Origin(file=self.file, line=_find(self.root, path)[0].start_mark.line + 1)

    def text(self, *path: str | int) -> str | None:
        """A scalar as it was written, before YAML made a number or a boolean of it."""
        if self.root is None:
            return None if path else self.written
        node = _find(self.root, path)[1]
        return node.value if isinstance(node, ScalarNode) else None


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One value given to one variable: what it is, where in which document, and whom it is set for (`group web`,
    `host`)."""

    value: Any
    document: Document
    path: tuple[str | int, ...]
    scope: str

    def origin(self, *path: str | int) -> Origin:
        return self.document.origin(*self.path, *path)

    def text(self, *path: str | int) -> str | None:
        return self.document.text(*self.path, *path)


#: The variables that one place (a file, a section of the inventory) sets, each once.
Layer = Mapping[str, Definition]

#: Whom `Definition.scope` says that a variable is set for, besides `group NAME`.
HOST = "host"
COMMAND_LINE = "command line"


def layer(document: Document, *path: str | int, variables: Mapping[Any, Any] | None, scope: str) -> Layer:
    """The definitions of a mapping of variables that stands at `path` in the document."""
    for name in variables or {}:
        if not isinstance(name, str):
            raise UserError(f"{document.origin(*path, name)}: {name!r}: a variable's name is text: quote it")
    return {
        name: Definition(value=value, document=document, path=(*path, name), scope=scope)
        for name, value in (variables or {}).items()
    }


def dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))


def got(value: object) -> str:
    """A value as messages show what was found."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def shown(path: Path) -> str:
    """A path as messages show it: relative to the working directory where it lies below that."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def read(path: Path, vault: Vault | None = None) -> Document:
    """The one YAML or JSON document of a file, which may be encrypted as a whole. Raises UserError with file and
    line."""
    return parse(text_of(path), shown(path), vault)


def text_of(path: Path) -> str:
    """What a file holds, perhaps encrypted. Raises UserError when it cannot be read as text."""
    file = shown(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}:{line}: is not UTF-8 text") from None
    return text


def decrypted(text: str, file: str, vault: Vault) -> str:
    """The text of a file that may be encrypted as a whole. Raises UndecryptableError."""
    if not is_encrypted(text):
        return text
    try:
        return vault.open(text)
    except UndecryptableError as error:
        raise UndecryptableError(f"{file}:1: {error}") from None


def parse(text: str, file: str, vault: Vault | None = None) -> Document:
    """`read` for text that did not come from a file; `file` is what messages call it."""
    vault = vault or Vault()
    encrypted = is_encrypted(text)
    text = decrypted(text, file, vault)
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return Document(file=file, value=None)
        _refuse(root, lambda node, message: UserError(f"{file}:{node.start_mark.line + 1}: {message}"))
        if encrypted:
            vault.note(_texts(root))
        value = loader.construct_document(root)
        if text.lstrip().startswith("{"):
            # JSON is YAML, but for numbers like 1e5, which YAML takes for text.
            with suppress(ValueError):
                value = json_value(text)
        return Document(file=file, value=value, root=root, encrypted=encrypted)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except yaml.reader.ReaderError as error:
        line = text.encode().count(b"\n", 0, error.position) + 1
        raise UserError(f"{file}:{line}: contains a control character") from None
    except ValueError as error:
        # PyYAML's own conversions, as of the date 2026-02-30.
        raise UserError(f"{file}: {error}") from None
    except RecursionError:
        raise UserError(f"{file}: is nested too deeply") from None
    finally:
        loader.dispose()


def json_value(text: str) -> Any:
    """The value of JSON text, in which Ansible writes unsafe and encrypted values as mappings. Raises ValueError."""
    return json.loads(text, object_hook=_tagged)


def _tagged(mapping: dict[str, Any]) -> Any:
    kinds = {"__ansible_unsafe": Unsafe, "__ansible_vault": Vaulted}
    for name, text in mapping.items() if len(mapping) == 1 else ():
        if name in kinds and isinstance(text, str):
            return kinds[name](text)
    return mapping


class _Loader(_BaseLoader):
    def unsafe(self, node: ScalarNode | SequenceNode | MappingNode) -> object:
        if isinstance(node, SequenceNode):
            return [self.unsafe(item) for item in node.value]
        if isinstance(node, MappingNode):
            return {self.construct_object(key, deep=True): self.unsafe(value) for key, value in node.value}
        return Unsafe(self.construct_scalar(node))

    def vaulted(self, node: ScalarNode) -> Vaulted:
        return Vaulted(node.value)


_Loader.add_constructor("!unsafe", _Loader.unsafe)
for _tag in _VAULT_TAGS:
    _Loader.add_constructor(_tag, _Loader.vaulted)


def _texts(node: Node) -> Iterator[str]:
    """The texts and numbers below a node, keys left out, as they are written."""
    if isinstance(node, MappingNode):
        for _, value in node.value:
            yield from _texts(value)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            yield from _texts(item)
    elif node.tag.endswith((":str", ":int", ":float", "!unsafe")):
        yield node.value


def _refuse(root: Node, refusal: Callable[[Node, str], UserError]) -> None:
    """Finds what PyYAML would let pass: keys set twice, aliases that contain themselves, `!vault` before what is not
    encrypted."""
    done: set[int] = set()
    above: set[int] = set()

    def visit(node: Node) -> None:
        if id(node) in above:
            raise refusal(node, "an alias refers to what contains it")
        if id(node) in done:
            return
        if node.tag in _VAULT_TAGS and (wrong := problem(node.value if isinstance(node, ScalarNode) else "")):
            raise refusal(node, wrong)
        if isinstance(node, ScalarNode):
            return
        above.add(id(node))
        if isinstance(node, MappingNode):
            first: dict[tuple[str, str], Node] = {}
            for key, value in node.value:
                if isinstance(key, ScalarNode):
                    before = first.setdefault((key.tag, key.value), key)
                    if before is not key:
                        line = before.start_mark.line + 1
                        raise refusal(key, f"{key.value!r} is set twice, first on line {line}")
                visit(key)
                visit(value)
        else:
            for item in node.value:
                visit(item)
        above.remove(id(node))
        done.add(id(node))

    visit(root)


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str) -> UserError:
    mark = error.problem_mark or error.context_mark
    lines = text.splitlines()
    line = min(mark.line, len(lines) - 1) if mark else 0
    source = lines[line]
    message = error.problem or str(error)
    if "unhashable" in message and "{{" in source:
        message = 'a value that begins with "{{" needs quotes around it'
    elif mark and source[mark.column : mark.column + 1] == "\t":
        message = "a tab cannot indent YAML: use spaces"
    elif message.startswith("could not determine a constructor for the tag"):
        message = f"unknown tag {message.split()[-1]}"
    return UserError(f"{file}:{line + 1}: {message}")


def _find(node: Node, path: tuple[str | int, ...]) -> tuple[Node, Node | None]:
    """The node that shows the place (a mapping's key, an item) and the node of the value, None where the path
    leaves the document."""
    place = node
    value: Node | None = node
    for key in path:
        found: tuple[Node, Node] | None = None
        if isinstance(value, MappingNode):
            # Merged keys (`<<`) come first in a node that was constructed, so the last one is the one that
            # holds.
            found = next((pair for pair in reversed(value.value) if pair[0].value == str(key)), None)
        elif isinstance(value, SequenceNode) and isinstance(key, int) and key < len(value.value):
            found = (value.value[key], value.value[key])
        if found is None:
            return place, None
        place, value = found
    return place, value
