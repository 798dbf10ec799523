"""Debian 13 with systemd from each source: what systemd says of the boot, and stages started by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from image_harness import cache
from image_harness.guest import Guest
from image_harness.guest_mark import Wanted
from image_harness.live_guest import LiveGuest, Workshop
from image_harness.progress import Source

# Half a minute each on a machine without KVM, more when it is busy; the first may have to build the image.
pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(900)]

USER_DATA = """\
#cloud-config
users: [default, {name: alice, groups: [adm]}]
write_files: [{path: /etc/from-user-data, content: "yes\\n", permissions: "0600"}]
ssh_genkeytypes: [ed25519]
runcmd:
- echo ran >> /srv/runcmd
- |
  group=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
  echo 100M >$group/memory.max
  python3 -c 'print(len([bytearray(1 << 20) for _ in range(200)]))'
  echo $? >/srv/hog
  echo max >$group/memory.max
"""
CLASS_OF = {
    Source.METADATA: "DataSourceOpenStack",
    Source.CONFIG_DRIVE: "DataSourceConfigDrive",
    Source.NOCLOUD: "DataSourceNoCloud",
}
STAGES = (
    "cloud-init-local.service",
    "cloud-init-network.service",
    "cloud-config.service",
    "cloud-final.service",
)
UNITS = ("cloud-init-main.service", *STAGES)
# What two boots of one instance leave below /var/lib/cloud: every path with its kind, mode and target.
STATE = r"cd /var/lib/cloud && find . -not -path './seed*' -printf '%P %M %l\n' | LC_ALL=C sort"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """What the guests share."""
    with cache.scratch() as scratch:
        made = Workshop(scratch, tmp_path_factory.mktemp("reports"))
        yield made
        made.close()


@pytest.fixture(scope="module")
def superblock(workshop: Workshop) -> bytes:
    """Of the disk under the guests' layers, before any of them started."""
    return superblock_now(workshop)


def superblock_now(workshop: Workshop) -> bytes:
    """A file system that is mounted to be written to notes that there, with the time."""
    disk = workshop.image("debian-13").image.disk
    assert disk is not None
    with disk.open("rb") as file:
        return file.read(2048)


@pytest.fixture(scope="module")
def starting(workshop: Workshop, superblock: bytes) -> Iterator[dict[Source, Future[Guest]]]:
    """The guest of each source. Two start at a time: one for each processor of the smallest machine."""
    live = {
        source: LiveGuest(
            Wanted("debian-13", USER_DATA.encode(), source, name="web", timeout_s=800),
            workshop,
            workshop.report_directory(source.value),
        )
        for source in Source
    }
    try:
        with ThreadPoolExecutor(2) as threads:
            yield {source: threads.submit(each.start) for source, each in live.items()}
    finally:
        for each in live.values():
            each.close()


@pytest.fixture(params=list(Source), ids=lambda source: source.value, scope="module")
def guest(request: pytest.FixtureRequest, starting: dict[Source, Future[Guest]]) -> Guest:
    """The guest of each source, up, with all units of its boot done."""
    found = starting[request.param].result()
    assert said(found, "systemctl is-system-running --wait", timeout_s=300) == "running"
    return found


def said(guest: Guest, command: str, timeout_s: float = 120) -> str:
    """What a command printed that must succeed."""
    answer = guest.run(command, timeout_s)
    assert answer.ok, (command, answer)
    return answer.stdout.strip()


def status(guest: Guest) -> dict[str, Any]:
    """`cloud-init status` as a document."""
    found: dict[str, Any] = json.loads(said(guest, "cloud-init status --format json"))
    return found


def test_ga_w12_systemd_leaves_the_agent_alone_when_a_script_dies_for_its_memory(guest: Guest) -> None:
    """It would stop a unit of which the kernel ended a process (OOMPolicy)."""
    assert guest.file("/srv/hog").content == "137\n"
    assert said(guest, "systemctl show -P Result -P OOMPolicy cloud-init-main.service") == "success\ncontinue"
    assert said(guest, "cloud-init status").startswith("status: done")


