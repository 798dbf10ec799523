"""`guestling lint`: every fault with its line, old spellings, modules that come later, sizes."""

import json
from pathlib import Path

import pytest

from guestling.main import main


def lint(tmp_path: Path, text: str, *options: str) -> int:
    path = tmp_path / "user-data"
    path.write_text(text)
    return main(["lint", str(path), *options])


def test_good_user_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint(tmp_path, "#cloud-config\nruncmd: [ls]\n") == 0
    assert capsys.readouterr().out == f"{tmp_path}/user-data: nothing wrong\n"


def test_all_faults_with_their_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "#cloud-config\nruncmd: ls\n\nusers:\n  - name: a\n  - {nam: b}\nwrite_file:\n  - path: /x\n"
    assert lint(tmp_path, text) == 1
    lines = [line.removeprefix(f"{tmp_path}/user-data:") for line in capsys.readouterr().err.splitlines()]
    extra, missing = "Additional properties are not allowed", "{!r} is a required property"
    of_user = "; or ".join(
        (f"{extra} ('nam' was unexpected)", missing.format("name"), missing.format("snapuser"))
    )
    assert lines == [
        f"6: users.1: {of_user}.",
        "2: runcmd: 'ls' is not of type 'array'.",
        f"7: write_file: {extra} ('write_file' was unexpected). Did you mean 'write_files'?",
    ]


def test_notes_do_not_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint(tmp_path, "#cloud-config\napt_update: true\nlxd: {preseed: x}\n", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(each["line"], each["key"], each["level"]) for each in found] == [
        (2, "apt_update", "note"),
        (3, "lxd", "note"),
    ]


def test_yaml_that_does_not_parse_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint(tmp_path, "#cloud-config\na: [1\nb: 2\n") == 1
    assert "line 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cloud", "size", "status"), [("nova", 49_000, 0), ("nova", 50_000, 1), ("ec2", 17_000, 1)]
)
def test_size_budgets(tmp_path: Path, cloud: str, size: int, status: int) -> None:
    assert lint(tmp_path, "#cloud-config\n#" + "x" * size + "\nruncmd: [ls]\n", "--for", cloud) == status


def test_unknown_cloud_and_missing_file(tmp_path: Path) -> None:
    assert lint(tmp_path, "#cloud-config\n", "--for", "mars") == 2
    assert main(["lint", str(tmp_path / "none")]) == 2
