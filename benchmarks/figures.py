"""The figures of a page, as JSON beside it: what was measured of each thing and each side of it, one of every round."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

One = TypeVar("One")


def write(kept: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Raises FileNotFoundError."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def rounds(
    kept: Mapping[str, Mapping[str, list[dict[str, Any]]]], kind: Callable[..., One]
) -> dict[str, dict[str, list[One]]]:
    """What was read, as the objects that were written."""
    return {
        thing: {side: [kind(**one) for one in taken] for side, taken in sides.items()} for thing, sides in kept.items()
    }
