"""Keys declared once: how values are read, and the JSON schema that comes of the declaration."""

from typing import Any

import pytest

from boot_stages.schema import (
    ANY,
    BOOL,
    INT,
    TEXT,
    Fault,
    Keys,
    Undecodable,
    either,
    key,
    list_of,
    map_of,
    nullable,
    one_of,
    record,
)


class Inner(Keys):
    word: str = key("A word.", TEXT, default="w", required=True)


class Outer(Keys):
    flag: bool = key("A flag.", BOOL, default=False, aliases=("a-flag",))
    count: int = key("A count.", INT, default=3, deprecated="Use 'number'.")
    inner: Inner | None = key("More.", record(Inner), default=None)
    words: tuple[str, ...] = key("Words.", list_of(TEXT, minItems=1), default=())


def read(kind: Any, value: Any) -> Any:
    faults: list[Fault] = []
    return kind.read(value, "k", faults), faults


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (BOOL, "Yes ", True),
        (BOOL, 0, False),
        (BOOL, "off", False),
        (TEXT, 5, "5"),
        (TEXT, True, "true"),
        (INT, " -7", -7),
        (ANY, {1: 2}, {1: 2}),
        (list_of(TEXT), ["a", 1], ("a", "1")),
        (map_of(INT), {"a": 1}, {"a": 1}),
        (nullable(TEXT), None, None),
        (one_of("auto", False), False, "false"),
        (either(list_of(TEXT), TEXT), "a", "a"),
        (either(list_of(TEXT), TEXT), ["a"], ("a",)),
    ],
)
def test_lenient_reading(kind: Any, value: Any, expected: Any) -> None:
    assert read(kind, value) == (expected, [])


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (BOOL, "maybe", "k: true or false is expected, not a text. Write true or false, without quotes."),
        (TEXT, ["a"], "k: a text is expected, not a list."),
        (INT, True, "k: a whole number is expected, not true or false."),
        (
            list_of(TEXT),
            "a",
            "k: a list is expected, not a text. Write each item on its own line, after '- '.",
        ),
        (map_of(INT), [], "k: a map is expected, not a list. Write 'name: value' lines below it."),
        (one_of("a", "b"), "c", "k: this word is not known. Use one of: a, b."),
        (
            list_of(INT),
            [1, "x", None],
            "k[1]: a whole number is expected, not a text.; k[2]: a whole number is expected, not null.",
        ),
    ],
)
def test_unreadable_values_name_place_and_remedy(kind: Any, value: Any, message: str) -> None:
    with pytest.raises(Undecodable) as caught:
        read(kind, value)
    assert str(caught.value) == message


def test_keep_good_reports_the_bad_items() -> None:
    value, faults = read(list_of(INT, keep_good=True), [1, "x", 2])
    assert value == (1, 2)
    assert [str(fault) for fault in faults] == ["k[1]: a whole number is expected, not a text."]


def test_keys_read_aliases_null_and_nested_maps() -> None:
    found = Outer.read({"a-flag": "on", "count": None, "inner": {"word": 1}, "other": 1}, "", [])
    assert found.inner is not None
    assert (found.flag, found.count, found.inner.word, found.words) == (True, 3, "1", ())
    assert Outer.names() == ("flag", "a-flag", "count", "inner", "words")


def test_keys_collect_all_faults() -> None:
    with pytest.raises(Undecodable) as caught:
        Outer.read({"flag": "x", "inner": {"word": []}, "words": 1}, "top", [])
    assert [fault.path for fault in caught.value.faults] == ["top.flag", "top.inner.word", "top.words"]


def test_schema_of_keys() -> None:
    schema = Outer.schema()
    assert schema["additionalProperties"] is False
    assert schema["properties"]["a-flag"] == schema["properties"]["flag"]
    assert schema["properties"]["count"]["deprecated"] is True
    assert schema["properties"]["inner"]["required"] == ["word"]
    assert schema["properties"]["words"]["minItems"] == 1
    assert "required" not in schema
    assert nullable(TEXT).schema() == {"type": ["string", "null"]}
    assert nullable(one_of("a")).schema() == {"anyOf": [{"enum": ["a"]}, {"type": "null"}]}
