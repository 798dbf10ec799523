"""`keyboard`: the keyboard of the guest's console. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.actions import Report, RunCommand, WriteFile, warn
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.schema import TEXT, Keys, key, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

DEBIAN_FILE = "/etc/default/keyboard"
ALPINE_MAPS = "/usr/share/bkeymaps"
DEFAULT_MODEL = "pc105"


class KeyboardKeys(Keys):
    """The map below `keyboard`."""

    layout: str = key("The layout: XKBLAYOUT, such as `us` or `de`.", TEXT, default="", required=True)
    model: str = key("The model: XKBMODEL.", TEXT, default=DEFAULT_MODEL)
    variant: str = key("The variant: XKBVARIANT; required on Alpine.", TEXT, default="")
    options: str = key("Options: XKBOPTIONS.", TEXT, default="")


class Config(Keys):
    """Keys of `keyboard`."""

    keyboard: KeyboardKeys = key("The keyboard.", record(KeyboardKeys), default=KeyboardKeys())


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """As the distribution sets its keyboard."""
    keys = config.keyboard
    if not keys.layout:
        raise ModuleFailed("keyboard.layout is missing. Write 'layout: us'")
    return _PLANS[facts.distro.family](keys, facts)


def _debian(keys: KeyboardKeys, facts: Facts) -> tuple[Action, ...]:
    lines = {
        "XKBMODEL": keys.model,
        "XKBLAYOUT": keys.layout,
        "XKBVARIANT": keys.variant,
        "XKBOPTIONS": keys.options,
        "BACKSPACE": "guess",
    }
    content = "".join(f'{name}="{value}"\n' for name, value in lines.items()).encode()
    if facts.read_bytes(DEBIAN_FILE) == content:
        return ()
    restart = RunCommand(("systemctl", "restart", "console-setup"), on_failure="warn")
    return (WriteFile(DEBIAN_FILE, content), restart)


def _redhat(keys: KeyboardKeys, _facts: Facts) -> tuple[Action, ...]:
    words = (keys.layout, keys.model, keys.variant, keys.options)
    return (RunCommand(("localectl", "set-x11-keymap", *words)),)


def _alpine(keys: KeyboardKeys, facts: Facts) -> tuple[Action, ...]:
    if not keys.variant:
        raise ModuleFailed("keyboard.variant is missing: Alpine needs a layout and a variant")
    directory = f"{ALPINE_MAPS}/{keys.layout}"
    if not facts.is_directory(directory):
        raise ModuleFailed(
            f"keyboard.layout: {directory} is not there. Install kbd-bkeymaps or check the name"
        )
    if not facts.is_file(f"{directory}/{keys.variant}.bmap.gz"):
        raise ModuleFailed(f"keyboard.variant: {directory}/{keys.variant}.bmap.gz is not there")
    ignored: list[Report] = []
    if keys.model != DEFAULT_MODEL:
        ignored.append(warn("keyboard.model is ignored on Alpine"))
    if keys.options:
        ignored.append(warn("keyboard.options is ignored on Alpine"))
    return (*ignored, RunCommand(("setup-keymap", keys.layout, keys.variant)))


_PLANS = {"debian": _debian, "redhat": _redhat, "alpine": _alpine}


MODULE = Module("keyboard", Config, plan)
