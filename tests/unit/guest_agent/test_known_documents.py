"""What an earlier boot has read: the same answer without a YAML library, and nothing that is not exact."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guest_agent import yaml_guard
from guest_agent.errors import LimitExceeded, UnreadableYaml
from guest_agent.known_documents import DOCUMENT_LIMIT, STORE_LIMIT, KnownDocuments
from guest_agent.limits import DEFAULT

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8),
    lambda child: st.lists(child, max_size=3)
    | st.dictionaries(st.text("abc-_.", max_size=4), child, max_size=3),
    max_leaves=12,
)  # fmt: skip


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> KnownDocuments:
    """The store that reading YAML asks in this test."""
    monkeypatch.setattr(yaml_guard, "KNOWN", [KnownDocuments()])
    found = yaml_guard.KNOWN[-1]
    assert found is not None
    return found


@given(PLAIN)
def test_what_is_known_is_what_was_read(value: object) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    loaded = yaml_guard.load_with_lines(text, "x")
    store = KnownDocuments()
    store.add(text, loaded.value, loaded.lines, loaded.repeated)
    again = KnownDocuments(store.as_bytes()).find(text)
    assert again == (loaded.value, loaded.lines, loaded.repeated)
    assert repr(again[0]) == repr(loaded.value), "types too: 1, 1.0 and true are equal to Python"


@given(PLAIN)
def test_what_was_written_once_is_written_the_same(value: object) -> None:
    store = KnownDocuments()
    store.add_written(value, "text")
    again = KnownDocuments(store.as_bytes())
    assert again.find_written(value) == "text"
    assert again.find_written([value, 1]) is None
    assert again.find_written({1: value}) is None, "a number as key has no form of its own in JSON"


def test_each_reader_gets_a_value_of_its_own(known: KnownDocuments) -> None:
    first = yaml_guard.load("users: [a]\n", "x")
    assert isinstance(first, dict)
    first["users"].append("b")
    assert yaml_guard.load("users: [a]\n", "x") == {"users": ["a"]}
    assert known.is_changed


@pytest.mark.parametrize(
    "text",
    [
        "when: 2026-01-01\n",
        "data: !!binary aGk=\n",
        "1: one\n",
        "deep: [{true: 1}]\n",
        "f: .inf\n",
        "f: .nan\n",
    ],
)
def test_what_json_has_no_form_for_is_read_anew(known: KnownDocuments, text: str) -> None:
    before = repr(yaml_guard.load(text, "x"))
    assert known.find(text) is None
    assert not known.is_changed
    assert repr(yaml_guard.load(text, "x")) == before


def test_a_text_that_differs_at_all_is_not_known(known: KnownDocuments) -> None:
    yaml_guard.load("a: 0644\n", "x")
    assert known.find("a: 0644\n") is not None
    assert known.find("a: 0644") is None


def test_other_limits_and_strict_readers_read_anew(known: KnownDocuments) -> None:
    yaml_guard.load("a: 1\na: 2\n", "x")
    with pytest.raises(UnreadableYaml):
        yaml_guard.load_with_lines("a: 1\na: 2\n", "x", strict=True)
    with pytest.raises(LimitExceeded):
        yaml_guard.load("a: 1\na: 2\n", "x", DEFAULT.replace(yaml_nodes=1))
    assert known.find("a: 1\na: 2\n") is not None


def test_a_bad_document_is_never_kept(known: KnownDocuments) -> None:
    with pytest.raises(UnreadableYaml):
        yaml_guard.load("a: [", "x")
    assert not known.is_changed


@pytest.mark.parametrize(
    "stored",
    [b"", b"{", b"\xff", b"[]", b"7", b'{"schema": 2, "documents": {"a": "[1, [], []]"}}', b'{"schema": 1}',
     b'{"schema": 1, "documents": []}', b"[" * 100_000],
)  # fmt: skip
def test_ga_s06_a_damaged_store_is_an_empty_one(stored: bytes) -> None:
    assert KnownDocuments(stored).find("a") is None


@pytest.mark.parametrize("kept", ["", "{", "[]", "[1, 2]", "7", "[1, [[[], 1, 2]], []]", "[1, [7], []]"])
def test_ga_s06_a_damaged_document_is_not_known(kept: str) -> None:
    store = json.dumps({"schema": 1, "documents": {"a": kept, "b": 7}}).encode()
    assert KnownDocuments(store).find("a") is None
    assert KnownDocuments(store).find("b") is None


def test_the_store_has_a_limit_and_keeps_the_short_ones() -> None:
    store = KnownDocuments()
    store.add("#" * (DOCUMENT_LIMIT + 1), None, {}, ())
    assert not store.is_changed
    for letter in "abcdef":
        store.add(letter * DOCUMENT_LIMIT, None, {}, ())
    store.add("short", "short", {}, ())
    kept = KnownDocuments(store.as_bytes())
    assert len(store.as_bytes()) < STORE_LIMIT + 4096
    assert kept.find("short") is not None
    assert kept.find("f" * DOCUMENT_LIMIT) is None
