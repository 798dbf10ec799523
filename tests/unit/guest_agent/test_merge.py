"""merge_how, the merge of config sources, and the origin of each key (spec 2.5, 2.6)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guest_agent import merge
from guest_agent.errors import BadMergeSpec

# The table of the contract: earlier part, later part, result.
CONTRACT = (
    (
        "default",
        "{a: {x: 1, y: 2}, l: [1, 2], s: hi, k: 1}",
        "{a: {y: 9, z: 3}, l: [3], s: yo}",
        "{a: {y: 9, z: 3}, l: [3], s: yo, k: 1}",
    ),
    (
        "append",
        "{runcmd: [a]}",
        "{merge_how: 'list(append)+dict(no_replace,recurse_list)+str()', runcmd: [b]}",
        "{runcmd: [a, b]}",
    ),
    (
        "spec-on-the-earlier-part-only",
        "{merge_how: 'list(append)+dict(recurse_list)', runcmd: [a]}",
        "{runcmd: [b]}",
        "{runcmd: [b]}",
    ),
    (
        "prepend",
        "{runcmd: [a]}",
        "{merge_how: 'list(prepend)+dict(recurse_list)', runcmd: [b]}",
        "{runcmd: [b, a]}",
    ),
    (
        "str-append",
        "{s: foo}",
        "{merge_how: 'dict(recurse_str)+str(append)', s: bar}",
        "{s: foobar}",
    ),
    (
        "delete",
        "{s: foo, t: 1}",
        "{merge_how: 'dict(replace,allow_delete)', s: null}",
        "{t: 1}",
    ),
    (
        "index-replace",
        "{l: [1, 2, 3]}",
        "{merge_how: 'dict(recurse_list)+list(replace)', l: [9]}",
        "{l: [9, 2, 3]}",
    ),
    (
        "truncation",
        "{l: [1]}",
        "{merge_how: 'dict(recurse_list)+list()', l: [9, 8]}",
        "{l: [9]}",
    ),
    (
        "bare-dict",
        "{a: {b: {c: 1}, e: 1}}",
        "{merge_how: 'dict()', a: {b: {d: 2, c: 5}, e: 3}}",
        "{a: {b: {c: 1, d: 2}, e: 1}}",
    ),
    (
        "dicts-in-a-list",
        "{l: [{a: 1}, {b: 2}]}",
        "{merge_how: 'dict(recurse_list,no_replace)+list(replace,recurse_dict)', l: [{a: 5, c: 1}]}",
        "{l: [{a: 1, c: 1}, {b: 2}]}",
    ),
    (
        "no-dict-merger-keeps-all",
        "{a: 1}",
        "{merge_how: 'list(append)', a: 2, b: 3}",
        "{a: 1}",
    ),
    (
        "list-over-text",
        "{l: [1]}",
        "{merge_how: 'dict(recurse_str)+list(replace)', l: text}",
        "{l: text}",
    ),
    (
        "the-first-merger-of-a-name-counts",
        "{l: [1]}",
        "{merge_how: 'dict(recurse_list)+list(append)+list(prepend)', l: [2]}",
        "{l: [1, 2]}",
    ),
    (
        "merge_type-without-merge_how",
        "{l: [1]}",
        "{merge_type: 'dict(recurse_list)+list(append)', l: [2]}",
        "{l: [1, 2]}",
    ),
)


def layers(*texts: str) -> list[merge.Layer]:
    return [merge.Layer(f"part-{number}", yaml.safe_load(text)) for number, text in enumerate(texts, 1)]


@pytest.mark.parametrize(("name", "earlier", "later", "result"), CONTRACT, ids=[case[0] for case in CONTRACT])
def test_merge_how(name: str, earlier: str, later: str, result: str) -> None:
    assert merge.merge_parts(layers(earlier, later)).value == yaml.safe_load(result)


def test_dashes_are_underscores_in_the_text_form_alone() -> None:
    text = "{merge_how: 'dict(recurse-list)+list(append)', l: [2]}"
    assert merge.merge_parts(layers("{l: [1]}", text)).value == {"l": [1, 2]}
    listed = "{merge_how: [[dict, recurse-list], [list, append]], l: [2]}"
    assert merge.merge_parts(layers("{l: [1]}", listed)).value == {"l": [1]}


def test_the_body_comes_before_the_header() -> None:
    later = merge.Layer(
        "later", {"merge_how": "list(prepend)+dict(recurse_list)", "l": [2]}, header="list(append)"
    )
    assert merge.merge_parts([*layers("{l: [1]}"), later]).value == {"l": [2, 1]}


def test_config_sources_first_wins_and_a_lower_spec_joins() -> None:
    assert merge.merge_config(layers("{a: 1, d: {x: 1}}", "{a: 2, d: {x: 2, y: 3}, b: 4}")).value == {
        "a": 1, "d": {"x": 1, "y": 3}, "b": 4,
    }  # fmt: skip
    lower = "{merge_how: 'list(append)+dict(recurse_list)', l: [2]}"
    assert merge.merge_config(layers("{l: [1]}", lower)).value == {"l": [1, 2]}


@pytest.mark.parametrize(
    "spec",
    [
        "list[append]",
        "list(",
        "(append)",
        "tuple()",
        5,
        [[]],
        [{"name": "list"}],
        [["list"], 3],
        "a b()",
        "é()",
    ],
)
def test_a_bad_spec_names_the_layer_and_the_remedy(spec: object) -> None:
    with pytest.raises(BadMergeSpec, match=r"^part-9: merge_how: .*Write it like"):
        merge.merge_parts([merge.Layer("part-9", {"merge_how": spec})])


def test_the_origin_of_a_key_is_layer_line_and_rule() -> None:
    lines: dict[tuple[object, ...], int] = {(): 1, ("a",): 2, ("a", "x"): 3}
    merged = merge.merge_parts(
        [
            merge.Layer("one", {"a": {"x": {"deep": 1}}}, lines, chain=("http://a.example/",)),
            merge.Layer("two", {"merge_how": "dict()", "a": {"y": 2}}, {("a", "y"): 7}),
        ]
    )
    (deep,) = merged.where(("a", "x", "deep"))
    assert (deep.layer, deep.line, deep.chain, deep.path) == (
        "one", 3, ("http://a.example/",), ("a", "x", "deep"),
    )  # fmt: skip
    (second,) = merged.where(("a", "y"))
    assert (second.layer, second.line, second.rule) == ("two", 7, "dict()")
    assert merged.where(("nobody",)) == ()


def test_origins_follow_items_that_a_prepend_moves() -> None:
    merged = merge.merge_parts(
        layers(
            "{l: [a, b]}",
            "{merge_how: 'dict(recurse_list)+list(prepend)', l: [c]}",
            "{merge_how: 'dict(recurse_list)+list(append)', l: [d]}",
        )
    )
    assert merged.value == {"l": ["c", "a", "b", "d"]}
    assert [merged.where(("l", index))[0].layer for index in range(4)] == [
        "part-2", "part-1", "part-1", "part-3",
    ]  # fmt: skip
    assert merged.where(("l", 2))[0].path == ("l", 1)


def test_joined_texts_have_both_origins() -> None:
    merged = merge.merge_parts(layers("{s: a}", "{merge_how: 'dict(recurse_str)+str(append)', s: b}"))
    assert [origin.layer for origin in merged.where(("s",))] == ["part-1", "part-2"]


def test_origins_survive_a_second_merge() -> None:
    """A user's merged config becomes one source among others: its parts stay known."""
    user = merge.merge_parts(layers("{a: {x: 1}}", "{merge_how: 'dict()', a: {y: 2}}"))
    whole = merge.merge_config(
        [merge.Layer("user-data", user.value, merged=user), merge.Layer("cloud.cfg", {"a": {"z": 3}, "b": 4})]
    )
    assert {path: whole.where(path)[0].layer for path in (("a", "x"), ("a", "y"), ("a", "z"), ("b",))} == {
        ("a", "x"): "part-1", ("a", "y"): "part-2", ("a", "z"): "cloud.cfg", ("b",): "cloud.cfg",
    }  # fmt: skip