def test_the_guest_is_as_its_user_data_says(guest: Guest, request: pytest.FixtureRequest) -> None:
    source = next(each for each in Source if f"[{each.value}]" in request.node.name)
    assert (guest.result.status, guest.result.errors) == ("done", ())
    assert CLASS_OF[source] in (guest.result.datasource or "")
    assert guest.file("/etc/from-user-data").content == "yes\n"
    assert guest.file("/etc/from-user-data").mode == 0o600
    assert guest.file("/etc/hostname").content == "web\n"
    assert guest.user("alice").groups >= {"adm"}
    assert guest.file("/srv/runcmd").content == "ran\n"
    assert bool(guest.requests) is (source is Source.METADATA)


def test_accounts_and_sshd_are_sound(guest: Guest) -> None:
    """Invariants I7 and I8 of faults-and-threats."""
    assert said(guest, "sshd -t && pwck -rq && grpck -r") == ""
    assert said(guest, "ls /etc/ssh/ssh_host_*_key") == "/etc/ssh/ssh_host_ed25519_key"


def test_systemd_has_nothing_against_the_units(guest: Guest) -> None:
    assert said(guest, "systemctl --failed --no-legend --plain") == ""
    assert "ordering cycle" not in said(guest, "journalctl -b -o cat").lower()
    # The process itself is done and gone; the units that mark its stages stay active.
    assert said(guest, f"systemctl show -P ActiveState {' '.join(STAGES)}").split() == ["active"] * 4
    assert said(guest, f"systemctl show -P Result {' '.join(UNITS)}").split() == ["success"] * 5
    assert said(guest, f"systemd-analyze verify --man=no {' '.join(UNITS)} 2>&1") == ""
    assert (
        said(guest, "ls /run/cloud-init/enabled /run/cloud-init/disabled; true") == "/run/cloud-init/enabled"
    )


def test_the_units_stand_where_systemd_analyze_shows_them(guest: Guest) -> None:
    print("\n" + said(guest, "systemd-analyze time; systemd-analyze blame | grep cloud"))
    print(said(guest, "systemd-analyze critical-chain cloud-final.service --no-pager"))
    assert "multi-user.target" in said(guest, "systemctl show -P After cloud-final.service").split()
    ended = [int(said(guest, f"systemctl show -P ActiveEnterTimestampMonotonic {unit}")) for unit in STAGES]
    assert ended == sorted(ended), "the stages ended in their order"
    network = int(said(guest, "systemctl show -P ActiveEnterTimestampMonotonic network-pre.target"))
    login = int(said(guest, "systemctl show -P ActiveEnterTimestampMonotonic ssh.service"))
    assert ended[0] <= network, "the network waits for the local stage"
    assert ended[1] <= login, "nobody logs in before the users are there"


def test_stages_started_by_hand_leave_what_the_one_process_left(guest: Guest) -> None:
    before, told, result = (
        said(guest, STATE),
        status(guest),
        guest.file("/run/cloud-init/result.json").content,
    )
    said(guest, "cloud-init clean && rm -f /srv/runcmd")
    assert status(guest)["status"] == "not started"
    said(guest, f"systemctl stop {' '.join(UNITS)} && rm -f /run/cloud-init/.instance-id")
    assert said(guest, "ls /run/cloud-init/share/*.sock 2>/dev/null; true") == "", "nobody to hand over to"
    for unit in STAGES:
        said(guest, f"systemctl start {unit}", timeout_s=180)
    assert said(guest, f"systemctl show -P ActiveState {' '.join(STAGES)}").split() == ["active"] * 4
    assert said(guest, STATE).splitlines() == before.splitlines()
    again = status(guest)
    for key in ("status", "extended_status", "datasource", "errors", "recoverable_errors", "detail"):
        assert again[key] == told[key], key
    assert guest.file("/run/cloud-init/result.json").content == result
    assert guest.file("/srv/runcmd").content == "ran\n"


def test_what_guests_write_goes_to_their_own_layers(
    guest: Guest, workshop: Workshop, superblock: bytes
) -> None:
    said(guest, "sync")
    assert superblock_now(workshop) == superblock
