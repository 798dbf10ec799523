"""What is kept of an include, and file names (GA-P09, D16); the rest: fixtures/*user_data."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from guest_agent.errors import FetchFailed
from guest_agent.includes import addresses, fetcher
from guest_agent.limits import Limits
from guest_agent.machine import Machine, Settings
from guest_agent.parts import expand
from guest_agent.user_data import file_name

DIRECTORY = "/var/lib/cloud/instances/i-1"
URL = "http://a.example/x"


def machine(root: Path, answers: dict[str, object]) -> Machine:
    (root / "map.yaml").write_text(yaml.safe_dump(answers))
    return Machine(Settings(root=str(root), http="/map.yaml"))


def test_ga_p09_include_once_is_on_the_disk_and_not_asked_for_again(tmp_path: Path) -> None:
    fetch = fetcher(machine(tmp_path, {URL: {"body": "first"}}), DIRECTORY)
    assert fetch(URL, True) == b"first"
    (kept,) = (tmp_path / DIRECTORY.lstrip("/") / "data/urlcache").iterdir()
    assert kept.read_bytes() == b"first"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.name == hashlib.md5(URL.encode(), usedforsecurity=False).hexdigest()
    gone = fetcher(machine(tmp_path, {}), DIRECTORY)
    assert gone(URL, True) == b"first"
    with pytest.raises(FetchFailed):
        gone(URL, False)


def test_ga_p09_a_failed_include_once_keeps_nothing(tmp_path: Path) -> None:
    fetch = fetcher(machine(tmp_path, {URL: {"status": 404}}), DIRECTORY)
    with pytest.raises(FetchFailed):
        fetch(URL, True)
    assert not (tmp_path / DIRECTORY.lstrip("/") / "data/urlcache").exists()


def test_the_mode_switches_line_by_line() -> None:
    text = b"#include-once\nhttp://a/\nhttp://b/\n"
    text += b"#include http://c/\nhttp://d/\n#INCLUDE-ONCE http://e/\n# x\n\n"
    assert list(addresses(text)) == [
        ("http://a/", True), ("http://b/", True), ("http://c/", False),
        ("http://d/", False), ("http://e/", True),
    ]  # fmt: skip


def test_ga_p08_each_address_is_asked_for_once_a_boot() -> None:
    asked: list[str] = []

    def fetch(url: str, _once: bool) -> bytes:
        asked.append(url)
        return b"#!/bin/sh\n"

    found = expand(f"#include\n{URL}\n{URL}\n", fetch=fetch)
    assert asked == [URL]
    assert len(found.parts) == 2


@pytest.mark.parametrize("allowed", [2, 3])
def test_ga_p08_the_limit_of_addresses_holds_exactly(allowed: int) -> None:
    from guest_agent.errors import IncludeFailed

    text = "#include\nhttp://a/\nhttp://b/\nhttp://c/\n"
    limits = Limits(include_urls=allowed)
    if allowed == 3:
        assert len(expand(text, fetch=lambda _url, _once: b"#!", limits=limits).parts) == 3
    else:
        with pytest.raises(IncludeFailed, match="include_urls"):
            expand(text, fetch=lambda _url, _once: b"#!", limits=limits)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("my script.sh", "myscript.sh"), ("a/b", "a_b"), ("../../x", ".._.._x"),
        ("", "part-007"), ("ü", "part-007"),
        ("..", "part-007"), (".", "part-007"), ("a\0b", "ab"), ("(1)-_.x", "(1)-_.x"),
    ],
)  # fmt: skip
def test_d16_file_names(name: str, safe: str) -> None:
    assert file_name(name, 7) == safe


def test_a_list_is_one_document() -> None:
    """Vendor data may be a list: its items in order, numbered through."""
    found = expand(["#!/bin/sh\n", b"#cloud-config\na: 1\n"], "vendor-data")
    assert [(part.number, part.type) for part in found.parts] == [
        (1, "text/x-shellscript"),
        (2, "text/cloud-config"),
    ]
