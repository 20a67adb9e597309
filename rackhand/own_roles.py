"""Roles of a host by their names: Rackhand's own, and those of the user, each in a file of its name.

A user's role is a function of the file's name, from a Target, and from settings if it has any, to resources. Settings
are a frozen dataclass, named by the annotation of the second parameter.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import sys
import threading
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, wraps
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import roles
import roles.operations
import roles.tuning
from rackhand import PROJECT, templates
from rackhand.agent.resource import Resource
from rackhand.errors import UserError
from rackhand.inventory import shown

if TYPE_CHECKING:
    from rackhand.planning import Role
    from rackhand.settings import RoleSettings
    from rackhand.target import Target

#: Rackhand's own, which are not looked for.
_OWN = {role.__name__: role for role in roles.DEPLOY}
#: All of Rackhand's modules there, which are imported by now: no file of a user's takes the place of one.
RACKHANDS = frozenset(name for name in list(sys.modules) if name.startswith("roles."))
#: Held while a role is loaded: workers do so in several threads.
_loading = threading.Lock()


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnRole:
    """What is in a file: the function, and the class of its settings if it takes any, with the types of its fields.
    `digest` is that of all Python files of the folder, and of the templates beside it."""

    function: Callable[..., Iterable[Resource]]
    settings: type[Any] | None
    types: Mapping[str, Any]
    digest: str


def loaded(named: Iterable[RoleSettings]) -> Iterator[Role]:
    """The functions of roles, each from a target alone. Raises UserError when this machine has not the same files as
    the one that has read the inventory."""
    for one in named:
        yield _OWN[one.name] if one.file is None else _of_user(one, one.file)


def _of_user(one: RoleSettings, file: Path) -> Role:
    if not file.is_file():
        raise UserError(f"the worker has no {file}: own roles must be there too; see docs/roles.md")
    own = load(one.name, file)
    if own.digest != one.digest:
        raise UserError(f"the worker has other roles in {file.parent}: start it again with the same; see docs/roles.md")
    arguments = () if own.settings is None else (own.settings(**one.values),)

    @wraps(own.function)
    def role(target: Target) -> Iterator[Resource]:
        made: object = None
        try:
            made = own.function(target, *arguments)
            for resource in made:
                _check(resource)
                yield resource
        except UserError:
            raise
        except Exception as error:
            # Where it stands: what was yielded is looked at here, not there.
            frame = made.gi_frame if inspect.isgenerator(made) else None
            line = frame.f_lineno if frame else own.function.__code__.co_firstlineno
            raise UserError(f"{told(file, error, line)} (role {one.name})") from error

    return role


def _check(resource: object) -> None:
    """Raises TypeError for what would fail on the host, where nobody knows which role it came from."""
    if not isinstance(resource, Resource):
        raise TypeError(f"should yield resources, got {resource!r}")
    hints = typing.get_type_hints(type(resource))
    for name in resource.fields:
        value = getattr(resource, name)
        kind = typing.get_origin(hints[name]) or hints[name]
        if kind in (str, int, bool, tuple) and not isinstance(value, kind):
            wanted = {str: "text", int: "a number", bool: "true or false", tuple: "a tuple"}[kind]
            raise TypeError(f"{name} of {resource.kind} should be {wanted}, got {value!r}")


@cache
def load(name: str, file: Path) -> OwnRole:
    """What is in a file. Raises UserError, naming file and line, when it is no role."""
    with _loading:
        return _load(name, file)


def _load(name: str, file: Path) -> OwnRole:
    module = _module(name, file)
    function = module.__dict__.get(name)
    if not inspect.isfunction(function):
        raise UserError(f"{shown(file)}: has no function {name}(target): a role is a function of its file's name")
    line = function.__code__.co_firstlineno
    try:
        parameters = list(inspect.signature(function).parameters.values())
        hints = typing.get_type_hints(function)
        settings = hints.get(parameters[1].name) if len(parameters) == 2 else None
        types = typing.get_type_hints(settings) if dataclasses.is_dataclass(settings) else {}
    except Exception as error:  # an annotation may be anything
        raise UserError(told(file, error, line)) from error
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not 1 <= len(parameters) <= 2 or any(parameter.kind not in positional for parameter in parameters):
        raise UserError(f"{shown(file)}:{line}: should be {name}(target) or {name}(target, settings: Settings)")
    frozen = dataclasses.is_dataclass(settings) and settings.__dataclass_params__.frozen  # type: ignore[union-attr]
    if len(parameters) == 2 and not frozen:
        raise UserError(
            f"{shown(file)}:{line}: {parameters[1].name} should have a frozen dataclass as its annotation: "
            "its fields are the settings"
        )
    return OwnRole(function=function, settings=settings, types=types, digest=_digest(file.parent))


def _module(name: str, file: Path) -> ModuleType:
    _come_first(file.parent)
    try:
        module = importlib.import_module(f"roles.{name}")
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(told(file, error)) from error
    if module.__file__ is None or not file.samefile(module.__file__):
        first = shown(Path(module.__file__ or module.__name__))
        raise UserError(f"{shown(file)}: {first} has this name already: rename this one")
    return module


def _come_first(folder: Path) -> None:
    """From now on `roles.NAME` is the module of this folder, where it has one. Others may have one of the same name,
    which stays with those who have imported it."""
    first = str(folder)
    if first not in roles.__path__:
        templates.FOLDERS.append(folder.parent / "templates")
    roles.__path__[:] = [first, *(path for path in roles.__path__ if path != first)]
    for path in folder.glob("*.py"):
        module = sys.modules.get(f"roles.{path.stem}")
        if module is None or module.__name__ in RACKHANDS or module.__file__ == str(path):
            continue
        del sys.modules[module.__name__]
        vars(roles).pop(path.stem, None)


@cache
def _digest(folder: Path) -> str:
    if folder == PROJECT / "roles":  # of which a worker knows that it is the same
        return ""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.py"), *filter(Path.is_file, (folder.parent / "templates").glob("*"))]):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def told(file: Path, error: BaseException, line: int | None = None) -> str:
    """The last line of the user's that an error came through, else this one, and what it says."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == file.parent]
    where, said = file, str(error)
    if isinstance(error, SyntaxError) and error.filename:
        where, line, said = Path(error.filename), error.lineno, error.msg
    elif own:
        where, line = Path(own[-1].filename), own[-1].lineno
    return f"{shown(where)}{f':{line}' if line else ''}: {type(error).__name__}: {said}"
