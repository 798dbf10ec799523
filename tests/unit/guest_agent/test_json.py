"""JSON within limits, and JSON patches as RFC 6902 has them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest_agent import json_guard, json_patch
from guest_agent.errors import BadPatch, LimitExceeded, UnreadableJson
from guest_agent.limits import Limits
from guest_agent.plain import plain, to_json

# RFC 6902, appendix A: document, patch, result (None: an error).
RFC_6902: dict[str, tuple[Any, list[dict[str, Any]], Any]] = {
    "A.1": ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    "A.2": (
        {"foo": ["bar", "baz"]},
        [{"op": "add", "path": "/foo/1", "value": "qux"}],
        {"foo": ["bar", "qux", "baz"]},
    ),
    "A.3": ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    "A.4": ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    "A.5": (
        {"baz": "qux", "foo": "bar"},
        [{"op": "replace", "path": "/baz", "value": "boo"}],
        {"baz": "boo", "foo": "bar"},
    ),
    "A.6": (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    "A.7": (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    "A.8": (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    "A.9": ({"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "bar"}], None),
    "A.10": (
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    "A.11": (
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}],
        {"foo": "bar", "baz": "qux"},
    ),
    "A.12": ({"foo": "bar"}, [{"op": "add", "path": "/baz/bat", "value": "qux"}], None),
    "A.14": ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    "A.15": ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": "10"}], None),
    "A.16": (
        {"foo": ["bar"]},
        [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
        {"foo": ["bar", ["abc", "def"]]},
    ),
    "copy": (
        {"a": [1]},
        [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "add", "path": "/a/-", "value": 2}],
        {"a": [1, 2], "b": [1]},
    ),
    "whole": ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    "true is not one": ({"a": 1}, [{"op": "test", "path": "/a", "value": True}], None),
}


@pytest.mark.parametrize("name", RFC_6902)
def test_rfc_6902(name: str) -> None:
    document, patch, result = RFC_6902[name]
    before = json.dumps(document)
    operations = json_patch.read(f"#cloud-config-jsonp\n{json.dumps(patch)}".encode(), "p")
    if result is None:
        with pytest.raises(BadPatch, match=r"^p: \[0\]: "):
            json_patch.apply(document, operations, "p")
    else:
        assert json_patch.apply(document, operations, "p") == result
    assert json.dumps(document) == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)
OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"])},
        optional={
            "path": st.sampled_from(["", "/a", "/a/0", "/a/-", "/b/c", "x", "/~2"]) | JSON,
            "from": st.sampled_from(["", "/a", "/a/0"]),
            "value": JSON,
        },
    ),
    max_size=4,
)


@given(JSON, OPERATIONS)
def test_a_patch_applies_or_is_refused(document: object, operations: list[dict[str, object]]) -> None:
    with contextlib.suppress(BadPatch):
        json_patch.apply(document, list(operations), "p")


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_reading_json_raises_our_errors_alone(data: bytes | str) -> None:
    try:
        value = json_guard.load(data, "x")
    except (UnreadableJson, LimitExceeded):
        return
    assert value == json.loads(data.decode("utf-8-sig") if isinstance(data, bytes) else data)


@pytest.mark.parametrize(
    ("inside", "outside", "name"),
    [
        ("[" * 3 + "]" * 3, "[" * 4 + "]" * 4, "json_depth"),
        ('{"a":' * 3 + "1" + "}" * 3, "[" * 99_999, "json_depth"),
        ("1" * 10, "1" * 11, "number_digits"), ('"' + "x" * 18 + '"', '"' + "x" * 19 + '"', "json_bytes"),
    ],
)  # fmt: skip
def test_json_limits_hold_exactly(inside: str, outside: str, name: str) -> None:
    small = Limits(json_depth=3, number_digits=10, json_bytes=20 if name == "json_bytes" else 10**6)
    json_guard.load(inside, "x", small)
    with pytest.raises(LimitExceeded) as refused:
        json_guard.load(outside, "x", small)
    assert refused.value.name == name


def test_what_json_has_no_form_for() -> None:
    assert plain({2: b"hi", None: (1, 2), True: {"a": 1.5}}) == {
        "2": "ci-b64:aGk=",
        "null": [1, 2],
        "true": {"a": 1.5},
    }
    assert to_json({"b": 1, "a": []}) == '{\n "a": [],\n "b": 1\n}\n'
