"""Which roles a host has: Rackhand's own, and those of the user with their settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NewType, get_args, get_origin

from rackhand.agent.redaction import Redaction
from rackhand.errors import UserError
from rackhand.inventory import did_you_mean, got, shown
from rackhand.settings.fields import Fields
from rackhand.settings.values import flag, text, whole

#: Text that must be shown nowhere, as the annotation of a setting of a user's own role.
Secret = NewType("Secret", str)


@dataclass(frozen=True, kw_only=True)
class RoleSettings:
    """A role of a host. One of the user's own has a file, the digest of what is in that file's folder, and `values`:
    those of its settings that are set."""

    name: str
    file: Path | None = None
    digest: str = ""
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)


#: Rackhand's own roles in their order, each with the one that must come before it: what `default` stands for.
ROLES: Mapping[str, str | None] = {
    "baseline": None,
    "nginx": None,
    "hardening": "baseline",
    "edge": None,
    "python_app": "baseline",
    "gunicorn": "python_app",
    "nginx_site": "nginx",
}
#: What a host has that names none.
EVERY_ROLE = tuple(RoleSettings(name=name) for name in ROLES)
#: The name that stands for them among others.
DEFAULT = "default"
#: Variables with a meaning of their own, which no role's settings can be in.
_TAKEN = ("apps", "roles")
#: Without all of these, an application is not deployed.
APP_ROLES = ("edge", "python_app", "gunicorn", "nginx_site")


def roles_of(fields: Fields, folders: list[Path]) -> tuple[RoleSettings, ...]:
    """The roles of a host, in its order; those that are not Rackhand's are files of these folders."""
    names = fields.convert("roles", _names, None)
    if names is None:
        return EVERY_ROLE
    expanded = [one for name in names for one in (ROLES if name == DEFAULT else [name])]
    found: dict[str, RoleSettings] = {}
    for name in expanded:
        needed = ROLES.get(name)
        if name in found:
            fields.problem(("roles",), f"{name} is there twice")
        elif needed is not None and needed not in found:
            fields.problem(("roles",), f"{name} needs {needed} before it")
        found[name] = RoleSettings(name=name) if name in ROLES else _own_role(fields, name, folders)
    return tuple(found.values())


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"should be a list of names, got {got(value)}")
    return value


def _own_role(fields: Fields, name: str, folders: list[Path]) -> RoleSettings:
    """A role of the user's own, whose settings are in the variable of its name."""
    # Here, because most hosts have none.
    from rackhand import own_roles

    if name in _TAKEN:
        fields.problem(("roles",), f"{name} is no name for a role: its settings would be in the variable {name}")
        return RoleSettings(name=name)
    file = next((folder / f"{name}.py" for folder in folders if (folder / f"{name}.py").is_file()), None)
    if file is None or not name.isidentifier():
        there = sorted({DEFAULT, *ROLES, *(path.stem for folder in folders for path in folder.glob("[a-z]*.py"))})
        where = " or ".join(dict.fromkeys(shown(folder / f"{name}.py") for folder in folders))
        fields.problem(("roles",), f"there is no role {name!r}{did_you_mean(name, there)}: {where} would be it")
        return RoleSettings(name=name)
    try:
        own = own_roles.load(name, file.resolve())
    except UserError as error:
        fields.problem(("roles",), str(error))
        return RoleSettings(name=name)
    if own.settings is None:
        if name in fields.values:
            fields.problem((name,), f"the role takes no settings ({shown(file)})")
        return RoleSettings(name=name, file=file.resolve(), digest=own.digest)
    below = fields.mapping(name)
    before = len(fields.problems)
    values = dict(_set(fields, below, own.settings, own.types))
    below.refuse_unknown()
    if len(fields.problems) == before:
        try:
            own.settings(**values)
        except Exception as error:  # of its own __post_init__, which may do anything
            said = str(error) if isinstance(error, ValueError) else own_roles.told(file, error)
            said = Redaction(fields.secrets.all(())).text(said)
            fields.problem((name,) if name in fields.values else ("roles",), said)
    return RoleSettings(name=name, file=file.resolve(), digest=own.digest, values=values)


def _set(fields: Fields, below: Fields, kind: type[Any], types: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """The settings that are set, out of the fields of a dataclass, which have these types."""
    for one in dataclasses.fields(kind):
        value = _typed(below, one.name, types[one.name])
        if one.name in below.values:
            yield one.name, value
        elif one.default is one.default_factory is dataclasses.MISSING:
            fields.problem(("roles",), f"{below.path[-1]}.{one.name} is missing")
        elif Secret in (types[one.name], *get_args(types[one.name])) and one.default:
            fields.secrets.add(str(one.default), 1)


def _typed(below: Fields, key: str, hint: Any) -> Any:
    """The value of a key as an annotation wants it. What is secret, and what is in a mapping, is read by itself."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if type(None) in get_args(hint) else [hint]
    if kinds == [Secret]:
        return below.secret(key)
    if get_origin(kinds[0]) in (dict, Mapping):
        inner = below.mapping(key)
        return {name: _typed(inner, name, get_args(kinds[0])[1]) for name in inner.values}
    return below.convert(key, partial(_by_annotation, hint), None)


def _by_annotation(hint: Any, value: object) -> Any:
    """A value as a field of this type holds it: text, numbers, flags, choices, and tuples of these."""
    origin, arguments = get_origin(hint), get_args(hint)
    if type(None) in arguments:
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _by_annotation(hint, value)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"should be {' or '.join(map(str, arguments))}, got {got(value)}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"should be a list, got {got(value)}")
        return tuple(_by_annotation(arguments[0], item) for item in value)
    convert: Callable[[object], Any] | None = {str: text, int: whole, bool: flag}.get(hint)
    if convert is None:
        raise ValueError(f"is declared as {hint}, which no setting can be: see docs/roles.md")
    return hint(convert(value))
