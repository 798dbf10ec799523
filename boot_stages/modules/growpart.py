"""`growpart`: grow partitions to the end of their disk, on every boot. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.actions import WARN, Remove, RunCommand, note, warn
from boot_stages.disks import mount_at, partition_of
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.plain_json import read_json
from boot_stages.schema import BOOL, TEXT, Keys, Kind, deprecated, key, list_of, record
from boot_stages.value import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.disks import Partition
    from boot_stages.facts import Facts

DISABLED = "/etc/growroot-disabled"
KEY_FILE = "/cc_growpart_keydata"
TOOLS = ("growpart", "gpart")
# growpart makes its temporary files where nobody else can write, and says its words in English.
ENVIRONMENT = (("LANG", "C"), ("TMPDIR", "/run"))
MODE: Kind[str] = Kind(
    {
        "oneOf": [
            {"enum": ["auto", "growpart", "gpart", "off"]},
            deprecated({"enum": [False]}, "Write 'off', in quotes."),
        ]
    },
    TEXT.read,
)


class GrowKeys(Keys):
    """The map below `growpart`."""

    mode: str = key("The tool: auto, growpart, gpart, or off.", MODE, default="auto")
    devices: tuple[str, ...] = key(
        "What is grown: devices, or the directories where they are mounted.", list_of(TEXT), default=("/",)
    )
    ignore_growroot_disabled: bool = key(f"Grow in spite of {DISABLED}.", BOOL, default=False)


class Config(Keys):
    """Keys of `growpart`."""

    growpart: GrowKeys = key("Partitions that grow.", record(GrowKeys), default=GrowKeys())


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """One resize for each partition that can grow."""
    keys = config.growpart
    if keys.mode in {"off", "false"}:
        return ()
    if facts.exists(DISABLED) and not keys.ignore_growroot_disabled:
        return (note(f"{DISABLED} is there: partitions are left alone"),)
    tool = _tool(keys.mode, facts)
    if tool is None:
        return (note(f"none of {', '.join(TOOLS)} is installed: partitions are left alone"),)
    return tuple(action for device in keys.devices for action in _grow(device, tool, facts))


def _tool(mode: str, facts: Facts) -> str | None:
    if mode != "auto" and mode not in TOOLS:
        raise ModuleFailed(f"growpart.mode: {mode} is not known. Use auto, {', '.join(TOOLS)} or off")
    wanted = TOOLS if mode == "auto" else (mode,)
    found = next((name for name in wanted if facts.which(name) is not None), None)
    if found is None and mode != "auto":
        raise ModuleFailed(f"growpart.mode is {mode}, and {mode} is not installed")
    return found


def _grow(device: str, tool: str, facts: Facts) -> tuple[Action, ...]:
    source = device
    if not device.startswith("/dev/"):
        mount = mount_at(device, facts)
        if mount is None:
            return (note(f"growpart: nothing is mounted at {device}"),)
        source = mount.source
    mapped = _below_mapper(source, facts)
    partition = partition_of(mapped or source, facts)
    if partition is None:
        return (note(f"growpart: {mapped or source} is not a partition: nothing to grow"),)
    resize = _resize(partition, tool, facts)
    return (*resize, *(_encrypted(source, mapped, facts) if mapped and resize else ()))


def _resize(partition: Partition, tool: str, facts: Facts) -> tuple[Action, ...]:
    disk, number = partition.disk, partition.number
    if tool == "gpart":
        recover = RunCommand(("gpart", "recover", disk), on_failure=WARN)
        return (recover, RunCommand(("gpart", "resize", "-i", number, disk), on_failure=WARN))
    trial = facts.ask("growpart", "--dry-run", disk, number, environment=ENVIRONMENT)
    if trial.status == 1:
        return ()  # NOCHANGE
    if trial.status != 0:
        return (warn(f"growpart --dry-run {disk} {number}: {trial.tail().strip() or trial.status}"),)
    return (RunCommand(("growpart", disk, number), environment=ENVIRONMENT, on_failure=WARN),)


def _below_mapper(source: str, facts: Facts) -> str:
    """The partition below an encrypted device, or ""."""
    if not facts.resolve(source).startswith("/dev/dm-") and not source.startswith("/dev/mapper/"):
        return ""
    words = facts.ask("dmsetup", "deps", "--options=devname", source).out.decode("utf-8", "replace")
    name = words.partition("(")[2].partition(")")[0]
    if not words.startswith("1 dependencies") or not name:
        return ""
    device = f"/dev/{name}"
    return device if facts.ask("cryptsetup", "isLuks", device).status == 0 else ""


def _encrypted(source: str, partition: str, facts: Facts) -> tuple[Action, ...]:
    """Grow the encrypted device with the one-time key that the image was given, then burn that key."""
    try:
        found = read_json(facts.read_text(KEY_FILE) or "")
        word, slot = str(found["key"]), str(found["slot"])
    except (ValueError, KeyError, TypeError):
        return (warn(f"growpart: {KEY_FILE} does not hold a key and a slot: {source} stays as it is"),)
    import base64

    stdin = Secret(base64.b64decode(word))
    resize = RunCommand(("cryptsetup", "--key-file", "-", "resize", source), stdin=stdin, on_failure=WARN)
    kill = RunCommand(("cryptsetup", "luksKillSlot", "--batch-mode", partition, slot), on_failure=WARN)
    return (resize, kill, Remove(KEY_FILE, on_failure=WARN))


MODULE = Module("growpart", Config, plan)
