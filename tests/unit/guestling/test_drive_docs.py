"""The how-to of config drives, run from top to bottom; shown output is compared."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from guestling.main import main

PAGE = Path(__file__).resolve().parents[3] / "docs/how-to/config-drive.md"
BLOCK = re.compile(r"^```(yaml file=(?P<file>\S+)|console)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def _run(command: str, shown: str, capfd: pytest.CaptureFixture[str]) -> None:
    program, *arguments = shlex.split(command)
    if program == "rm":
        Path(arguments[0]).unlink()
        return
    assert program == "guestling"
    status = main(arguments)
    out = capfd.readouterr().out
    # Output is shown where something is found; a command without it must succeed.
    assert status == (1 if shown else 0), command
    assert not shown or out == shown


def test_every_block_of_the_how_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = 0
    for block in BLOCK.finditer(PAGE.read_text()):
        if block["file"]:
            Path(block["file"]).write_text(block["text"])
            continue
        for step in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
            command, _, shown = step.partition("\n")
            _run(command, shown, capfd)
            commands += 1
    assert commands == 16
