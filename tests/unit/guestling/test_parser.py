"""How words for somebody else are told from ours."""

from __future__ import annotations

import argparse

import pytest

from guestling import server
from guestling.parser import Parser


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("exec web-1 ls", ["ls"]),
        ("exec web-1 cat /etc/hostname", ["cat", "/etc/hostname"]),
        ("exec web-1 -- ls -l --format json", ["ls", "-l", "--format", "json"]),
        ("exec --timeout 5 web-1 -- git log -- file", ["git", "log", "--", "file"]),
        ("exec web-1 --timeout 5 ls", ["ls"]),
        ("exec web-1 ls --timeout 5", ["ls"]),
        ("exec web-1", []),
    ],
)
def test_a_command_in_a_guest(given: str, words: list[str]) -> None:
    found = _parse(given)
    assert (found.server, list(found.words)) == ("web-1", words)
    assert found.timeout == (5 if "timeout 5" in given else 60)


def test_elsewhere_two_dashes_are_argparses() -> None:
    assert _parse("show -- -name").server == "-name"


def test_an_option_that_is_not_ours_is_refused_without_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parse("exec web-1 ls -l")
    assert "unrecognized arguments: -l" in capsys.readouterr().err


def _parse(given: str) -> argparse.Namespace:
    parser = Parser(prog="guestling server")
    server.add_arguments(parser)
    return parser.parse_args(given.split())
