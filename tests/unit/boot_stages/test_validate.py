"""The guest's own schema checker against the jsonschema package."""

import datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boot_stages.validate import deprecations_of, faults_of, fits

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from(["", "a", "ab", "b1", "2020-02-30"]),
    st.floats(-2, 2),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c1"]), inner, max_size=3)
    ),
    max_leaves=8,
)
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])
SIMPLE = st.one_of(
    st.fixed_dictionaries({"type": TYPES}),
    st.fixed_dictionaries({"type": st.lists(TYPES, min_size=1, max_size=2, unique=True)}),
    st.fixed_dictionaries({"enum": st.lists(LEAVES, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"pattern": st.sampled_from(["^a", "[0-9]$"])}),
    st.fixed_dictionaries({"minLength": st.integers(0, 2), "maxLength": st.integers(1, 2)}),
    st.fixed_dictionaries({"minimum": st.integers(-2, 2)}),
    st.fixed_dictionaries({"maximum": st.integers(-2, 2)}),
    st.fixed_dictionaries(
        {"minItems": st.integers(0, 2), "maxItems": st.integers(1, 2), "uniqueItems": st.booleans()}
    ),
    st.fixed_dictionaries({"minProperties": st.integers(0, 2), "maxProperties": st.integers(1, 2)}),
    st.fixed_dictionaries({"required": st.lists(st.sampled_from(["a", "b"]), min_size=1, unique=True)}),
)


def _nested(inner: Any) -> Any:
    several = st.lists(inner, min_size=1, max_size=2)
    return st.one_of(
        st.fixed_dictionaries(
            {
                "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
                "patternProperties": st.dictionaries(st.sampled_from(["^c", "1$"]), inner, max_size=1),
                "additionalProperties": st.booleans() | inner,
            }
        ),
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"items": several, "additionalItems": st.booleans()}),
        st.fixed_dictionaries({"allOf": several}),
        st.fixed_dictionaries({"anyOf": several}),
        st.fixed_dictionaries({"oneOf": several}),
        st.fixed_dictionaries({"not": inner}),
    )


SCHEMAS = st.recursive(SIMPLE, _nested, max_leaves=5)


@settings(max_examples=400, deadline=None)
@given(VALUES, SCHEMAS)
def test_same_verdict_as_jsonschema(value: Any, schema: Any) -> None:
    theirs = jsonschema.Draft4Validator(schema).is_valid(value)
    assert fits(value, schema) == theirs == (faults_of(value, schema) == [])


@settings(max_examples=300, deadline=None)
@given(VALUES, SCHEMAS.filter(lambda schema: "Of" not in str(schema)))
def test_same_paths_as_jsonschema(value: Any, schema: Any) -> None:
    theirs = {
        ".".join(map(str, error.path)) for error in jsonschema.Draft4Validator(schema).iter_errors(value)
    }
    ours = {path for path, _what in faults_of(value, schema)}
    if isinstance(value, dict):  # an unknown name at the top has its name as its path with us
        ours = {"" if path in value and path not in theirs else path for path in ours}
    assert ours == theirs


def test_bytes_are_texts_and_dates_are_checked() -> None:
    assert fits(b"\xff", {"type": "string"})
    assert fits(str(datetime.date(2026, 11, 22)), {"format": "date"})
    assert faults_of("2026-13-01", {"format": "date"}) == [("", "'2026-13-01' is not a 'date'")]


def test_unknown_names_at_the_top_are_their_own_path() -> None:
    schema = {"properties": {"a": {}}, "additionalProperties": False}
    assert [path for path, _ in faults_of({"a": 1, "x": 1, "y": 2}, schema)] == ["x", "y"]


ONE_OF = {
    "oneOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "integer"}},
    ]
}


@pytest.mark.parametrize(("value", "paths"), [(5, ["", ""]), (["a"], ["0"]), (["a", 1, "b"], ["0", "2"])])
def test_one_of_names_the_deepest_place(value: Any, paths: Any) -> None:
    assert [path for path, _ in faults_of(value, ONE_OF)] == paths


def test_one_of_with_a_type_names_the_alternative_that_was_meant() -> None:
    typed = {
        "oneOf": [
            {
                "properties": {"type": {"enum": [name]}},
                "required": ["type", need],
                "additionalProperties": False,
            }
            for name, need in (("a", "x"), ("b", "y"))
        ]
    }
    assert [path for path, _ in faults_of({"type": "c"}, typed)] == ["type", "type"]
    assert "'x'" in faults_of({"type": "a"}, typed)[0][1]


def test_any_of_names_the_choice() -> None:
    schema = {"items": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}}
    assert [path for path, _ in faults_of([{}], schema)] == ["0", "0"]


def test_deprecations() -> None:
    schema = {
        "properties": {
            "old": {"deprecated": True, "deprecated_description": "Use new"},
            "list": {"items": {"properties": {"x": {"deprecated": True}}}},
            "kind": {"oneOf": [{"type": "boolean"}, {"type": "string", "deprecated": True}]},
        },
        "patternProperties": {"^p_": {"deprecated": True}},
    }
    value = {"old": 1, "list": [{}, {"x": 1}], "kind": "a", "p_1": 1}
    assert deprecations_of(value, schema) == [
        ("kind", "Deprecated"),
        ("list.1.x", "Deprecated"),
        ("old", "Use new"),
        ("p_1", "Deprecated"),
    ]
    assert deprecations_of({"kind": True}, schema) == []
