"""The reader runs in a guest: Python 3.9 to the newest, standard library alone, few modules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from configdrive import builder
from configdrive.builder import Format
from tests.unit.configdrive.trees import TREE

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
READ = """
import json, sys
before = set(sys.modules)
from configdrive import reader
drive = reader.inspect(sys.argv[1])
names = sorted(set(sys.modules) - before)
print(json.dumps([{path: len(data) for path, data in drive.tree.items()}, drive.label, names]))
"""


def interpreter(version: str) -> str:
    """Python of this version, or a skip; the interpreter itself is asked, a shim may have none."""
    found = shutil.which(f"python{version}")
    environment = {**os.environ, "PYENV_VERSION": _pyenv(version)}
    if (
        found
        and not subprocess.run(
            [found, "-c", ""], env=environment, capture_output=True, check=False
        ).returncode
    ):
        return found
    pytest.skip(f"there is no python{version} on this machine")


def _pyenv(version: str) -> str:
    installed = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*"))
    return installed[-1].name if installed else version


@pytest.mark.parametrize("filesystem", Format)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_reader_runs_on(version: str, filesystem: Format, tmp_path: Path) -> None:
    image = tmp_path / "drive"
    image.write_bytes(builder.build(TREE, format=filesystem))
    answer = subprocess.run(
        [interpreter(version), "-S", "-c", READ, str(image)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYENV_VERSION": _pyenv(version)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    sizes, label, _ = json.loads(answer.stdout)
    assert sizes == {path: len(data) for path, data in TREE.items()}
    assert label == "config-2"


def test_the_reader_costs_few_modules(tmp_path: Path) -> None:
    """Start-up time of a guest: what an ISO needs and nothing else."""
    image = tmp_path / "drive"
    image.write_bytes(builder.build(TREE))
    answer = subprocess.run(
        [sys.executable, "-S", "-c", READ, str(image)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    _, _, names = json.loads(answer.stdout)
    # Every Python has loaded these before it does anything; -S only makes them visible here.
    # (errno is built in; posixpath of 3.13 takes it.)
    loaded_anyway = {"__future__", "_stat", "errno", "genericpath", "os", "os.path", "posixpath", "stat"}
    assert {name for name in names if not name.startswith("configdrive")} <= loaded_anyway
    assert sum(name.startswith("configdrive") for name in names) == 8
