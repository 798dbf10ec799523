"""The YAML guard: limits at their edges, lines, repeated keys (GA-P02, P03, P04)."""

from __future__ import annotations

import contextlib
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guest_agent import yaml_guard
from guest_agent.errors import LimitExceeded, UnreadableYaml
from guest_agent.limits import DEFAULT, Limits

SMALL = Limits(yaml_bytes=100, yaml_depth=4, yaml_aliases=3, yaml_nodes=20, number_digits=10)


@pytest.mark.parametrize(
    ("inside", "outside", "name"),
    [
        ("x" * 100, "x" * 101, "yaml_bytes"),
        ("[[[[]]]]", "[[[[[]]]]]", "yaml_depth"),
        ("{a: {b: {c: {}}}}", "{a: {b: {c: {d: {}}}}}", "yaml_depth"),
        ("[&a x, *a, *a, *a]", "[&a x, *a, *a, *a, *a]", "yaml_aliases"),
        ("[" + "1," * 19 + "]", "[" + "1," * 20 + "]", "yaml_nodes"),
        ("1" * 10, "1" * 11, "number_digits"),
    ],
)
def test_ga_p02_limits_hold_exactly(inside: str, outside: str, name: str) -> None:
    yaml_guard.load(inside, "x", SMALL)
    with pytest.raises(LimitExceeded) as refused:
        yaml_guard.load(outside, "x", SMALL)
    assert refused.value.name == name


def test_ga_p02_aliases_count_for_what_they_stand_for() -> None:
    yaml_guard.load("[&a [1, 2, 3, 4], *a, *a]", "x", SMALL)
    with pytest.raises(LimitExceeded, match="yaml_nodes"):
        yaml_guard.load("[&a [1, 2, 3, 4], *a, *a, *a]", "x", SMALL)


def test_ga_p02_bombs_are_refused_within_a_tenth_of_a_second() -> None:
    bombs = [
        "a: &a {x: 1}\n" + "".join(f"a{i}: &a {{<<: [*a, *a]}}\n" for i in range(40)),
        "[" * 100_000,
        "{a: " * 100_000,
        "a: &a [x]\n" + "".join(f"a{i}: &a [{'*a, ' * 20}]\n" for i in range(40)),
    ]
    for bomb in bombs:
        started = time.process_time()
        with pytest.raises((LimitExceeded, UnreadableYaml)):
            yaml_guard.load(bomb, "bomb")
        assert time.process_time() - started < 0.1


def test_ga_p03_repeated_keys_keep_the_last_and_are_told_or_refused() -> None:
    text = "a: 1\nb: {c: 1, c: 2}\na: 3\n"
    loaded = yaml_guard.load_with_lines(text, "ud")
    assert loaded.value == {"a": 3, "b": {"c": 2}}
    assert set(loaded.repeated) == {
        "the key 'a' stands in line 1 and again in line 3",
        "the key 'c' stands in line 2 and again in line 2",
    }
    with pytest.raises(UnreadableYaml, match=r"^ud:3: the key 'a' stands in line 1 and again in line 3"):
        yaml_guard.load_with_lines(text, "ud", strict=True)


def test_merge_keys_may_repeat() -> None:
    loaded = yaml_guard.load_with_lines(
        "a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: *a\n  <<: *b\n", "ud", strict=True
    )
    assert loaded.repeated == ()


def test_lines_of_keys_and_items() -> None:
    loaded = yaml_guard.load_with_lines("\n# c\nusers:\n  - default\n  - name: ada\n    uid: 5\n", "ud")
    assert loaded.lines[("users",)] == 3
    assert loaded.lines[("users", 0)] == 4
    assert loaded.lines[("users", 1, "uid")] == 6


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 0644", 0o644), ("a: 0o644", "0o644"), ("a: '0644'", "0644"), ("a: 420", 420), ("a: -1", -1),
        ("a: 1:30", 90), ("a: yes", True), ("a: NO", False), ("a: on", True), ("a: .inf", float("inf")),
        ("a: ~", None), ("a: ", None), ("a: 1_000", 1000), ("a: !!binary aGk=", b"hi"), ("a: 08", "08"),
    ],
)  # fmt: skip
def test_ga_p05_scalars_mean_what_yaml_11_says(text: str, value: object) -> None:
    assert yaml_guard.load(text, "x") == {"a": value}


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfa: 1", "a: 1".encode("utf-16"), "\ufeffa: 1", b"a: 1\r\n"])
def test_ga_p04_byte_order_marks_and_windows_lines_are_read(data: bytes | str) -> None:
    assert yaml_guard.load(data, "x") == {"a": 1}


def test_errors_name_source_line_and_column() -> None:
    with pytest.raises(UnreadableYaml) as error:
        yaml_guard.load("a: 1\nb: [x\n", "user-data")
    assert (error.value.line, error.value.column) == (3, 1)
    assert error.value.text.startswith("user-data:3: ")


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_ga_p04_nothing_else_is_raised(data: bytes | str) -> None:
    with contextlib.suppress(UnreadableYaml, LimitExceeded):
        yaml_guard.load_with_lines(data, "x")


ALPHABET = st.text(alphabet="{}[]&*a!:,-?|>'\"\n #%@`<1.\t", max_size=60)


@given(ALPHABET)
def test_ga_p04_rubbish_of_yaml_letters(text: str) -> None:
    """What PyYAML reads within our limits we read to the same value; what it refuses we refuse."""
    try:
        ours: object = yaml_guard.load(text, "x")
    except (UnreadableYaml, LimitExceeded):
        return
    theirs = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert repr(ours) == repr(theirs)


def test_the_default_limits_are_those_of_the_catalogue() -> None:
    assert (DEFAULT.yaml_bytes, DEFAULT.yaml_depth, DEFAULT.yaml_aliases, DEFAULT.yaml_nodes) == (
        4 * 1024 * 1024, 64, 1000, 200_000,
    )  # fmt: skip
