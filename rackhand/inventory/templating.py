"""Fills in Jinja2 templates inside variables, with the types that Ansible gives.

A template that is one expression keeps the type of its value; anything else is text. Nothing but this module
imports Jinja2 for the inventory, and it is imported when the first template is met.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import jinja2
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rackhand.errors import UserError
from rackhand.inventory.variables import SelfReferenceError
from rackhand.inventory.vault import UndecryptableError


class TemplateError(Exception):
    """Why a template could not be filled in; the caller knows where it stands."""


def or_undefined(read: Callable[..., Any], *arguments: Any) -> Any:
    """What `read` returns or, where that fails because of another template, a value that is undefined for
    that reason."""
    try:
        return read(*arguments)
    except (SelfReferenceError, UndecryptableError):
        raise
    except UserError as error:
        return jinja2.StrictUndefined(hint=str(error))


def render(source: str, namespace: Mapping[str, Any]) -> Any:
    """The value of a template. Raises TemplateError, or SelfReferenceError or UndecryptableError from a variable that
    it uses."""
    try:
        template = _compile(source)
        # Jinja writes to the first of these alone.
        names = ChainMap({}, namespace, _environment().globals)  # type: ignore[arg-type]
        # Shared, the context uses the names as they are; else Jinja copies, and so fills in, all of them.
        context = template.new_context(names, shared=True)  # type: ignore[arg-type]  # any mapping will do
        return _join(template.root_render_func(context))
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"is not a valid template: {error.message}") from None
    except jinja2.UndefinedError as error:
        raise TemplateError(error.message) from None
    except (SelfReferenceError, UndecryptableError):
        raise
    except Exception as error:  # A template can call anything with anything.
        raise TemplateError(f"its template fails: {error}") from None


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = NativeCodeGenerator

    def getattr(self, obj: Any, attribute: str) -> Any:
        return _part(obj, attribute, or_undefined(super().getattr, obj, attribute))

    def getitem(self, obj: Any, argument: Any) -> Any:
        return _part(obj, argument, or_undefined(super().getitem, obj, argument))


def _part(whole: Any, key: Any, part: Any) -> Any:
    if isinstance(part, jinja2.Undefined) and isinstance(whole, Mapping) and key not in whole:
        return jinja2.StrictUndefined(hint=f"a mapping that it uses has no {key!r}")
    return part


@jinja2.pass_context
def _finalize(_context: object, value: Any) -> Any:
    """Asks for the context only because Jinja then leaves constants for run time: it would make text of
    them."""
    return value


@cache
def _environment() -> jinja2.Environment:
    environment = _Environment(
        undefined=jinja2.StrictUndefined, finalize=_finalize, trim_blocks=True, keep_trailing_newline=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "default": _plain}
    return environment


@cache
def _compile(source: str) -> jinja2.Template:
    return _environment().from_string(source)


def _join(nodes: Iterable[Any]) -> Any:
    parts = [_plain(node) for node in nodes if node is not None]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else "".join(map(str, parts))


def _plain(value: Any) -> Any:
    """Without views and tuples, and without anything undefined inside."""
    if isinstance(value, jinja2.Undefined):
        str(value)  # StrictUndefined raises here, with its reason.
    if isinstance(value, str):
        return str(value)  # Filters may return Markup.
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
