"""Variables from the command line: `name=value`, `@file`, or YAML and JSON in braces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rackhand.errors import UserError
from rackhand.inventory.documents import COMMAND_LINE, Definition, Document, Layer, layer, parse, read
from rackhand.inventory.vault import Vault

_PLACE = "--extra-vars"
# A value ends at a space, unless that is inside quotes or a template.
_PAIR = re.compile(
    r"""\s*([^\s=]+)=((?:"(?:[^"\\]|\\.)*"|'[^']*'|\{\{.*?\}\}|\{%.*?%\}|[^\s"'])*)(?:\s+|$)""", re.DOTALL
)


def extra_layer(options: Iterable[str], vault: Vault | None = None) -> Layer:
    """What the options set; of two that set the same variable the later holds. Raises UserError."""
    merged: dict[str, Definition] = {}
    for option in options:
        merged.update(_one(option.strip(), vault))
    return merged


def _one(option: str, vault: Vault | None) -> Layer:
    if option.startswith("@"):
        document = read(Path(option[1:]).expanduser(), vault)
    elif option.startswith("{"):
        document = parse(option, _PLACE, vault)
    else:
        document = Document(file=_PLACE, value=_pairs(option))
    if not isinstance(document.value, dict):
        raise UserError(f"{document.file}: should be variables (name=value, @file or JSON), got {option!r}")
    return layer(document, variables=document.value, scope=COMMAND_LINE)


def _pairs(option: str) -> dict[str, str] | None:
    """The variables in `a=1 b="two words"`, all of them text; None when that is not what it is."""
    pairs = {}
    end = 0
    while end < len(option):
        found = _PAIR.match(option, end)
        if found is None:
            return None
        name, value = found.groups()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        pairs[name] = value[1:-1] if quoted else value
        end = found.end()
    return pairs
