"""GA-S09: guests whose real-time clock says 1970 or 2040, and user data that sets the clock in mid-boot."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from image_harness import boot, store
from tests.boot import fault_guest

pytestmark = [pytest.mark.boot, pytest.mark.timeout(300)]

USER_DATA = """\
#cloud-config
users: [default, {{name: bob, expiredate: '2038-01-20'}}]
bootcmd: [date -s '{first}']
runcmd: [date -s '{second}', echo ran]
"""
# Where the clock of the machine begins, and where the user data puts it, forth and back.
JUMPS = {
    "1970": ("1970-01-01T00:00:00", "2039-02-03 04:05:06", "1971-01-01 00:00:00"),
    "2040": ("2040-06-01T00:00:00", "1999-12-31 23:59:58", "2106-02-07 06:28:20"),
}


@pytest.mark.parametrize(("base", "first", "second"), JUMPS.values(), ids=JUMPS.keys())
def test_ga_s09_a_boot_is_done_whatever_its_clock_says(
    tiny: store.Image, host: boot.Host, base: str, first: str, second: str
) -> None:
    user_data = USER_DATA.format(first=first, second=second)
    with tempfile.TemporaryDirectory(prefix="gt") as directory:
        # QEMU runs as another user, who has to find it.
        Path(directory).chmod(0o755)
        qemu = Path(directory) / "qemu"
        qemu.write_text(f'#!/bin/sh\nexec {fault_guest.QEMU} "$@" -rtc base={base}\n')
        qemu.chmod(0o755)
        with fault_guest.initrd(tiny, user_data) as image:
            seen = fault_guest.boot(tiny, host.accelerator, image, binary=str(qemu))
    result = fault_guest.must_have_ended(seen)
    assert result is not None, seen.console[-3000:]
    assert f" {base[:4]} 00:00:" in seen.console, "the guest had the clock that it was to have"
    assert f" {first[:4]} " in seen.console
    assert f" {second[:4]} " in seen.console
    assert (result.status, result.errors, result.recoverable_errors) == ("done", (), {})
    times = [moment for stage in result.stages.values() for moment in (stage.start, stage.finished)]
    assert None not in times
    assert times == sorted(times, key=lambda moment: moment or 0.0), "stages are told by the time since boot"
    took = [module.took_s for module in result.modules]
    took += [command.took_s for module in result.modules for command in module.commands]
    assert min(took) >= 0
    assert max(took) < 100, "no jump of sixty years was taken for a duration"
