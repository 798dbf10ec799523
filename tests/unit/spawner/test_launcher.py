"""The process that starts guests: what it hands over, what it reports, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from spawner.compute.qemu.confinement import ENVIRONMENT, Confinement
from spawner.compute.qemu.launch import FIRST_FD
from spawner.compute.qemu.launch_server import STATUS
from spawner.compute.qemu.launcher import Launched, Launcher
from spawner.compute.qemu.user import unprivileged

CONFINED = Confinement(user=unprivileged(), limits={"CORE": 0})


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    """One of our own, ended with the test."""
    made = Launcher()
    yield made
    made.close()


class Run:
    """A program that was started, with the read ends of what it writes."""

    def __init__(self, launcher: Launcher, script: str, handed: Mapping[int, int] | None = None) -> None:
        self._stderr, stderr = os.pipe()
        self._status, status = os.pipe()
        argv = ["/bin/sh", "-c", script]
        self.launched: Launched = launcher.start(argv, CONFINED, handed or {}, stderr, status)
        os.close(stderr)
        os.close(status)

    def ended(self) -> tuple[int, bytes]:
        """Its exit status and all it wrote to standard error."""
        with os.fdopen(self._stderr, "rb") as stderr, os.fdopen(self._status, "rb") as status:
            said = stderr.read()
            code = status.read()
        os.close(self.launched.pidfd)
        return (STATUS.unpack(code)[0] if code else -signal.SIGKILL), said


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_program_finds_its_descriptors_and_nothing_else(launcher: Launcher, public: Path) -> None:
    files = [public / "one", public / "two"]
    for file in files:
        file.write_text(file.name)
    handed = {FIRST_FD + index: os.open(file, os.O_RDONLY) for index, file in enumerate(files)}
    own = "/proc/$$/fd"
    script = f"exec >&2; cat {own}/{FIRST_FD} {own}/{FIRST_FD + 1}; echo; ls {own}; env"
    status, said = Run(launcher, script, handed).ended()
    first, *rest = said.decode().split()
    assert (status, first) == (0, "onetwo")
    assert sorted(map(int, (word for word in rest if word.isdigit()))) == [0, 1, 2, FIRST_FD, FIRST_FD + 1]
    assert {f"{name}={value}" for name, value in ENVIRONMENT.items()} <= set(rest)
    for fd in handed.values():
        os.close(fd)


def test_sp_20_a_spawner_with_many_open_files_hands_none_over(launcher: Launcher) -> None:
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(FIRST_FD + 10)]
    status, said = Run(launcher, "exec >&2; ls /proc/$$/fd").ended()
    for fd in many:
        os.close(fd)
    assert (status, said.split()) == (0, [b"0", b"1", b"2"])


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill -SEGV $$", -11)]
)
def test_the_exit_status_is_reported(launcher: Launcher, script: str, status: int) -> None:
    assert Run(launcher, script).ended() == (status, b"")


def test_many_programs_run_at_once_and_each_has_its_own_end(launcher: Launcher) -> None:
    runs = [Run(launcher, f"echo {number} >&2; exit {number}") for number in range(40)]
    assert [run.ended() for run in runs] == [(number, b"%d\n" % number) for number in range(40)]


def test_the_pidfd_is_the_programs(launcher: Launcher) -> None:
    run = Run(launcher, "exec sleep 60")
    signal.pidfd_send_signal(run.launched.pidfd, signal.SIGTERM)
    assert run.ended()[0] == -signal.SIGTERM


def test_sp_20_it_runs_without_our_rights(launcher: Launcher) -> None:
    _, said = Run(launcher, "grep -E '^(Uid|CapEff|NoNewPrivs):' /proc/self/status >&2").ended()
    fields = dict(line.split(":\t") for line in said.decode().splitlines())
    assert "0" not in fields["Uid"].split("\t")
    assert (fields["CapEff"], fields["NoNewPrivs"]) == ("0" * 16, "1")


def test_sp_06_when_it_is_closed_its_programs_end(launcher: Launcher) -> None:
    run = Run(launcher, "exec sleep 60")
    launcher.close()
    assert run.ended()[0] == -signal.SIGKILL
    assert Run(launcher, "exit 3").ended()[0] == 3  # a new one takes over


def test_sp_06_a_killed_launcher_takes_its_programs_along_and_is_replaced(launcher: Launcher) -> None:
    run = Run(launcher, "exec sleep 60")
    server = int(Path(f"/proc/{run.launched.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(server, signal.SIGKILL)
    assert run.ended()[0] == -signal.SIGKILL
    assert Run(launcher, "exit 3").ended()[0] == 3


def test_sp_06_nothing_outlives_a_killed_spawner() -> None:
    program = (
        "import os, time\n"
        "from spawner.compute.qemu.confinement import Confinement\n"
        "from spawner.compute.qemu.launcher import shared\n"
        "from spawner.compute.qemu.user import unprivileged\n"
        "read, write = os.pipe()\n"
        "run = shared().start(['/bin/sleep', '60'], Confinement(user=unprivileged()), {}, 2, write)\n"
        "print(run.pid, os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as spawner:
        assert spawner.stdout is not None
        pid, _ = map(int, spawner.stdout.readline().split())
        server = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert is_running(pid)
        assert is_running(server)
        spawner.kill()
    end_s = time.monotonic() + 5
    while (is_running(pid) or is_running(server)) and time.monotonic() < end_s:
        time.sleep(0.02)
    assert not is_running(pid)
    assert not is_running(server)


def test_a_low_limit_of_open_files_does_not_matter() -> None:
    program = (
        "import os\n"
        "from spawner.compute.qemu.confinement import Confinement\n"
        "from spawner.compute.qemu.launcher import shared\n"
        "read, write = os.pipe()\n"
        f"script = 'echo found >&2; test -e /proc/self/fd/{FIRST_FD}'\n"
        f"shared().start(['/bin/sh', '-c', script], Confinement(), {{{FIRST_FD}: 0}}, 2, write)\n"
        "os.close(write)\n"
        "print(os.read(read, 4))\n"
    )
    command = f'ulimit -Sn 256; exec {sys.executable} -c "$0"'
    done = subprocess.run(
        ["/bin/sh", "-c", command, program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("b'\\x00\\x00\\x00\\x00'\n", "found\n")
