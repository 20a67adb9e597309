"""What a frozen dataclass is to whoever uses one, without what it costs to make the class: `dataclasses` writes six
functions for each, compiles them, and imports `inspect`. That was a third of what loading the agent took.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from typing import dataclass_transform
else:  # Python 3.10 has none, and only type checkers ask

    def dataclass_transform(**_: object) -> Any:
        return lambda kind: kind


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Record:
    """A few named values that stay as they are: each annotation of a class is one, but for a ClassVar, and what is
    assigned to it there its default. Two with the same class and values are equal."""

    #: The names of the values, those of the base classes first.
    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        own = [name for name, kind in cls.__annotations__.items() if "ClassVar" not in str(kind)]
        cls.fields += tuple(name for name in own if name not in cls.fields)

    def __init__(self, **values: Any) -> None:
        """Raises TypeError for a value that is missing or unknown."""
        kind = type(self)
        unknown = [name for name in values if name not in kind.fields]
        if unknown:
            raise TypeError(f"{kind.__name__} has no {', '.join(unknown)}: it has {', '.join(kind.fields)}")
        missing = [name for name in kind.fields if name not in values and not hasattr(kind, name)]
        if missing:
            raise TypeError(f"{kind.__name__} needs {', '.join(missing)}")
        self.__dict__.update((name, values[name] if name in values else getattr(kind, name)) for name in kind.fields)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} stays as it is: its {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} stays as it is: its {name} cannot be removed")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"
