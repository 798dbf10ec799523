"""The plain part of YAML, against PyYAML itself: what is read or written without it must not differ."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from guest_agent import plain_yaml, yaml_guard
from guest_agent.consume import dumped
from guest_agent.errors import AgentError
from guest_agent.limits import DEFAULT
from guest_agent.network.netplan import dumped as dumped_for_netplan

ROOT = Path(__file__).parents[3]
TINY = ROOT / "image_harness/tiny/root/etc/cloud/cloud.cfg"
DEMO = ROOT / "image_harness/demo/user-data.yaml"
SHIPPED = (*sorted((ROOT / "packaging/agent/cloud.cfg").iterdir()), TINY)
# What is read, what is nearly so, and what looks like it and means another thing.
TEXTS = (
    "a", "a b", "a:b", "a: b", "a:", "a #c", "a#c", "http://h/p?q=1", "/etc/x", "yes", "No", "ON", "null",
    "~", "y", "0", "7", "10", "0644", "08", "0o644", "1_0", "0x1f", "0b1", "1e5", "1.5", "1.2.3.4", "1:30",
    "10:20:30", "2001-01-01", "2001-01-01t00:00:00Z", "52:54:00:12:34:56", "5f:54:00:12:34:56", "3f1c-22",
    "1e5a", "-1", "- a", "-a", "-a b", "--a=b", "-", "--", "-.inf", "--- a", "'a'", "'a''b'", "'a' #c",
    "'a'b", "'yes'", '"a"', '"a\\n"', '"a: b"', '"a', "'", "[]", "[a]", "[a, b]", "[a, 1, yes, 'c, d']",
    "[a, [b]]", "[a,]", "[,]", "[a", "[a] b", "[a]#", "[a] # c", "{}", "{a: b}", "{a: b, c: [d]}", "{a}",
    '{"a": 1}', '{"a":1}', '{"a" : 1}', "{'a b': [{\"c\": d}]}",
    '{"": a}', '{"yes": a, yes: b}', '{"a": b, a: c}', '["a": b]', '{"a"b: c}', '{"a": *b}',
    "{a:b}", "{a: }", "{a: b, a: c}", "[a: b]", "[?]", "[a?b]", "*a", "&a b", "!x y", "|", "|-", "|+", "|2",
    ">", "%a", "@a", "`a`", "=", "<", "<<", "?", "? a", "a\\b", "a, b", "a]", "#", "$6$a$b", "(a)", "_a",
    "[*a]", "[ *a, b ]", "[*a, *b]", "[*a b]", "[*a*b]", "[* a]", "{k: *a}", "&a |", "&b |-", "&a", "& |",
    ".a", ".inf", "+1", "...", "---", "é", "a\tb", "a  ", "", "ssh-ed25519 AAAA a@b",
)  # fmt: skip
LITERAL_LINES = ("x", " y", "", "# z", "- a: b", "  ", "#!/bin/sh")
KEYS = ("a", "b", "c-d", "e_f", "g.h", "yes", "null", "1", "'q'", "<<", "a b", "é", "?", "-", "y")


def _lines() -> st.SearchStrategy[str]:
    indent = st.integers(0, 6).map(lambda width: " " * width)
    dash = st.sampled_from(("", "", "- ", "-   ", "- - ", "-"))
    key = st.one_of(st.just(""), st.sampled_from(KEYS).map(lambda key: f"{key}: "), st.just("k:"))
    return st.builds("{}{}{}{}".format, indent, dash, key, st.sampled_from(TEXTS))


def _documents() -> st.SearchStrategy[str]:
    ends = st.sampled_from(("\n", "\n", "\n", "", "\n\n", "\n  \n", "\n...\n"))
    starts = st.sampled_from(("", "", "", "#cloud-config\n", "---\n", "# c\n\n"))
    return st.builds(
        lambda start, lines, end: start + "\n".join(lines) + end, starts, st.lists(_lines(), max_size=7), ends
    )


@st.composite
def _blocks(draw: st.DrawFn, depth: int = 0, indent: int = 0) -> str:
    """A document that is mostly right, with odd indents now and then."""
    lines = []
    is_list = draw(st.booleans())
    width = draw(st.sampled_from((1, 2, 2, 2, 4)))
    for number in range(draw(st.integers(1, 3))):
        lead = " " * max(0, indent + draw(st.sampled_from((0,) * 24 + (1, -1))))
        head = f"{lead}-" if is_list else f"{lead}{draw(st.sampled_from('ab'))}{number}:"
        kind = draw(st.sampled_from(("word", "word", "block", "literal", "same")))
        if kind == "word" or depth > 2:
            lines.append(f"{head} {draw(st.sampled_from(TEXTS))}")
        elif kind == "literal":
            inner = " " * (indent + width)
            some = draw(
                st.lists(st.sampled_from(("x", " y", "", "# z", "- a: b", "  ", "#!/bin/sh")), max_size=4)
            )
            header = draw(st.sampled_from(("|", "|-", "| # c", "|+", ">", "&a |", "&b |-")))
            lines.append("\n".join([f"{head} {header}", *(f"{inner}{one}" if one else "" for one in some)]))
        elif kind == "same" and is_list:
            below = draw(_blocks(depth + 1, indent + 2))
            lines.append(f"{head} {below.lstrip(' ')}")
        else:
            below = draw(_blocks(depth + 1, indent + (0 if kind == "same" else width)))
            lines.append(f"{head}\n{below}")
        if draw(st.integers(0, 9)) == 0:
            lines.append(draw(st.sampled_from(("", "# c", "   # c", "  "))))
    return "\n".join(lines)


def _same(one: object, other: object) -> bool:
    """Equal, and of the same types: 1 is not True."""
    return repr(one) == repr(other)


def _agrees(text: str) -> bool:
    """Whether the document was read plainly; then PyYAML must have read the same."""
    plain = plain_yaml.read(text)
    if plain is None:
        return False
    try:
        loaded = yaml_guard.loaded_by_library(text, "x", DEFAULT)
    except AgentError as error:
        raise AssertionError(f"{text!r}: PyYAML refuses it: {error}") from error
    assert _same(plain[0], loaded.value), text
    assert plain[1] == dict(loaded.lines), text
    assert loaded.repeated == ()
    return True


@settings(max_examples=150, deadline=None)
@given(_documents())
def test_lines_of_every_kind_mean_what_pyyaml_says(text: str) -> None:
    _agrees(text)


@settings(max_examples=150, deadline=None)
@given(_blocks(), st.sampled_from(("\n", "", "\n\n", "\n   ")))
def test_blocks_mean_what_pyyaml_says(text: str, end: str) -> None:
    _agrees(text + end)


@pytest.mark.parametrize("form", ["k: {}\n", "- {}\n", "k:\n  - {}\n", "k: [{}]\n", "k: {{a: {}}}\n", "{}\n"])
def test_each_value_in_each_place_means_what_pyyaml_says(form: str) -> None:
    for text in TEXTS:
        _agrees(form.format(text))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_configurations_we_ship_are_plain(path: Path) -> None:
    """The gain would be lost without a sound if one of them needed the library."""
    assert _agrees(path.read_text(encoding="utf-8"))


SCRIPT_AND_FILE = """\
#cloud-config
write_files:
- path: /etc/x
  permissions: '0644'
  content: |
    a: b

    # c
