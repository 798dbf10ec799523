"""`cloud-init devel merge | userdata | render | make-mime`, as a user types them (spec 5.7, 8)."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[3]


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def devel(tmp_path: Path) -> Any:
    """Run a devel command in a directory that is also its root."""

    def run(*words: str, **files: str) -> Ran:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        answer = subprocess.run(
            [sys.executable, "-m", "guest_agent", "--root", str(tmp_path), "devel", *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Ran(answer.returncode, answer.stdout, answer.stderr)

    return run


def test_merge_prints_sorted_json(devel: Any) -> None:
    found = devel(
        "merge", "a", "b", a="z: 1\nl: [1]\n", b="merge_how: list(append)+dict(recurse_list)\nl: [2]\n"
    )
    assert (found.status, found.out) == (0, '{\n "l": [\n  1,\n  2\n ],\n "z": 1\n}\n')


def test_merge_as_configuration(devel: Any) -> None:
    assert devel("merge", "a", "b", "--config", a="x: 1\n", b="x: 2\ny: 3\n").json() == {"x": 1, "y": 3}


def test_merge_leaves_out_what_it_cannot_read_and_says_so(devel: Any) -> None:
    found = devel("merge", "a", "b", "c", a="x: 1\n", b="[", c="merge_how: what\nx: 2\n")
    assert found.json() == {"x": 1}
    assert [line.split(":")[0] for line in found.err.splitlines()] == ["b", "c"]


def test_merge_explains_each_key(devel: Any) -> None:
    found = devel("merge", "a", "b", "--explain", a="x: 1\n", b="\ny: 2\n").json()
    assert found["y"] == [{"layer": "b", "line": 2, "rule": "dict(replace)+list()+str()", "includes": []}]


def test_a_missing_file_is_one_line_and_status_one(devel: Any) -> None:
    for words in (
        ("merge", "none"),
        ("userdata", "none"),
        ("render", "none"),
        ("make-mime", "-a", "none:x-shellscript"),
    ):
        found = devel(*words)
        assert (found.status, found.out) == (1, "")
        assert len(found.err.splitlines()) == 1


def test_userdata_prints_the_final_parts(devel: Any) -> None:
    found = devel("userdata", "u", u="#!/bin/sh\ntrue\n").json()
    assert found["parts"] == [
        {
            "type": "text/x-shellscript",
            "filename": "part-001",
            "payload": base64.b64encode(b"#!/bin/sh\ntrue\n").decode(),
        }
    ]
    assert found["warnings"] == []


def test_userdata_includes_by_the_http_map(devel: Any) -> None:
    found = devel(
        "userdata", "u", "--http", "m", u="#include\nhttp://a.example/x\n",
        m="http://a.example/x: {body: '#!/bin/sh'}\n",
    ).json()  # fmt: skip
    assert found["parts"][0]["includes"] == ["http://a.example/x"]


def test_userdata_with_vendor_data_and_launch_index(devel: Any) -> None:
    parts = "#cloud-config-archive\n- {content: a, launch-index: 1}\n- {content: b, launch-index: 2}\n"
    found = devel(
        "userdata", "u", "--vendor", "v", "--launch-index", "2", u=parts, v="#cloud-config\nx: 1\n"
    ).json()
    assert [part["filename"] for part in found["parts"]] == ["part-002"]
    assert found["vendor_parts"][0]["type"] == "text/cloud-config"


def test_userdata_that_stops_the_stage_fails(devel: Any) -> None:
    found = devel("userdata", "u", u="#include\nfile:///etc/hostname\n")
    assert found.status == 1
    assert found.err.startswith("#include file:///etc/hostname: only http://")


def test_render_with_given_instance_data(devel: Any) -> None:
    template = "## template: jinja\n#cloud-config\nhostname: {{ v1.name }}\n"
    found = devel("render", "t", "-i", "d", t=template, d='{"v1": {"name": "web"}}')
    assert (found.status, found.out) == (0, "#cloud-config\nhostname: web\n")


def test_render_tells_what_is_missing_and_fails_on_a_broken_template(devel: Any) -> None:
    found = devel("render", "t", "-i", "d", t="## template: jinja\n{{ x }}\n", d="{}")
    assert (found.status, found.out) == (0, "CI_MISSING_JINJA_VAR/x\n")
    assert "x" in found.err
    broken = devel("render", "t", "-i", "d", t="## template: jinja\n{{ x\n", d="{}")
    assert broken.status == 1
    assert broken.err.startswith("t: line ")


def test_render_reads_the_instance_data_of_this_instance(devel: Any, tmp_path: Path) -> None:
    (tmp_path / "run/cloud-init").mkdir(parents=True)
    (tmp_path / "run/cloud-init/instance-data.json").write_text('{"v1": {"name": "here"}}')
    assert devel("render", "t", t="## template: jinja\n{{ v1.name }}").out == "here"


def test_make_mime_reads_back_as_the_same_parts(devel: Any, tmp_path: Path) -> None:
    made = devel(
        "make-mime", "-a", "c:cloud-config", "-a", "s:x-shellscript",
        c="#cloud-config\na: 1\n", s="#!/bin/sh\n--x\n",
    )  # fmt: skip
    assert made.status == 0
    found = devel("userdata", "m", m=made.out).json()
    parts = [(part["type"], part["filename"], base64.b64decode(part["payload"])) for part in found["parts"]]
    assert parts == [
        ("text/cloud-config", "c", b"#cloud-config\na: 1\n"),
        ("text/x-shellscript", "s", b"#!/bin/sh\n--x\n"),
    ]  # fmt: skip


def test_make_mime_wants_a_known_type(devel: Any) -> None:
    found = devel("make-mime", "-a", "c:x-odd", c="x")
    assert (found.status, found.out) == (1, "")
    assert "override with --force" in found.err
    assert devel("make-mime", "-f", "-a", "c:x-odd", c="x").status == 0


def test_make_mime_lists_the_types(devel: Any) -> None:
    types = devel("make-mime", "--list-types").out.split()
    assert types == sorted(types)
    assert {"cloud-config", "x-shellscript", "cloud-boothook", "jinja2", "x-include-url"} <= set(types)
