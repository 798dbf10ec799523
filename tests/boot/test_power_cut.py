"""A power cut in a real guest: QEMU is killed in the middle of a stage, and the next boot has the same disk.

One disk lives through four of them: as the agent begins, when a user is on the disk and the agent does not
know it yet, with half a host key, and by a script that reboots the machine without a word. The outside of
the same, at every call that changes the disk, is tests/contract/agent/test_power_cut.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from image_harness import boot, store
from spawner.compute.agent_events import Result
from spawner.compute.driver import Reason
from tests.boot import fault_guest

pytestmark = [pytest.mark.boot, pytest.mark.timeout(600)]

USER_DATA = """\
#cloud-config
users: [default, {name: alice}]
write_files:
- {path: /etc/motd, content: hello}
- {path: /etc/issue, content: "once;", append: true}
- {path: /srv/late, content: x, defer: true}
runcmd:
- echo once >>/srv/ran
- sync
- "! grep -q cut=reboot /proc/cmdline || reboot -f"
- echo after >>/srv/after
"""
# The real program, then a guest that stands still until its power is gone.
HOLD = """\
#!/bin/sh
{program} "$@" || exit
grep -q cut={name} /proc/cmdline || exit 0
{then}
echo CUT-NOW >/dev/console
exec sleep 1000
"""
PROGRAMS = {
    "useradd": HOLD.format(program="/usr/sbin/useradd", name="useradd", then=":"),
    # Durable, so that the next boot does find half of it.
    "ssh-keygen": HOLD.format(
        program="/usr/bin/ssh-keygen",
        name="keygen",
        then="truncate -s 99 /etc/ssh/ssh_host_ed25519_key; sync",
    ),
}
# Keys, clocks, process numbers, and what tells that there were several boots.
MAY_DIFFER = (
    "etc/ssh/ssh_host_ed25519_key",
    "var/log/",
    "var/lib/cloud/data/status.json",
    "var/lib/cloud/data/result.json",
    "var/lib/cloud/instances/i-1/sem/",
    "var/lib/cloud/sem/",
    "var/lib/cloud/instances/i-1/changes.jsonl",
    "var/lib/cloud/instances/i-1/boot-finished",
    "var/lib/cloud/instances/i-1/known-documents.json",
    "var/lib/cloud/seed/",
)


@contextmanager
def _image(tiny: store.Image) -> Iterator[Path]:
    before = fault_guest.ON_DISK
    with fault_guest.initrd(tiny, USER_DATA, before=before, programs=PROGRAMS) as image:
        yield image


def _unpacked(disk: Path, target: Path) -> dict[str, bytes]:
    """Every file and directory of a disk, by its path."""
    target.mkdir()
    subprocess.run(
        ["debugfs", "-R", f"rdump / {target}", str(disk)], capture_output=True, check=True, timeout=60
    )
    found = {}
    for directory, names, files in os.walk(target):
        for name in (*names, *files):
            place = Path(directory) / name
            is_file = place.is_file() and not place.is_symlink()
            content = os.fsencode(place.readlink()) if place.is_symlink() else b""
            found[str(place.relative_to(target))] = place.read_bytes() if is_file else content
    for name in ("etc/gshadow", "etc/gshadow-"):
        # groupadd and grpconv each have a word for "no password".
        found[name] = found[name].replace(b":x:", b":!:")
    return found


@pytest.fixture(scope="module")
def undisturbed(
    tiny: store.Image, host: boot.Host, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The files after a boot without a cut."""
    directory = tmp_path_factory.mktemp("undisturbed")
    disk = fault_guest.empty_disk(directory / "disk")
    with _image(tiny) as image:
        seen = fault_guest.boot(tiny, host.accelerator, image, disk=disk)
    result = fault_guest.must_have_ended(seen)
    assert result is not None
    assert (result.status, result.errors) == ("done", ())
    return _unpacked(disk, directory / "files")


@pytest.fixture(scope="module")
def after_cuts(
    tiny: store.Image, host: boot.Host, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Result, dict[str, bytes]]:
    """What the boot after the four cuts said, and the files."""
    directory = tmp_path_factory.mktemp("cuts")
    disk = fault_guest.empty_disk(directory / "disk")

    def cut(words: str, at: str = "") -> fault_guest.Seen:
        return fault_guest.boot(tiny, host.accelerator, image, disk=disk, words=words, cut_at=at)

    with _image(tiny) as image:
        # A host that is slow to cut finds the guest waiting at its next point.
        fault_guest.must_have_ended(cut("cut=useradd", "init-local"), Reason.CRASHED)
        fault_guest.must_have_ended(cut("cut=useradd"), Reason.CRASHED)
        fault_guest.must_have_ended(cut("cut=keygen"), Reason.CRASHED)
        assert fault_guest.must_have_ended(cut("cut=reboot"), Reason.REBOOTED) is None
        seen = fault_guest.boot(tiny, host.accelerator, image, disk=disk)
    result = fault_guest.must_have_ended(seen)
    assert result is not None, seen.console[-3000:]
    return result, _unpacked(disk, directory / "files")


def test_ga_s01_the_boot_after_power_cuts_goes_on_to_the_end(
    after_cuts: tuple[Result, dict[str, bytes]],
) -> None:
    result, _files = after_cuts
    assert result.errors == ()
    assert all(times.finished for times in result.stages.values())
    assert {each.result for each in result.modules} <= {"SUCCESS", "SKIPPED"}


def test_ga_w12_a_script_that_reboots_is_not_run_again_and_the_next_boot_says_so(
    after_cuts: tuple[Result, dict[str, bytes]],
) -> None:
    result, files = after_cuts
    assert files["srv/ran"] == b"once\n"
    assert "srv/after" not in files
    assert result.status == "degraded"
    [warning] = result.recoverable_errors["WARNING"]
    assert warning.startswith("scripts_user was interrupted by a power cut or kill and is not run again")


def test_ga_s01_the_files_are_those_of_a_boot_without_a_cut(
    undisturbed: dict[str, bytes], after_cuts: tuple[Result, dict[str, bytes]]
) -> None:
    """None is half written, left over, empty or written twice."""
    _result, files = after_cuts
    assert undisturbed.pop("srv/after") == b"after\n"
    assert set(undisturbed) == set(files)
    changed = [name for name, content in files.items() if content != undisturbed[name]]
    assert [name for name in changed if not name.startswith(MAY_DIFFER)] == []
    key = files["etc/ssh/ssh_host_ed25519_key"]
    assert key.endswith(b"-----END OPENSSH PRIVATE KEY-----\n"), "half of it was there before"