runcmd:
  - [sh, -c, 'echo a']
  - touch /x
"""
USERS = """\
users:
  - default
  - name: a
    ssh_authorized_keys:
      - ssh-ed25519 AAAA a@b
    uid: 1001
"""
# As in the 05_logging.cfg that cloud-init's package leaves in an image.
LOGGING = """\
_log:
 - &log_base |
   [loggers]
   keys=root

   [formatters]
 - &log_file |
   args=('a', 'UTF-8')

log_cfgs:
# - [ *log_base, *log_syslog ]
 - [ *log_base, *log_file ]
output: {all: '| tee -a /x'}
"""
JSON = (
    '#cloud-config\n{"users": [{"name": "a", "groups": "b, c"}], "runcmd": [["/bin/true", "1"]], "x": true}\n'
)
PLAIN = (
    LOGGING,
    "#cloud-config\nhostname: web1\nusers: [default]\nruncmd: [ls]\n",
    "instance-id: i-1\nlocal-hostname: web1\n",
    "instance-id: 3f1c22aa-0000-4000-8000-000000000001\n",
    SCRIPT_AND_FILE,
    USERS,
    "---\na: 1\n...\n",
    "# nothing\n\n",
    JSON,
)


@pytest.mark.parametrize("text", PLAIN)
def test_usual_documents_are_plain(text: str) -> None:
    assert _agrees(text)


@pytest.mark.parametrize(
    "text",
    ["a: é\n", "a: b\r\n", "a:\tb\n", "a: &x b\nc: *x\n", "a: &x |\n  b\nc: *x\n", "a: [*x]\n",
     "a: &x |\n  b\nb: &x |\n  c\n", "a: &x |\n  b\nc: [" + "*x, " * 17 + "d]\n",
     "a: b\na: c\n", "a: b\n c\n", "a: 'b\n  c'\n",
     "a: >\n  b\n", "a: |+\n  b\n",
     "1: a\n", "- \n", "{a: b}: c\n", "[a\n]\n", "text\n", "a: !!binary aGk=\n", "a: 2001-01-01\n",
     "a: b\n---\nc: d\n", "a: [b,\n  c]\n", "a: 1.5\n", "a: 010:20\n", "x" * (plain_yaml.LENGTH_LIMIT + 1),
     "".join(f"{' ' * depth}a:\n" for depth in range(40)), "a: " + "[" * 40 + "]" * 40 + "\n"],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_library(text: str) -> None:
    assert plain_yaml.read(text) is None


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from(TEXTS), st.text(max_size=100),
    st.text(st.sampled_from("ab1 :#-'[,"), max_size=90), st.floats(), st.binary(max_size=3),
    st.text(st.sampled_from("abc08 '#:\n"), max_size=260), st.text(st.sampled_from("0789"), max_size=5),
    st.lists(st.text(st.sampled_from("ab'"), max_size=30), max_size=12).map(" ".join),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=3)), inside, max_size=3),
    ),
    max_leaves=8,
)
DOCUMENTS = st.one_of(VALUES, st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS)
def test_what_is_written_plainly_is_what_pyyaml_writes(document: object) -> None:
    plain = plain_yaml.write(document, is_sorted=True)
    if plain is not None:
        assert f"---\n{plain}...\n" == dumped(document)
    plain = plain_yaml.write(document, is_sorted=False)
    if plain is not None:
        assert plain == dumped_for_netplan(document)


def test_each_text_is_written_as_pyyaml_writes_it() -> None:
    forms = [({"k": text}, {"k": [text]}, {"k": [[text]]}, {"k": [{"a": text}]}) for text in TEXTS]
    for document in (each for form in forms for each in form):
        plain = plain_yaml.write(document, is_sorted=True)
        assert plain is None or f"---\n{plain}...\n" == dumped(document)
        assert plain is None or _same(yaml.safe_load(plain), document)


@pytest.mark.parametrize("text", [SCRIPT_AND_FILE, USERS, *PLAIN[1:3], DEMO.read_text(encoding="utf-8")])
def test_usual_documents_are_written_plainly(text: str) -> None:
    found = plain_yaml.read(text)
    assert found is not None
    assert plain_yaml.write(found[0], is_sorted=True) is not None


def test_a_plain_document_needs_no_library() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from guest_agent import yaml_guard\n"
        "print(yaml_guard.load(sys.argv[2], 'x'), 'yaml' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", program, str(ROOT), "a: [b]\n"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "{'a': ['b']} False\n"
