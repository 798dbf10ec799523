"""docs/how-to/seal-an-image.md: its blocks, run in order, print what it says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from guestling.main import main

PAGE = Path(__file__).parents[3] / "docs/how-to/seal-an-image.md"
ROOT = {
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/passwd": "bob:x:1000:1000::/home/bob:/bin/sh\n",
    "etc/shadow": "bob:$6$salt$hash:1::::::\n",
    "root/.bash_history": "mysql -psecret\n",
}


def _commands() -> list[tuple[list[str], str]]:
    """Each command of the page with what it shall print."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(shlex.split(part.partition("\n")[0]), part.partition("\n")[2]) for part in parts]


def test_the_page_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in ROOT.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(content)
    commands = _commands()
    assert len(commands) == 5
    for argv, printed in commands:
        if argv[0] == "cp":
            shutil.copytree(argv[2], argv[3])
            continue
        status = main(argv[1:])
        assert capsys.readouterr().out.split() == printed.split()
        assert status == int("NOT clean" in printed or "change " in printed)
