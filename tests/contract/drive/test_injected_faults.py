"""The operating system fails, or the process is killed, at each step of writing a drive (CD-12, G6)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from configdrive import builder

STEPS = ("fchmod", "ftruncate", "fsync", "rename")
OLD = b"what was there before"
TREE = {"openstack/latest/meta_data.json": b"{}"}
WRITE = """
import sys
from pathlib import Path
from configdrive import builder, whole
from configdrive.errors import DriveError
image = builder.build({"openstack/latest/meta_data.json": b"{}"})
try:
    whole.write_file(Path(sys.argv[1]), image, len(image))
except DriveError as error:
    sys.exit(str(error))
"""


def written_under(fault: str, output: Path) -> subprocess.CompletedProcess[bytes]:
    """Write a drive to `output` while strace makes one system call fail."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    argv = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}"]
    return subprocess.run(
        [*argv, sys.executable, "-c", WRITE, output], capture_output=True, check=False, timeout=60
    )


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS", "EDQUOT"])
@pytest.mark.parametrize("step", STEPS)
def test_cd_12_an_error_leaves_what_was_there_and_nothing_else(step: str, error: str, tmp_path: Path) -> None:
    output = tmp_path / "drive"
    output.write_bytes(OLD)
    done = written_under(f"{step}:error={error}:when=1", output)
    assert done.returncode == 1
    assert b"Name another output, or make room for it." in done.stderr
    assert output.read_bytes() == OLD
    assert names(tmp_path) == ["drive"]


@pytest.mark.parametrize("step", STEPS)
def test_cd_12_a_killed_process_leaves_what_was_there_and_the_next_one_clears_up(
    step: str, tmp_path: Path
) -> None:
    output = tmp_path / "drive"
    output.write_bytes(OLD)
    written_under(f"{step}:signal=KILL:when=1", output)
    # The signal comes when the call is done: after `rename` the new drive is whole and in place.
    assert output.read_bytes() in ({OLD, builder.build(TREE)} if step == "rename" else {OLD})
    done = written_under("fsync:when=9:error=EIO", output)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == builder.build(TREE)
    assert names(tmp_path) == ["drive"]
