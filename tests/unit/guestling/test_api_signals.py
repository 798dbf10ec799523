"""`guestling api` ends in order on each signal that asks for it (SP-23)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_sp_23_a_signal_ends_the_api_with_status_0(
    tmp_path: Path, unused_tcp_port: int, number: signal.Signals
) -> None:
    listen, state = f"127.0.0.1:{unused_tcp_port}", str(tmp_path / "state")
    command = [sys.executable, "-m", "guestling.main", "api", "--driver", "fake", "--format", "json"]
    with subprocess.Popen(
        [*command, "--listen", listen, "--state", state],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = "".join(iter(process.stdout.readline, "}\n")) + "}"
        assert json.loads(said)["url"] == f"http://{listen}"
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
