"""Partition tables: what is asked for, whether a disk has it, and the commands that write it.

Source: guest-agent.md 3.3 (disk_setup).
"""

from __future__ import annotations

from boot_stages.actions import WARN, RunCommand, note, warn
from boot_stages.disks import probe, size_bytes
from boot_stages.schema import BOOL, Fault, Keys, Kind, Undecodable, key, one_of, wrong
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

MBR_MAX = 4
MEBIBYTE = 1024 * 1024
DEFAULT_TYPES = {"mbr": "83", "gpt": "8300"}
LABELS = {"mbr": "dos", "gpt": "gpt"}
SETTLE = RunCommand(("udevadm", "settle"), on_failure=WARN)


class Share(Value):
    """One partition: percent of the disk, and its type code ("" for Linux)."""

    percent: int
    kind: str = ""


class Layout(Value):
    """What a disk shall hold: `remove` its table, leave it (`shares` empty), or these partitions."""

    shares: tuple[Share, ...] = ()
    remove: bool = False


def _read_layout(value: object, path: str, _faults: list[Fault]) -> Layout:
    if value == "remove":
        return Layout(remove=True)
    if isinstance(value, bool):
        return Layout((Share(100),) if value else ())
    if not isinstance(value, (list, tuple)):
        raise wrong(path, "true, false, 'remove' or a list", value)
    return Layout(tuple(_read_share(each, f"{path}[{index}]") for index, each in enumerate(value)))


def _read_share(value: object, path: str) -> Share:
    percent, kind = (
        (value[0], str(value[1])) if isinstance(value, (list, tuple)) and len(value) == 2 else (value, "")
    )
    if isinstance(percent, int) and not isinstance(percent, bool) and 0 < percent <= 100:
        return Share(percent, kind)
    raise Undecodable(Fault(path, "a percentage is expected", "Write 50, or [50, 82] for a type"))


_LAYOUT: Kind[Layout] = Kind(
    {
        "oneOf": [
            {"type": "string", "enum": ["remove"]},
            {"type": "boolean"},
            {
                "type": "array",
                "items": {
                    "oneOf": [
                        {"type": "integer"},
                        {
                            "type": "array",
                            "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
                            "minItems": 2,
                            "maxItems": 2,
                        },
                    ]
                },
            },
        ]
    },
    _read_layout,
)


class DiskKeys(Keys):
    """One disk of `disk_setup`."""

    table_type: str = key(
        "The kind of partition table.",
        Kind({"type": "string", "enum": ["mbr", "gpt"]}, one_of("mbr", "gpt").read),
        default="mbr",
    )
    layout: Layout = key(
        "true: one partition; a list: percentages, or [percentage, type]; remove: no table.",
        _LAYOUT,
        default=Layout(),
    )
    overwrite: bool = key("Write the table although the disk holds something.", BOOL, default=False)


def table_actions(device: str, keys: DiskKeys, facts: Facts) -> tuple[Action, ...]:
    """The commands for one disk; none where it is so already, a refusal where it holds something else."""
    layout = keys.layout
    if layout.remove:
        return _remove(device, keys, facts)
    if not layout.shares:
        return ()
    if keys.table_type == "mbr" and len(layout.shares) > MBR_MAX:
        return (warn(f"disk_setup.{device}: an mbr table holds {MBR_MAX} partitions. Use table_type: gpt"),)
    if sum(share.percent for share in layout.shares) > 100:
        return (warn(f"disk_setup.{device}: the partitions come to more than 100 percent"),)
    if _is_so(device, keys, facts):
        return (note(f"disk_setup.{device}: the table is so already"),)
    if not keys.overwrite and not probe(device, facts).is_empty:
        return (warn(_refusal(device)),)
    write = _write_mbr(device, keys, facts) if keys.table_type == "mbr" else _write_gpt(device, keys, facts)
    return (*write, _told_to_the_kernel(device), SETTLE)


def _told_to_the_kernel(device: str) -> Action:
    """partx tells each partition; blockdev, for a guest without partx, only asks the kernel to look."""
    look = RunCommand(("blockdev", "--rereadpt", device))
    return RunCommand(("partx", "--update", device), otherwise=look, on_failure=WARN)


def _refusal(device: str) -> str:
    return f"disk_setup.{device}: it holds data and is left alone. Write 'overwrite: true' to lose them"


def _remove(device: str, keys: DiskKeys, facts: Facts) -> tuple[Action, ...]:
    found = probe(device, facts)
    if found.is_empty:
        return ()
    if not keys.overwrite:
        return (warn(_refusal(device)),)
    return (RunCommand(("wipefs", "--all", device), on_failure=WARN), SETTLE)


def _is_so(device: str, keys: DiskKeys, facts: Facts) -> bool:
    """The same kind of table with as many partitions of the same types."""
    words = facts.ask("sfdisk", "--dump", device).out.decode("utf-8", "replace")
    lines = words.splitlines()
    if f"label: {LABELS[keys.table_type]}" not in lines:
        return False
    types = [line.partition("type=")[2].partition(",")[0].strip() for line in lines if "type=" in line]
    if len(types) != len(keys.layout.shares):
        return False
    if keys.table_type == "gpt":
        return True  # types are UUIDs there, sgdisk's codes are not
    wanted = [(share.kind or DEFAULT_TYPES["mbr"]).lower() for share in keys.layout.shares]
    return [each.lower() for each in types] == wanted


def _sizes_mib(device: str, keys: DiskKeys, facts: Facts) -> list[int | None]:
    """The size of each partition; None for the rest of the disk."""
    total = size_bytes(device, facts) // MEBIBYTE
    shares = keys.layout.shares
    sizes: list[int | None] = [total * share.percent // 100 for share in shares]
    if sum(share.percent for share in shares) == 100:
        sizes[-1] = None
    return sizes


def _write_mbr(device: str, keys: DiskKeys, facts: Facts) -> tuple[Action, ...]:
    sizes = _sizes_mib(device, keys, facts)
    lines = ["label: dos"]
    for share, size in zip(keys.layout.shares, sizes):
        kind = share.kind or DEFAULT_TYPES["mbr"]
        lines.append(f"type={kind}" if size is None else f"size={size}MiB, type={kind}")
    script = "".join(f"{line}\n" for line in lines).encode()
    argv = ("sfdisk", "--wipe", "always", "--wipe-partitions", "always", device)
    return (RunCommand(argv, stdin=script, on_failure=WARN),)


def _write_gpt(device: str, keys: DiskKeys, facts: Facts) -> tuple[Action, ...]:
    options: list[str] = []
    sizes = _sizes_mib(device, keys, facts)
    for number, (share, size) in enumerate(zip(keys.layout.shares, sizes), start=1):
        end = "0" if size is None else f"+{size}M"
        kind = share.kind or DEFAULT_TYPES["gpt"]
        options += [f"--new={number}:0:{end}", f"--typecode={number}:{kind}"]
    wipe = RunCommand(("wipefs", "--all", device), on_failure=WARN)
    return (wipe, RunCommand(("sgdisk", *options, device), on_failure=WARN))
