"""One mapping among the variables of a host while it is read: what it has, and the mistakes in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from rackhand.errors import UserError
from rackhand.inventory import Origin, Variables, did_you_mean, got
from rackhand.secret_values import SecretValues
from rackhand.settings import values

#: Variables of an application shorter than this (`info`, `8080`) are words that stand anywhere.
LEAST = 8
T = TypeVar("T")
D = TypeVar("D")


class Fields:
    """One mapping among a host's variables while it is checked. Its methods hand out typed values and note
    each problem they meet; the default they return in its place is never used, since a problem ends the
    run."""

    def __init__(
        self,
        variables: Variables,
        path: tuple[str | int, ...],
        values: Mapping[Any, Any],
        problems: list[str],
        secrets: SecretValues,
    ) -> None:
        self.path = path
        self.values = values
        self._variables = variables
        self.problems = problems
        self.secrets = secrets
        self.asked: set[str] = set()

    def origin(self, below: tuple[str | int, ...]) -> Origin:
        name, *rest = (*self.path, *below)
        origin = self._variables.origin(str(name), *rest)
        if origin is None:
            raise KeyError(name)
        return origin

    def _written(self, key: str) -> str | None:
        name, *rest = (*self.path, key)
        return self._variables.text(str(name), *rest)

    def problem(self, below: tuple[str | int, ...], message: str) -> None:
        path = ".".join(map(str, (*self.path, *below)))
        self.problems.append(f"{self.origin(below)}: {path}: {self._variables.vault.hide(message)}")

    def convert(self, key: str, convert: Callable[[object], T], default: D, *, secret: bool = False) -> T | D:
        self.asked.add(key)
        if key not in self.values:
            return default
        try:
            value = self.values[key]
            if not secret and self.path and self._reveals(value):
                raise ValueError(
                    "was encrypted, and would be readable on the host: only passwords, env and what a role declares as "
                    "Secret are secret"
                )
            return convert(value)
        except ValueError as error:
            self.problem((key,), str(error))
        except UserError as error:  # Of its template: says where by itself.
            self.problems.append(str(error))
        return default

    def _reveals(self, value: object) -> bool:
        """Whether an ordinary setting has what was encrypted by itself. A shorter one may be there by chance."""
        encrypted = [text for text in self._variables.vault.values if len(text) >= LEAST]
        return isinstance(value, (str, list)) and any(text in str(value) for text in encrypted)

    def required(self, key: str, convert: Callable[[object], T], default: D) -> T | D:
        if key not in self.values:
            self.problem((), f"{key} is missing")
        return self.convert(key, convert, default)

    def text(self, key: str, default: str) -> str:
        return self.convert(key, values.text, default)

    def word(self, key: str, default: str) -> str:
        return self.convert(key, values.word, default)

    def secret(self, key: str, *, least: int = 1) -> str | None:
        """A text that is shown nowhere, if it has `least` characters."""
        text = self.convert(key, partial(values.secret, self._written(key)), None, secret=True)
        if text is not None:
            self.secrets.add(text, least)
        return text

    def flag(self, key: str, default: bool) -> bool:
        return self.convert(key, values.flag, default)

    def whole(self, key: str, default: int, *, least: int, most: int | None = None) -> int:
        def convert(value: object) -> int:
            number = values.whole(value)
            if number < least or (most is not None and number > most):
                bounds = f"at least {least}" if most is None else f"from {least} to {most}"
                raise ValueError(f"should be {bounds}, got {number}")
            return number

        return self.convert(key, convert, default)

    def choice(self, key: str, options: tuple[Any, ...], default: T) -> T:
        either = " or ".join(filter(None, (", ".join(options[:-1]), options[-1])))

        def convert(value: object) -> Any:
            if value not in options:
                hint = did_you_mean(value, options) if isinstance(value, str) else ""
                raise ValueError(f"should be {either}, got {got(value)}{hint}")
            return value

        return self.convert(key, convert, default)

    def last(self, *keys: str) -> str:
        """Of several names for one setting, the last that is set: the one that Ansible lets count."""
        self.asked.update(keys)
        return next((key for key in reversed(keys) if key in self.values), keys[0])

    def mapping(self, key: str) -> Fields:
        """The mapping below a key; an empty one when it is not set."""

        def convert(value: object) -> Mapping[Any, Any]:
            if not isinstance(value, Mapping):
                raise ValueError(f"should be a mapping, got {got(value)}")
            return value

        below = self.convert(key, convert, None)
        # Of what is no mapping nothing more can be said.
        problems = [] if below is None else self.problems
        return Fields(self._variables, (*self.path, key), below or {}, problems, self.secrets)

    def optional(self, key: str) -> Fields | None:
        """The mapping below a key, or None when it is not set."""
        below = self.mapping(key)
        return below if key in self.values else None

    def mappings(self, key: str) -> list[Fields]:
        """The mappings below the mapping below a key."""
        outer = self.mapping(key)
        return [outer.mapping(inner) for inner in outer.values]

    def refuse_unknown(self, prefix: str = "") -> None:
        """Notes the keys that nothing has asked for."""
        known = sorted(key for key in self.asked if key.startswith(prefix))
        for key in self.values:
            if key not in self.asked and str(key).startswith(prefix):
                hint = did_you_mean(str(key), known) or f": there are {', '.join(known)}"
                self.problem((key,), f"unknown key{hint}")
