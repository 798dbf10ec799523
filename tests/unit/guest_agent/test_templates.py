"""Templates: names, and what they cannot do (spec 2.3; GA-P10). More: fixtures/bad_user_data/template."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from guest_agent import templates
from guest_agent.child import ChildFailed, run_limited
from guest_agent.errors import BadTemplate
from guest_agent.limits import Limits

ROOT = Path(__file__).resolve().parents[3]
HEADER = "## template: jinja\n"


def rendered(body: str, **data: object) -> str:
    return templates.render((HEADER + body).encode(), data, "part").text.decode()


def test_v1_keys_are_at_the_top_and_dashes_have_aliases() -> None:
    data: dict[str, object] = {
        "v1": {"region": "north", "public-key": "k"}, "v2": {"region": "south"},
        "ds": {"meta_data": {"a-b.c": 5}},
    }  # fmt: skip
    assert rendered("{{ region }} {{ v1.region }} {{ public_key }} {{ ds.meta_data.a_b_c }}", **data) == (
        "south north k 5"
    )


def test_the_last_line_end_stays_also_behind_a_block_and_other_blocks_leave_none() -> None:
    assert rendered("a\n{% if true %}\nb\n{% endif %}\nc\n") == "a\nb\nc\n"
    # As cloud-init has it: `etc/resolv.conf` of its template ends so (tests/contract/agent).
    assert rendered("a{% if true %} b{% endif %}\n") == "a b\n"
    assert rendered("a") == "a"


def test_do_statements_work() -> None:
    assert rendered("{% set l = [1] %}{% do l.append(2) %}{{ l }}") == "[1, 2]"


def test_names_without_a_value_are_told_once_each() -> None:
    found = templates.render(f"{HEADER}{{{{ a }}}} {{{{ b }}}} {{{{ a }}}}".encode(), {}, "part")
    assert found.missing == ("a", "b")
    assert found.text == b"CI_MISSING_JINJA_VAR/a CI_MISSING_JINJA_VAR/b CI_MISSING_JINJA_VAR/a"


PAYLOADS = r"""
{{ ''.__class__ }}
{{ ''['__class__'].__mro__ }}
{{ (1).__add__ }}
{{ [].__len__() }}
{{ self.__init__ }}
{{ self._TemplateReference__context }}
{{ range.__self__.__import__ }}
{{ joiner.__init__.__globals__ }}
{{ namespace.__class__.__bases__ }}
{{ lipsum.__globals__ }}
{{ lipsum.__globals__.os.system('id') }}
{{ cycler.__init__.__globals__.os }}
{{ dict.__base__.__subclasses__() }}
{{ ().__class__.__bases__[0].__subclasses__() }}
{{ '%s' | format(self.__dict__.x) }}
{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}
{{ x.y }}
{{ x() }}
{{ x[0].y }}
{{ x.y.z }}
{{ 1 + x }}
{{ a-b }}
{{ ''.join.__self__ }}
{{ config.items() }}
{{ request.application }}
{{ get_flashed_messages.__globals__ }}
{% include 'x' %}
{% extends 'x' %}
{% from 'x' import y %}
{% import '/etc/passwd' as p %}
{{ 'a' * 10**9 }}
{{ 'a' * 10**8 * 10 }}
{{ '%0500000000d' % 1 }}
{{ [0] * 10**9 }}
{{ range(10**7) | list }}
{{ 'x'.ljust(10**9) }}
{{ 'x' | center(10**9) }}
{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}
{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}
{{ 1 / 0 }}
{{ [] | first | upper | nonesuch }}
{{ {'a': 1}['a'](1) }}
{% raw %}x
{{ 1 }}{{
""".strip().splitlines()


def test_ga_p10_there_are_enough_payloads() -> None:
    assert len(PAYLOADS) >= 40


@pytest.mark.parametrize("body", PAYLOADS)
def test_ga_p10_payloads_are_refused_and_name_their_line(body: str) -> None:
    started = time.monotonic()
    with pytest.raises(BadTemplate) as refused:
        rendered(f"ok\n{body}\n")
    assert time.monotonic() - started < 20
    assert refused.value.text.startswith("part: ")
    assert any(word in refused.value.text for word in ("line ", "memory", "bytes", "processor", "too long"))


@pytest.mark.slow
def test_ga_p10_endless_loops_end() -> None:
    body = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    started = time.monotonic()
    with pytest.raises(BadTemplate, match=r"processor time|too long"):
        templates.render(f"{HEADER}{body}".encode(), {}, "part", Limits(template_cpu_s=1))
    assert time.monotonic() - started < 20


def test_ga_p10_limits_hold_exactly() -> None:
    small = Limits(template_output_bytes=10)
    assert templates.render(f"{HEADER}{'x' * 10}".encode(), {}, "part", small).text == b"x" * 10
    with pytest.raises(BadTemplate, match="template_output_bytes"):
        templates.render(f"{HEADER}{'x' * 11}".encode(), {}, "part", small)


def test_bytes_that_are_not_utf_8_pass_through() -> None:
    assert templates.render(HEADER.encode() + b"\xff{{ 1 }}", {}, "part").text == b"\xff1"


def test_render_text_has_its_variables_alone() -> None:
    assert templates.render_text(f"{HEADER}{{{{ fqdn }}}}\n", {"fqdn": "a.b"}) == "a.b\n"
    with pytest.raises(ValueError, match="line 2"):
        templates.render_text(f"{HEADER}{{{{ x.y }}}}", {})


def test_jinja_is_imported_in_the_child_alone() -> None:
    code = (
        "import sys; from guest_agent import templates\n"
        "print(templates.render(b'## template: jinja\\n{{ 1 }}', {}, 'x').text)\n"
        "print('jinja2' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["b'1'", "False"]


def limited(work: object, **more: int) -> bytes:
    limits = {"memory_bytes": 256 << 20, "cpu_s": 2, "wall_s": 2, "output_bytes": 100, **more}
    return run_limited(work, str, **limits)  # type: ignore[arg-type]  # what the tests hand in


def test_a_child_that_dies_is_told() -> None:
    import os
    import signal

    with pytest.raises(ChildFailed, match="signal 15"):
        limited(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(ChildFailed, match="too long"):
        limited(lambda: time.sleep(5), wall_s=1)
    with pytest.raises(ChildFailed, match="longer than 100 bytes"):
        limited(lambda: b"x" * 200)
    with pytest.raises(ChildFailed, match="status 3"):
        limited(lambda: os._exit(3))
    assert limited(lambda: b"x" * 99) == b"x" * 99


def test_ga_s08_a_child_does_not_answer_signals_as_its_parent_does() -> None:
    import os
    import signal

    before = signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        with pytest.raises(ChildFailed, match="signal 15"):
            limited(lambda: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ga_p10_the_memory_limit_counts_what_the_child_adds() -> None:
    ballast = bytearray(300 << 20)
    assert rendered("{{ 1 }}") == "1"
    with pytest.raises(BadTemplate, match="memory"):
        rendered("{{ 'a' * 300000000 }}")
    assert len(ballast) == 300 << 20


def test_a_child_writes_no_file(tmp_path: Path) -> None:
    def write() -> bytes:
        (tmp_path / "x").write_bytes(b"x" * 10)
        return b""

    with pytest.raises(ChildFailed):
        limited(write)
    assert not (tmp_path / "x").exists() or (tmp_path / "x").stat().st_size == 0
