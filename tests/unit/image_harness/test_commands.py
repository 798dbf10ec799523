"""The commands boot, demo and image: what they refuse, and that the documented examples can be typed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from guestling.main import COMMANDS, main
from image_harness import store

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("argv", "fault"),
    [
        (["boot", "nope"], "nope: no such image. Known here: "),
        (["boot", "tiny", "--name", "Bad_Name"], "hostname: not a host name."),
        (["boot", "tiny", "--user-data", "/no/such"], "/no/such: No such file or directory. Give a file"),
        (["boot", "tiny", "--key", "KEY"], "--key: this is no text. Give the public key"),
        (["image", "build", "nope"], "nope: no such image. Known here: "),
        (["image", "show", "nope"], "nope: no such image. Known here: "),
    ],
)
def test_wrong_input_is_named_and_ends_with_2(
    argv: list[str], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binary = tmp_path / "key"
    binary.write_bytes(b"\xff\xfe")
    assert main([str(binary) if word == "KEY" else word for word in argv]) == 2
    printed = capsys.readouterr()
    assert fault in printed.err
    assert printed.out == ""


def test_too_much_user_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user_data = tmp_path / "user-data"
    user_data.write_bytes(b"#!" + bytes(50_000))
    assert main(["boot", "tiny", "--user-data", str(user_data)]) == 2
    assert "user_data: larger than 49149 bytes" in capsys.readouterr().err


def test_images_as_json_and_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "list", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    where = store.directory() / "mine" / "d1"
    where.mkdir(parents=True)
    (where / "vmlinuz").write_bytes(b"kernel")
    packages = (store.PackageVersion("libc6", "2.36-9", "ab" * 32),)
    store.write_manifest(
        where, store.Manifest("mine", "d1", "now", "sid", "6.1", "quiet", 256, "a1", packages)
    )
    assert main(["image", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["name", "mine"]
    assert main(["image", "show", "mine"]) == 0
    assert "libc6    2.36-9   abab" in capsys.readouterr().out
    assert main(["image", "show", "mine", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["packages"][0]["name"] == "libc6"


def _examples() -> list[str]:
    pages = (DOCS / "tutorial" / "first-guest.md", DOCS / "reference" / "images.md")
    return [
        line for page in pages for line in re.findall(r"^\$ (guestling .*)$", page.read_text(), re.MULTILINE)
    ]


@pytest.mark.parametrize("example", _examples())
def test_examples_of_the_documentation_can_be_typed(example: str) -> None:
    import argparse
    import importlib

    name, *words = shlex.split(example)[1:]
    (command,) = [command for command in COMMANDS if command.name == name]
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(command.module).add_arguments(parser)
    assert parser.parse_args(words)


def test_there_are_examples_to_test() -> None:
    assert len(_examples()) >= 5
