"""Frozen records without dataclasses."""

from typing import Any

import pytest

from boot_stages.value import Secret, Value


class Point(Value):
    x: int
    y: int = 2


class Named(Point):
    name: str = ""


def test_fields_defaults_and_equality() -> None:
    assert Point(1) == Point(x=1, y=2)
    assert Point(1) != Point(1, 3)
    assert Named(1, 2, "a").FIELDS == ("x", "y", "name")
    assert Named(1) != Point(1)
    assert hash(Point(1)) == hash(Point(1, 2))
    assert repr(Point(1)) == "Point(x=1, y=2)"
    assert Point(1).replace(y=9) == Point(1, 9)


@pytest.mark.parametrize(
    ("arguments", "fields"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 2}), ((1,), {"z": 2})]
)
def test_wrong_fields_are_refused(arguments: Any, fields: Any) -> None:
    with pytest.raises(TypeError):
        Point(*arguments, **fields)


def test_a_value_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="frozen"):
        point.x = 2  # type: ignore[misc]  # what is tested
    with pytest.raises(AttributeError, match="frozen"):
        del point.x


def test_a_secret_does_not_print() -> None:
    secret = Secret("hunter2")
    assert str(secret) == repr(secret) == f"{secret}" == "***"
    assert secret.reveal() == b"hunter2"
    assert secret == Secret(b"hunter2") != Secret("other")
