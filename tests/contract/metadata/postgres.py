"""A PostgreSQL server of Debian's package, started for one test as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARIES = Path("/usr/lib/postgresql")


class PostgreSQL:
    """A server in a directory of its own, on a port of its own, without passwords on loopback."""

    def __init__(self, binaries: Path, directory: Path) -> None:
        self._binaries = binaries
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"postgresql://guestling@127.0.0.1:{self.port}/postgres"

    def run(self, *command: str) -> None:
        """Run one of PostgreSQL's programs; it refuses to be run by root."""
        user = "postgres" if os.geteuid() == 0 else None
        argv = [str(self._binaries / command[0]), *command[1:]]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd="/", user=user)

    def create(self) -> None:
        self.run("initdb", "-D", str(self._directory / "data"), "-U", "guestling", "-A", "trust", "--no-sync")

    def start(self) -> None:
        options = f"-p {self.port} -k {self._directory} -h 127.0.0.1 -c fsync=off"
        log = str(self._directory / "log")
        self.run("pg_ctl", "-D", str(self._directory / "data"), "-l", log, "-w", "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self._directory / "data"), "-m", "immediate", "stop")


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A running server; skips with the reason where there is none to run."""
    found = sorted(BINARIES.glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    # Not below pytest's directories: some of those above a test of `-n` are closed to every user but root.
    with tempfile.TemporaryDirectory(prefix="gpg") as name:
        directory = Path(name)
        if os.geteuid() == 0:
            entry = pwd.getpwnam("postgres")
            shutil.chown(directory, entry.pw_uid, entry.pw_gid)
        server = PostgreSQL(found[-1].parent, directory)
        server.create()
        server.start()
        try:
            yield server
        finally:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline and (directory / "data" / "postmaster.pid").exists():
                server.stop()
