"""Config drives: how long one takes, and how large it is, with every writer that can be had.

One full OpenStack tree (all versions, 66 files), made into ISO 9660 by each writer. Programs are measured as
whole processes on a tree that lies on the disk already; Nova's builder, pycdlib and ours inside a process.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from configdrive import builder, reader, whole
from configdrive.builder import Format
from guestling.output import print_rows
from instance_metadata import documents, instance
from tests.contract import peers
from tests.contract.drive import nova_builder, writers

FILES = 66
DRIVES_IN_A_ROW = 1000
NOVA_GOAL = 4.0
ROUNDS = 5
# Seconds of each run, and the size of the image.
Times = tuple[list[float], int]


@dataclass(frozen=True)
class Result:
    """One writer: the median of its times and the size of what it wrote."""

    name: str
    median_s: float
    size: int


def run() -> None:
    """Measure and print; says at the end whether the goals of the decision are met."""
    tree = full_tree()
    with tempfile.TemporaryDirectory() as directory:
        results = measure(tree, Path(directory))
    ours = results[-1]
    print_rows(
        ("writer", "ms a drive", "KB", "times ours"),
        [
            (
                each.name,
                f"{each.median_s * 1e3:.2f}",
                each.size // 1000,
                f"{each.median_s / ours.median_s:.1f}",
            )
            for each in results
        ],
    )
    print()
    _say_goals({each.name: each for each in results}, ours)
    _say_memory(tree)


def full_tree() -> dict[str, bytes]:
    """All versions, network, vendor data, user data and as many contents as make 66 files."""
    document: dict[str, object] = {
        "uuid": "8f0a9c1e-1111-4222-8333-444455556666",
        "name": "web-1",
        "hostname": "web-1",
        "user_data": "#cloud-config\npackages: [git]\n" * 20,
        "vendor_data": {"cloud-init": "#cloud-config\n"},
        "keys": [{"name": "me", "type": "ssh", "data": "ssh-ed25519 " + "A" * 68 + " me"}],
        "network": {
            "links": [{"id": "tap0", "type": "phy", "ethernet_mac_address": "fa:16:3e:00:00:01"}],
            "networks": [{"id": "network0", "link": "tap0", "type": "ipv4_dhcp"}],
            "services": [{"type": "dns", "address": "192.0.2.53"}],
        },
    }
    bare = _rendered(document)
    document["files"] = [{"path": f"/etc/{n}", "content": f"file {n}\n"} for n in range(FILES - len(bare))]
    return _rendered(document)


def _rendered(document: Mapping[str, object]) -> dict[str, bytes]:
    parsed = instance.parse(document, "bench")
    return documents.tree(parsed, random_seed=bytes(range(256)) * 2, today=date.max)


def measure(tree: Mapping[str, bytes], directory: Path) -> list[Result]:
    """Every writer that is there; ours is the last."""
    contestants: dict[str, Callable[[], Times]] = {
        "Nova's builder": lambda: _nova(tree, directory),
        "xorriso, a process": lambda: _process(writers.xorriso_argv, tree, directory),
        "genisoimage, a process": lambda: _process(writers.genisoimage_argv, tree, directory),
        "pycdlib, in process": lambda: _in_process(lambda: writers.pycdlib_image(tree, "config-2")),
        "guestling vfat": lambda: _in_process(lambda: _vfat(tree)),
        "guestling, written to the disk": lambda: _written(tree, directory),
        "guestling": lambda: _in_process(lambda: builder.build(tree)),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    sizes: dict[str, int] = {}
    for _ in range(ROUNDS):  # in turn, so that a busy moment of the machine meets all of them
        for name, measure_once in contestants.items():
            try:
                taken, sizes[name] = measure_once()
                times[name] += taken
            except (FileNotFoundError, peers.PeerMissingError) as error:
                print(f"{name}: not measured: {error}", file=sys.stderr)
    return [Result(name, statistics.median(taken), sizes[name]) for name, taken in times.items() if taken]


def _vfat(tree: Mapping[str, bytes]) -> bytes:
    return builder.parts(tree, "config-2", Format.VFAT, date_s=None, size_mib=64)[0]


def _timed(work: Callable[[], object], runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return times


def _in_process(make: Callable[[], bytes]) -> Times:
    return _timed(make, 15), len(make())


def _written(tree: Mapping[str, bytes], directory: Path) -> Times:
    output = directory / "ours"
    return _timed(lambda: whole.write_file(output, builder.build(tree)), 15), output.stat().st_size


def _process(
    argv: Callable[[Path, Path, str], list[str]], tree: Mapping[str, bytes], directory: Path
) -> Times:
    root, image = writers.unpack(tree, directory), directory / "image"
    command = argv(image, root, "config-2")

    def once() -> None:
        image.unlink(missing_ok=True)
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    return _timed(once, 5), image.stat().st_size


def _nova(tree: Mapping[str, bytes], directory: Path) -> Times:
    root, image = writers.unpack(tree, directory), directory / "nova"
    argv = [str(peers.nova()), nova_builder.__file__, str(root), str(image), "10"]
    done = subprocess.run(argv, check=True, capture_output=True, timeout=300)
    return list(map(float, done.stdout.split())), image.stat().st_size


def _say_goals(results: Mapping[str, Result], ours: Result) -> None:
    """The goals that let our own writer in: docs/decisions/0020."""
    nova, pycdlib = results.get("Nova's builder"), results.get("pycdlib, in process")
    genisoimage = results.get("genisoimage, a process")
    if nova:
        _say(
            f"at least {NOVA_GOAL:g} times as fast as Nova's builder",
            nova.median_s / ours.median_s >= NOVA_GOAL,
        )
    if pycdlib:
        _say("at most a quarter of pycdlib's time", ours.median_s <= pycdlib.median_s / 4)
    if genisoimage:
        _say("at most half of genisoimage's size", ours.size <= genisoimage.size / 2)


def _say_memory(tree: Mapping[str, bytes]) -> None:
    """A thousand drives in a row, built and read: memory must not grow."""
    for _ in range(20):
        reader.read_bytes(builder.build(tree))
    before = _resident_kib()
    for _ in range(DRIVES_IN_A_ROW):
        reader.read_bytes(builder.build(tree))
    grown = _resident_kib() - before
    _say(f"{DRIVES_IN_A_ROW} drives in a row grow memory by {grown} KiB, at most 1024", grown <= 1024)


def _say(goal: str, is_met: bool) -> None:
    print(f"{'met   ' if is_met else 'MISSED'}  {goal}")


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


if __name__ == "__main__":
    run()
