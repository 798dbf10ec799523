"""Disks, partitions and file systems of the guest: questions only.

Source: guest-agent.md 3.3 (growpart, resizefs, disk_setup, mounts).
"""

from __future__ import annotations

from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boot_stages.facts import Facts

SECTOR = 512
_BY = {"LABEL": "by-label", "UUID": "by-uuid", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}
_EPHEMERAL = r"(ephemeral[0-9]+|swap)(?:\.([0-9]+))?\Z"


class Mount(Value):
    """A line of /proc/mounts: the device, where it is mounted, the type of its file system."""

    source: str
    directory: str
    kind: str


class Partition(Value):
    """A partition: its disk and its number there."""

    disk: str
    number: str


class Probe(Value):
    """What blkid finds on a device: type and label of a file system, and the type of a partition table."""

    kind: str = ""
    label: str = ""
    table: str = ""

    @property
    def is_empty(self) -> bool:
        """Neither a file system nor a table."""
        return not self.kind and not self.table


def mounts(facts: Facts) -> tuple[Mount, ...]:
    """What is mounted now."""
    lines = (line.split() for line in (facts.read_text("/proc/mounts") or "").splitlines())
    return tuple(
        Mount(fields[0], fields[1].replace("\\040", " "), fields[2]) for fields in lines if len(fields) > 2
    )


def mount_at(directory: str, facts: Facts) -> Mount | None:
    """The mount that is visible at a directory; /dev/root is replaced by what the kernel was told."""
    found = [each for each in mounts(facts) if each.directory == directory and each.kind != "rootfs"]
    if not found:
        return None
    last = found[-1]
    if last.source == "/dev/root":
        words = [word for word in facts.kernel_command_line().split() if word.startswith("root=")]
        if words and words[-1] != "root=":
            return last.replace(source=named_device(words[-1][len("root=") :]))
    return last


def named_device(name: str) -> str:
    """`LABEL=x`, `UUID=x` and so on as a path; a path stays."""
    word, equals, value = name.partition("=")
    if equals and word in _BY:
        return f"/dev/disk/{_BY[word]}/{value}"
    return name if name.startswith("/") else f"/dev/{name}"


def partition_of(device: str, facts: Facts) -> Partition | None:
    """Which partition a device is; None for a whole disk or what the kernel does not know."""
    name = facts.resolve(device).rpartition("/")[2]
    place = f"/sys/class/block/{name}"
    number = facts.read_text(f"{place}/partition")
    if number is None:
        return None
    disk = facts.resolve(place).rpartition("/")[0].rpartition("/")[2]
    return Partition(f"/dev/{disk}", number.strip())


def partition_path(disk: str, number: int | str) -> str:
    """The device of a partition: vdb1, but nvme0n1p1."""
    return f"{disk}p{number}" if disk[-1:].isdigit() else f"{disk}{number}"


def size_bytes(device: str, facts: Facts) -> int:
    """The size of a block device, 0 when it is not known."""
    name = facts.resolve(device).rpartition("/")[2]
    sectors = (facts.read_text(f"/sys/class/block/{name}/size") or "").strip()
    if sectors.isdigit():
        return int(sectors) * SECTOR
    answer = facts.ask("blockdev", "--getsize64", device).out.strip()
    return int(answer) if answer.isdigit() else 0


def probe(device: str, facts: Facts) -> Probe:
    """What is on a device, read from the device itself and not from blkid's cache."""
    answer = facts.ask("blkid", "-p", "-o", "export", device)
    found = dict(
        line.split("=", 1) for line in answer.out.decode("utf-8", "replace").splitlines() if "=" in line
    )
    return Probe(found.get("TYPE", ""), found.get("LABEL", ""), found.get("PTTYPE", ""))


def partitions(disk: str, facts: Facts) -> tuple[str, ...]:
    """The devices of a disk's partitions in order."""
    answer = facts.ask("lsblk", "--noheadings", "--list", "--paths", "--output", "NAME,TYPE", disk)
    rows = (line.split() for line in answer.out.decode("utf-8", "replace").splitlines())
    return tuple(row[0] for row in rows if len(row) > 1 and row[1] == "part")


def cloud_device(name: str, aliases: Mapping[str, str], facts: Facts) -> str | None:
    """The path of a device by its name: a path, an alias, `ephemeral0.1`, `xvdb`; None when it is not there.

    Aliases and the cloud's device names come first; kernel names of other kinds of bus are tried, because
    clouds say sdb where the guest has vdb.
    """
    import re  # here and below, not at the top: every boot imports this module, few ask for a device by name

    known = {**dict(facts.cloud.device_names), **aliases}
    base, part = name, ""
    found = re.match(_EPHEMERAL, name)
    if name in known:
        base = known[name]
    elif found or (name.rpartition(".")[0] in known and name.rpartition(".")[2].isdigit()):
        base, _, part = name.rpartition(".") if "." in name else (name, "", "")
        if base not in known:
            return None
        base = known[base]
    path = _existing(base, facts)
    if path is None or not part or part == "0":
        return path
    return partition_path(path, part)


def _existing(name: str, facts: Facts) -> str | None:
    import re

    path = name if name.startswith("/") else f"/dev/{name}"
    candidates = [path]
    found = re.match(r"/dev/(?:sd|xvd|vd|hd)([a-z]+[0-9]*)\Z", path)
    if found:
        candidates += [f"/dev/{bus}{found.group(1)}" for bus in ("vd", "xvd", "sd")]
    return next((each for each in candidates if facts.exists(each)), None)
