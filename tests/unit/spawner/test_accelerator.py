"""KVM only where it answers; every other outcome is TCG with a reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from spawner.compute.qemu import boot_sector
from spawner.compute.qemu.accelerator import Accelerator, probe, shows_life
from spawner.errors import QemuMissing

ANSWERS = f'case "$*" in *isa-debug-exit*) exit {boot_sector.EXIT_STATUS};; esac'


def qemu(public: Path, script: str) -> str:
    program = public / "qemu"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return os.fspath(program)


def ask(public: Path, script: str, **arguments: object) -> Accelerator:
    given = {"limit_s": 0.5, "cache_dir": public / "cache", "device": Path("/dev/null"), **arguments}
    return probe(qemu(public, script), "max", **given)  # type: ignore[arg-type]  # by name


def test_sp_03_without_the_device_nothing_is_tried(public: Path) -> None:
    assert ask(public, "exit 1", device=public / "kvm") == Accelerator(
        "tcg", f"there is no {public}/kvm", 0.0
    )


def test_sp_03_a_processor_that_answers_is_used(public: Path) -> None:
    found = ask(public, ANSWERS)
    assert (found.name, found.reason) == ("kvm", "KVM works")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("sleep 60", "a boot sector gave no answer within 0.5 s"),
        ("exit 0", "a boot sector ended with status 0"),
        ("echo failed to set MSR >&2; exit 1", "a boot sector ended with status 1: failed to set MSR"),
        ("kill -ABRT $$", "a boot sector ended with status -6"),
    ],
)
def test_sp_03_any_other_outcome_is_tcg(public: Path, script: str, reason: str) -> None:
    found = ask(public, script)
    assert (found.name, found.reason) == ("tcg", f"/dev/null is useless: {reason}")
    assert found.took_s < 3


def test_sp_03_a_boot_sector_is_not_enough_where_a_kernel_is_at_hand(public: Path) -> None:
    kernel = public / "kernel"
    kernel.touch()
    found = ask(public, f"{ANSWERS}\necho early console in extract_kernel; exit 0", kernel=kernel)
    assert (found.name, found.reason) == ("tcg", "/dev/null is useless: a kernel did not come up (status 0)")
    came_up = f"{ANSWERS}\necho 'Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block'"
    assert ask(public, came_up, kernel=kernel, cache_dir=public / "other").name == "kvm"


def test_sp_03_the_verdict_is_remembered_for_this_boot_and_this_qemu(public: Path) -> None:
    program = qemu(public, ANSWERS)
    cache_dir = public / "cache"

    def again(cpu: str = "max") -> Accelerator:
        return probe(program, cpu, cache_dir=cache_dir, device=Path("/dev/null"))

    assert again().took_s > 0
    assert again() == Accelerator("kvm", "KVM works", 0.0)
    assert again(cpu="host").took_s > 0  # another processor is another question
    assert again().took_s > 0  # one verdict is kept, the last
    cache = cache_dir / "accelerator.json"
    cache.write_text(json.dumps(json.loads(cache.read_text()) | {"key": "another boot"}))
    assert again().took_s > 0


@pytest.mark.parametrize("damage", ["", "[]", '{"key": 1}', "\x00"])
def test_a_damaged_verdict_is_asked_again(public: Path, damage: str) -> None:
    (public / "cache").mkdir()
    (public / "cache" / "accelerator.json").write_text(damage)
    assert ask(public, ANSWERS).name == "kvm"


def test_sp_01_without_qemu_there_is_nothing_to_ask(public: Path) -> None:
    with pytest.raises(QemuMissing, match="Install the package"):
        probe("qemu-system-missing")


@pytest.mark.parametrize(
    ("console", "alive"),
    [
        (b"", False),
        (b"SeaBIOS (version 1.16.2)\r\nBooting from ROM..\r\n", False),
        (b"early console in extract_kernel\r\ninput_data: 0x0\r\nBooting the kernel.\r\n", False),
        (b"\r\n[    0.000000] Linux version 6.1.0\r\n", True),
        (b"Booting from ROM..\r\nhello from init", True),
    ],
)
def test_sp_03_firmware_is_no_sign_of_life(console: bytes, alive: bool) -> None:
    assert shows_life(console) is alive


def test_the_boot_sector_is_one() -> None:
    image = boot_sector.image()
    assert len(image) == 512
    assert image[510:] == b"\x55\xaa"
