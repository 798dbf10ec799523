"""`plain_json` against the `json` module: the same values, bytes and words for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boot_stages.plain_json import read_json, write_indented, write_json

ROOT = Path(__file__).parents[3]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(("\udc80", "\u2028", "\x7f")),
)
VALUES = st.recursive(
    SCALARS,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=6), inside, max_size=4),
    max_leaves=20,
)
ODD_DOCUMENTS = [
    "", " ", "nul", "{", "[1,]", '{"a" 1}', '{"a": 1,}', "{1: 2}", '"\t"', '"\\x"', '"\\ud800"', "1 2", "01",
    "-", "1.", "1e999", "NaN", "-Infinity", "\ufeff1", "\x0b1", "[1]\x0c", '{"a": 1, "a": 2}',
    "[" * 60 + "]" * 60,
]  # fmt: skip
ODD_BYTES = [
    b"\xff",
    b"\xef\xbb\xbf[1]",
    "[1]".encode("utf-16"),
    "{}".encode("utf-16-le"),
    b"\xed\xa0\x80",
    b'"\xc3\xa4"',
]


def _told(read: object, document: str | bytes) -> object:
    try:
        return repr(read(document))  # type: ignore[operator]
    except ValueError as error:
        return type(error), str(error)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_is_written_is_what_json_writes(value: object) -> None:
    assert write_json(value) == json.dumps(value)
    assert write_json(value, separators=(",", ":")) == json.dumps(value, separators=(",", ":"))
    assert write_json(value, sort_keys=True) == json.dumps(value, sort_keys=True)
    assert write_indented(value) == json.dumps(value, indent=1, sort_keys=True)
    assert write_indented(value, indent="  ") == json.dumps(value, indent=2, sort_keys=True)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.sampled_from((None, 1)), st.booleans())
def test_what_is_read_is_what_json_reads(value: object, indent: int | None, is_ascii: bool) -> None:
    document = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    assert _told(read_json, document) == _told(json.loads, document)
    encoded = document.encode("utf-8", "surrogatepass")
    assert _told(read_json, encoded) == _told(json.loads, encoded)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='{}[]":,\\ \n\tautrefnl019.-+eE\u00e4', max_size=12))
def test_any_text_is_taken_or_refused_as_by_json(document: str) -> None:
    assert _told(read_json, document) == _told(json.loads, document)


@pytest.mark.parametrize("document", [*ODD_DOCUMENTS, *ODD_BYTES])
def test_odd_documents_are_taken_or_refused_as_by_json(document: str | bytes) -> None:
    assert _told(read_json, document) == _told(json.loads, document)


def test_what_json_has_no_form_for_is_refused_in_its_words() -> None:
    with pytest.raises(TypeError, match="Object of type bytes is not JSON serializable"):
        write_json({"a": b""})
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular reference"):
        write_json(circle)


def test_numbers_and_words_can_be_judged_by_the_caller() -> None:
    assert read_json("[12, NaN]", parse_int=len, parse_constant=str.lower) == [2, "nan"]


@pytest.mark.parametrize("blocked", ["", "_json"], ids=["with the C functions", "without"])
def test_json_itself_is_imported_where_it_is_needed_alone(blocked: str) -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(sys.argv[1].split()))\n"
        "from boot_stages.plain_json import read_json, write_indented, write_json\n"
        "value = read_json(b' {\"a\": [1, 2.5, null]}\\n')\n"
        "assert (write_json(value), write_indented(value)) == "
        "('{\"a\": [1, 2.5, null]}', '{\\n \"a\": [\\n  1,\\n  2.5,\\n  null\\n ]\\n}')\n"
        "print(sorted({'json', 're', 'enum'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-ISc", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}", blocked],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert done.stdout.strip() == ("['enum', 'json', 're']" if blocked else "[]")
