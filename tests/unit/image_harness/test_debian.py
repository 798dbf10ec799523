"""Which archive is asked, and how the private apt is told: the host's mirror, never its package state."""

import os
import stat
from pathlib import Path

import pytest

from image_harness import debian, programs
from image_harness.errors import ProgramFailed


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose `apt-get` says what the file `targets` holds, and `apt-config` what `config` holds."""
    for name, source in (("apt-get", "targets"), ("apt-config", "config")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ncat {tmp_path / source}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        (tmp_path / source).touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("GUESTLING_DEBIAN_MIRROR", raising=False)
    return tmp_path


def test_a_debian_hosts_mirror_is_used(host: Path) -> None:
    (host / "targets").write_text(
        "https://packages.example/debian-tools/ stable-x\n"
        "http://mirror.example/debian/ trixie\n"
        "http://mirror.example/debian/ trixie-updates\n"
        "http://mirror.example/debian-security/ trixie-security\n"
    )
    assert debian.mirrors() == debian.Mirrors(
        "http://mirror.example/debian", "http://mirror.example/debian-security"
    )


def test_an_ubuntu_host_uses_debians_own_archive(host: Path) -> None:
    (host / "targets").write_text("http://archive.ubuntu.com/ubuntu/ noble\nbroken line here too\n")
    assert debian.mirrors() == debian.Mirrors(debian.DEFAULT_MIRROR, debian.DEFAULT_SECURITY_MIRROR)


def test_the_environment_chooses_first(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUESTLING_DEBIAN_MIRROR", "http://chosen.example/debian/")
    assert debian.mirrors().main == "http://chosen.example/debian"


def test_sources_hold_updates_and_security_but_for_rolling_suites() -> None:
    archive = debian.Mirrors("http://m/debian", "http://m/debian-security")
    assert [line.split("] ")[1] for line in archive.sources("bookworm")] == [
        "http://m/debian bookworm main",
        "http://m/debian bookworm-updates main",
        "http://m/debian-security bookworm-security main",
    ]
    assert [line.split("] ")[1] for line in archive.sources("sid")] == ["http://m/debian sid main"]


def test_private_apt_keeps_the_hosts_proxy_and_nothing_else(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host / "config").write_text(
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'APT::Update::Post-Invoke "rm -rf /";\n'
        'Dir::State "/var/lib/apt";\n'
        'Acquire::Check-Valid-Until "false";\n'
    )
    monkeypatch.setattr(debian, "KEYRING", tmp_path / "config")
    home = tmp_path / "apt"
    debian.Apt(home, "bookworm", debian.Mirrors("http://m/debian", "http://m/security"))
    configuration = (home / "apt.conf").read_text()
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in configuration
    assert 'Acquire::Check-Valid-Until "false";' in configuration
    assert "Post-Invoke" not in configuration
    assert f'Dir::State "{home}/state";' in configuration
    assert "/var/lib/apt" not in configuration


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(
        ProgramFailed, match=r"exit status 3 of `sh -c echo oh no >&2; exit 3`. It said: oh no"
    ):
        programs.run(["sh", "-c", "echo oh no >&2; exit 3"])


def test_a_program_that_is_missing_names_the_remedy() -> None:
    with pytest.raises(ProgramFailed, match=r"no-such-program is not installed; run ./dev setup"):
        programs.run(["no-such-program"])


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(ProgramFailed, match=r"no end within 0.2 s"):
        programs.run(["sleep", "60"], timeout_s=0.2)
