"""`wireguard`: WireGuard interfaces on Ubuntu, brought up by wg-quick. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.actions import GO_ON, RunCommand, RunParts, WriteFile
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.packages import install
from boot_stages.schema import TEXT, Keys, key, list_of, nullable, record
from boot_stages.services import manage
from boot_stages.value import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts


class Interface(Keys):
    """One WireGuard interface."""

    name: str = key("Its name, such as wg0.", TEXT, default="")
    config_path: str = key("Its file, such as /etc/wireguard/wg0.conf.", TEXT, default="")
    content: str = key("What stands in the file.", TEXT, default="")


class WireguardKeys(Keys):
    """The map below `wireguard`."""

    interfaces: tuple[Interface, ...] = key(
        "The interfaces.", list_of(record(Interface), minItems=1), default=(), required=True
    )
    readinessprobe: tuple[str, ...] = key(
        "Commands of the shell that must succeed when all interfaces are up.",
        list_of(TEXT, uniqueItems=True),
        default=(),
    )


class Config(Keys):
    """Keys of `wireguard`."""

    wireguard: WireguardKeys | None = key(
        "WireGuard.", nullable(record(WireguardKeys, minProperties=1)), default=None
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Tools, module, files, services, probes."""
    keys = config.wireguard
    if keys is None:
        return ()
    for number, each in enumerate(keys.interfaces):
        missing = [name for name in each.FIELDS if not getattr(each, name)]
        if missing:
            raise ModuleFailed(f"wireguard.interfaces[{number}]: {', '.join(missing)} must be given")
    tools = install(("wireguard-tools",), facts) if facts.which("wg") is None else ()
    load = () if facts.is_directory("/sys/module/wireguard") else (RunCommand(("modprobe", "wireguard")),)
    interfaces = [action for each in keys.interfaces for action in _interface(each, facts)]
    return (*tools, *load, *interfaces, *_probes(keys.readinessprobe))


def _interface(each: Interface, facts: Facts) -> tuple[Action, ...]:
    service = f"wg-quick@{each.name}"
    write: tuple[Action, ...] = ()
    if facts.read_text(each.config_path) != each.content or facts.mode(each.config_path) != 0o600:
        write = (WriteFile(each.config_path, Secret(each.content), 0o600),)
    return (*write, manage("enable", service, facts), manage("restart", service, facts))


def _probes(commands: tuple[str, ...]) -> tuple[Action, ...]:
    if not commands:
        return ()
    probes = tuple(RunCommand(("/bin/sh", "-c", each), name=each) for each in commands)
    return (RunParts("the readiness probes", probes, "these readiness probes failed", on_failure=GO_ON),)


MODULE = Module("wireguard", Config, plan)
