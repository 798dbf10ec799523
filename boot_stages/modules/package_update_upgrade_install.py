"""`package_update_upgrade_install`: fetch package lists, upgrade, install, and reboot when that asks for it.

Each step's failure is collected and the next one still runs. Source: guest-agent.md 3.3, D17.
"""

from __future__ import annotations

from boot_stages.actions import GO_ON, RunCommand, warn
from boot_stages.module import Module
from boot_stages.packages import install, manager_of, snap_seeded, update, upgrade
from boot_stages.schema import BOOL, Fault, Keys, Kind, Undecodable, key, list_of
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

REBOOT_MARKERS = ("/var/run/reboot-required", "/run/reboot-needed")
REBOOT_WAIT_S = 63

_NAME = {
    "oneOf": [
        {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
        {"type": "string"},
    ]
}
_ITEM = {
    "oneOf": [
        {
            "type": "object",
            "properties": {
                "apt": {"type": "array", "items": _NAME},
                "snap": {"type": "array", "items": _NAME},
            },
            "additionalProperties": False,
        },
        *_NAME["oneOf"],
    ]
}


class Wanted(Value):
    """One package, its version ("" for any), and the manager it is asked of ("" for the guest's own)."""

    name: str
    version: str = ""
    manager: str = ""


def _read_name(value: object, path: str, manager: str) -> Wanted:
    if isinstance(value, str):
        return Wanted(value, "", manager)
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return Wanted(str(value[0]), str(value[1]), manager)
    raise Undecodable(Fault(path, "a name or [name, version] is expected"))


def _read_item(value: object, path: str, _faults: list[Fault]) -> tuple[Wanted, ...]:
    if not isinstance(value, dict):
        return (_read_name(value, path, ""),)
    wanted: list[Wanted] = []
    for manager, names in value.items():
        if not isinstance(names, (list, tuple)):
            raise Undecodable(Fault(f"{path}.{manager}", "a list of names is expected"))
        wanted.extend(
            _read_name(each, f"{path}.{manager}[{index}]", str(manager)) for index, each in enumerate(names)
        )
    return tuple(wanted)


class Config(Keys):
    """Keys of `package_update_upgrade_install`."""

    packages: tuple[tuple[Wanted, ...], ...] = key(
        "Packages: a name, [name, version], or lists of them for a manager: {apt: [...], snap: [...]}.",
        list_of(Kind(_ITEM, _read_item), keep_good=True, minItems=1),
        default=(),
    )
    package_update: bool = key("Fetch the package lists.", BOOL, default=False, old=("apt_update",))
    package_upgrade: bool = key("Upgrade every package.", BOOL, default=False, old=("apt_upgrade",))
    package_reboot_if_required: bool = key(
        "Reboot when the packages ask for it.", BOOL, default=False, old=("apt_reboot_if_required",)
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """update, upgrade, install, reboot."""
    wanted = [each for item in config.packages for each in item]
    steps: list[Action] = []
    if config.package_update or config.package_upgrade:
        steps.extend(update(facts, force=True))
    if config.package_upgrade:
        steps.append(upgrade(facts))
    steps.extend(_install(wanted, facts, updated=bool(steps)))
    if config.package_reboot_if_required and steps:
        steps.extend(_reboot())
    return tuple(steps)


def _install(wanted: list[Wanted], facts: Facts, *, updated: bool) -> tuple[Action, ...]:
    manager = manager_of(facts)
    own = [each for each in wanted if each.manager in {"", manager.name}]
    snaps = [each for each in wanted if each.manager == "snap"]
    foreign = sorted({each.manager for each in wanted} - {"", manager.name, "snap"})
    actions: list[Action] = [
        warn(f"packages: this guest has no {name}, its packages are left out. It has {manager.name}")
        for name in foreign
    ]
    names = [f"{each.name}{manager.joint}{each.version}" if each.version else each.name for each in own]
    installs = install(names, facts)
    # The lists were fetched a moment ago; install() would fetch them for the first package of an instance.
    actions.extend(installs[-1:] if updated else installs)
    if snaps and facts.which("snap") is None:
        actions.append(warn("packages: this guest has no snap, its packages are left out"))
    elif snaps:
        actions.append(snap_seeded().replace(on_failure=GO_ON))
        actions.extend(_snap(each) for each in snaps)
    return tuple(actions)


def _snap(wanted: Wanted) -> Action:
    channel = (f"--channel={wanted.version}",) if wanted.version else ()
    return RunCommand(("snap", "install", wanted.name, *channel), show=True, on_failure=GO_ON, opaque=True)


def _reboot() -> tuple[Action, ...]:
    """A reboot if a marker is there by then; being alive after it is a failure."""
    reboot = RunCommand(("/sbin/reboot",), when_exists=REBOOT_MARKERS, opaque=True)
    wait = RunCommand(
        ("sleep", str(REBOOT_WAIT_S)), good=(), when_exists=REBOOT_MARKERS, name="waiting for the reboot"
    )
    return reboot, wait


MODULE = Module("package_update_upgrade_install", Config, plan)
