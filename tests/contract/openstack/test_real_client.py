"""The real `openstack` client drives our API: some 140 commands in order, against a fresh cloud.

The client comes from PyPI into an environment of its own below .cache/, made once.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from spawner.api.cloud import Cloud


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("script_name", "least"), [("commands.sh", 80), ("devices.sh", 50), ("people.sh", 50), ("limits.sh", 65)]
)
async def test_the_openstack_client_works(
    cloud: Cloud, client_directory: Path, tmp_path: Path, script_name: str, least: int
) -> None:
    script = Path(__file__).with_name(script_name)
    environment = {
        "PATH": f"{client_directory}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "OS_CLOUD": "guestling",
        "LANG": "C.UTF-8",
    }
    process = await asyncio.create_subprocess_exec(
        "bash",
        str(script),
        cwd=tmp_path,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    failed = [part for part in output.split("\n") if part.startswith("FAIL")]
    assert failed == [], output
    assert process.returncode == 0, output
    assert "0 failed" in output.splitlines()[-1]
    assert int(output.splitlines()[-1].split()[0]) >= least
