"""Records are what frozen dataclasses with keywords are."""

from __future__ import annotations

from typing import ClassVar

import pytest

from rackhand.agent.record import Record
from rackhand.agent.resources import KINDS


class Point(Record):
    """The first one needs x."""

    kind: ClassVar[str] = "point"

    x: int
    y: tuple[int, ...] = (0,)

    @property
    def name(self) -> str:
        return f"{self.x}"


class Solid(Point):
    z: int
    y: tuple[int, ...] = (1,)


def test_values_and_defaults() -> None:
    """A subclass has all of its base's, with defaults of its own; what is a ClassVar or a property is none of them."""
    assert Point.fields == ("x", "y")
    assert Solid.fields == ("x", "y", "z")
    solid = Solid(z=3, x=1)
    assert (solid.x, solid.y, solid.z, solid.kind) == (1, (1,), 3, "point")
    assert Point(x=1).y == (0,)
    assert repr(solid) == "Solid(x=1, y=(1,), z=3)"


def test_equal_are_those_of_one_class_with_the_same_values() -> None:
    """As long as their values can be hashed, so can they."""
    assert Point(x=1) == Point(y=(0,), x=1)
    assert Point(x=1) != Point(x=2)
    assert Point(x=1, y=(1,)) != Solid(x=1, z=3)
    assert len({Point(x=1), Point(x=1), Point(x=2)}) == 2


def test_missing_and_unknown_values_are_named() -> None:
    """So is what there is."""
    with pytest.raises(TypeError, match="Solid needs x, z"):
        Solid()  # type: ignore[call-arg]  # which is told
    with pytest.raises(TypeError, match="Point has no z: it has x, y"):
        Point(x=1, z=2)  # type: ignore[call-arg]  # which is told


def test_a_record_stays_as_it_is() -> None:
    """Neither set nor removed."""
    point = Point(x=1)
    with pytest.raises(AttributeError, match="stays as it is"):
        point.x = 2  # type: ignore[misc]  # which is told
    with pytest.raises(AttributeError, match="stays as it is"):
        del point.x
    assert point.x == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_resource_needs_what_has_no_default(kind: type[Record]) -> None:
    """Nothing that a resource has is mistaken for a default."""
    with pytest.raises(TypeError, match="needs"):
        kind()