KEYS = st.sampled_from("abc")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "x", "yy"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
OPTIONS = {
    "dict": ["replace", "no_replace", "recurse_str", "recurse_list", "allow_delete"],
    "list": ["append", "prepend", "no_replace", "replace", "recurse_dict", "recurse_list", "recurse_str"],
    "str": ["append"],
}


@st.composite
def specs(draw: Any) -> str:
    names = draw(st.permutations(list(OPTIONS)))[: draw(st.integers(1, 3))]
    return "+".join(
        f"{name}({','.join(draw(st.lists(st.sampled_from(OPTIONS[name]), max_size=3)))})" for name in names
    )


@st.composite
def part_lists(draw: Any) -> list[merge.Layer]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        value = draw(st.dictionaries(KEYS, VALUES, max_size=3))
        if draw(st.booleans()):
            value["merge_how"] = draw(specs())
        found.append(merge.Layer(f"p{number}", value))
    return found


@given(part_lists())
def test_every_leaf_is_where_its_origin_says(parts: list[merge.Layer]) -> None:
    """For each leaf of the result: the layer named really holds that value at the path named."""
    merged = merge.merge_parts(parts)
    by_name = {part.name: part.value for part in parts}
    for path, value in leaves(dict(merged.value)):
        origins = merged.where(path)
        assert origins, path
        if len(origins) == 1 and not isinstance(value, (dict, list)):
            found = at(by_name[origins[0].layer], origins[0].path)
            # A text that became part of a list counts by its characters.
            assert found == value or isinstance(found, str), (path, origins)


@given(part_lists())
def test_merging_changes_no_layer(parts: list[merge.Layer]) -> None:
    before = deepcopy([part.value for part in parts])
    merge.merge_parts(parts)
    merge.merge_config(parts)
    assert [part.value for part in parts] == before


def leaves(value: object, path: tuple[object, ...] = ()) -> list[tuple[tuple[object, ...], object]]:
    if isinstance(value, dict):
        return [leaf for key, child in value.items() for leaf in leaves(child, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, child in enumerate(value) for leaf in leaves(child, (*path, index))]
    return [(path, value)] if path else []


def at(value: Any, path: tuple[object, ...]) -> Any:
    """The value at a path; where a mapping counted as the list of its keys, the key."""
    for word in path:
        if isinstance(value, str):
            return value
        value = list(value)[word] if isinstance(value, dict) and isinstance(word, int) else value[word]
    return value
