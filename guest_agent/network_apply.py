"""The network of a guest: whose config counts, whether it is written now, and how it is brought up.

`guest_agent.network` knows the formats; this file reads the machine, writes the files and runs the commands.
Source: guest-agent.md 1.8, 4.5; faults GA-P15 (nothing half done).
"""

from __future__ import annotations

import os
import time

from boot_stages import log
from boot_stages.commands import Command
from boot_stages.plain_json import read_json
from boot_stages.value import Value
from guest_agent import network, sys_net
from guest_agent.state import DATA_UPGRADED_NETWORK, NETWORK_CONFIG, RUN_NETWORK_CONFIG, RUN_SEMAPHORES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from boot_stages.apply import Effects
    from guest_agent.datasources.source_data import SourceData
    from guest_agent.machine import Machine
    from guest_agent.network import choose
    from guest_agent.network.links import Link
    from guest_agent.network.model import Network, Note
    from guest_agent.network.parsing import Parsed
    from guest_agent.network.rendered import Rendered

LOG = log.logger("network")

ONCE_A_BOOT = f"{RUN_SEMAPHORES.path}/apply_network_config.once"
SETTLE_ROUNDS = 5
SETTLE_S = 1.0
DEFAULT_EVENTS = frozenset({"boot-new-instance"})
COMMAND_LIMIT_S = 120.0
FALLBACK = "fallback"
# A NIC is up and has its address when these programs have ended; busybox's needs no ifquery.
EXISTING_FILES = ("/etc/resolv.conf", "/etc/sysconfig/network")


class NicMissing(Exception):
    """The config names a NIC that did not appear; the stage fails, nothing was written."""

    def __init__(self, macs: Iterable[str]) -> None:
        super().__init__(
            f"network-config: no NIC with the MAC {', '.join(macs)} appeared after {SETTLE_ROUNDS} waits."
            " Correct the MAC, or attach the NIC"
        )


class Asked(Value):
    """A network config somebody gave: who, in which format (see `guest_agent.network`), and the document."""

    origin: str
    kind: str
    document: object


class Applied(Value):
    """What is left to do: commands that bring the network up, when it is the agent that must do it."""

    origin: str
    commands: tuple[tuple[str, ...], ...] = ()


def apply(
    machine: Machine,
    config: Mapping[str, object],
    distro: str,
    source: SourceData | None,
    instance_directory: str,
    *,
    is_new: bool,
    bring_up: bool,
) -> Applied | None:
    """Write the network config if it is due, and bring it up if asked; None when nothing was written.

    `instance_directory` is where the config is kept; "" as long as there is no instance.
    Raises NicMissing, NetworkError: the network that is there stays.
    """
    if machine.exists(DATA_UPGRADED_NETWORK.path):
        LOG.debug("network config is left alone: %s exists", DATA_UPGRADED_NETWORK.path)
        return None
    nics = sys_net.links(machine)
    is_due = is_new or _is_allowed_now(machine, config, source)
    if not is_due and _are_named_as_remembered(machine, instance_directory, nics):
        LOG.debug("no network config change: this instance has had its config, its NICs their names")
        return None
    asked = find(machine, config, source, nics)
    if asked is None:
        LOG.info("network config is disabled or there is no NIC; nothing is written")
        return None
    try:
        parsed = _parse(machine, asked, nics)
    except network_errors():
        if not is_due:
            return None
        raise
    _rename(machine, parsed.network)
    if not is_due:
        LOG.debug("no network config change: this instance has had its config")
        return None
    if instance_directory:
        _remember(machine, asked, parsed, instance_directory)
    try:
        rendered, activator = _render(machine, config, distro, parsed)
    except no_renderer() as error:
        LOG.error("%s; the network is left as it is", error)  # noqa: TRY400 - our logger; no traceback wanted
        return None
    _write(machine, rendered)
    machine.write(ONCE_A_BOOT, f"{os.getpid()}: {int(machine.clock().epoch_s)}\n")
    commands = _activation(activator, parsed.network)
    if bring_up:
        run(machine, commands)
        commands = ()
    return Applied(asked.origin, commands)


def _are_named_as_remembered(machine: Machine, directory: str, nics: tuple[Link, ...]) -> bool:
    """Whether every NIC still has the name that the last config gave it: then there is nothing to rename.

    Read off the JSON as it is: a boot that has no network work to do must not import the model of it.
    """
    kept = machine.read_text(f"{directory}/{NETWORK_CONFIG.path}")
    if kept is None:
        return False
    try:
        document = read_json(kept)
        wanted = dict(_wanted_names(document))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    names = sys_net.names_by_mac(nics)
    return all(names.get(mac, name) == name for mac, name in wanted.items())


def _wanted_names(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """MAC and name of each NIC that a document of version 1 or 2 names."""
    for item in document["config"] if document.get("version") == 1 else ():
        if item["type"] in {"physical", "infiniband"} and item.get("mac_address"):
            yield str(item["mac_address"]).lower(), str(item["name"])
    for key, item in (document.get("ethernets") or {}).items():
        mac = (item.get("match") or {}).get("macaddress")
        if mac:
            yield str(mac).lower(), str(item.get("set-name") or key)


def network_errors() -> type[Exception]:
    """The root of what a network document can do wrong."""
    from guest_agent.network.errors import NetworkError

    return NetworkError


def no_renderer() -> type[Exception]:
    """No renderer of the list is installed."""
    from guest_agent.network.errors import NoRenderer

    return NoRenderer


def find(
    machine: Machine, config: Mapping[str, object], source: SourceData | None, nics: tuple[Link, ...]
) -> Asked | None:
    """The first of kernel command line, initramfs, system config, datasource that says something.

    None when one of them says `config: disabled`, or nobody says anything and there is no NIC.
    """
    for asked in (
        _from_command_line(machine),
        _from_initramfs(machine, nics),
        _from_config(config),
        _from_source(source),
    ):
        if asked is None:
            continue
        if isinstance(asked.document, dict) and asked.document.get("config") == "disabled":
            LOG.info("network config is disabled by %s", asked.origin)
            return None
        return asked
    from guest_agent.network import fallback

    document = fallback.config(nics)
    return None if document is None else Asked(FALLBACK, "yaml", document)


def _from_command_line(machine: Machine) -> Asked | None:
    cmdline = (machine.read_text("/proc/cmdline") or "").strip()
    if "network-config=" not in cmdline:
        return None
    from guest_agent import yaml_guard
    from guest_agent.errors import AgentError
    from guest_agent.network import kernel_ip

    found = kernel_ip.embedded(cmdline)
    if found == kernel_ip.DISABLED:
        return Asked("the kernel command line", "yaml", {"config": "disabled"})
    if found is None:
        LOG.warning("network-config= of the kernel command line is not base64; it is left out")
        return None
    try:
        return Asked("the kernel command line", "yaml", yaml_guard.load(found, "network-config="))
    except AgentError as error:
        LOG.warning("%s; it is left out", error)
        return None


def _from_initramfs(machine: Machine, nics: tuple[Link, ...]) -> Asked | None:
    try:
        names = [name for name in os.listdir(machine.path("/run")) if _is_klibc_file(name)]
    except OSError:
        return None
    if not names:
        return None
    from guest_agent.network import kernel_ip

    files = {f"/run/{name}": machine.read_text(f"/run/{name}") or "" for name in sorted(names)}
    macs = {link.name: link.mac for link in nics}
    has_iscsi = machine.exists("/run/initramfs/open-iscsi.interface")
    cmdline = machine.read_text("/proc/cmdline") or ""
    document = kernel_ip.config(cmdline, files, macs, has_iscsi=has_iscsi)
    return None if document is None else Asked("the initramfs", "yaml", document)


def _is_klibc_file(name: str) -> bool:
    return name.startswith(("net-", "net6-")) and name.endswith(".conf")


def _from_config(config: Mapping[str, object]) -> Asked | None:
    document = config.get("network")
    return Asked("the system config", "yaml", document) if document else None


def _from_source(source: SourceData | None) -> Asked | None:
    if source is None or not source.network:
        return None
    kind = {"network-config": "yaml"}.get(source.network_kind or "", source.network_kind or "yaml")
    return Asked(source.text, kind, source.network)


def _is_allowed_now(machine: Machine, config: Mapping[str, object], source: SourceData | None) -> bool:
    """Whether an event of this boot allows a new config: `boot` once a boot, `boot-legacy` always."""
    events = allowed_events(config, source)
    if "boot-legacy" in events:
        return True
    return "boot" in events and not machine.exists(ONCE_A_BOOT)


def allowed_events(config: Mapping[str, object], source: SourceData | None) -> frozenset[str]:
    """`updates: network: when:` of the config as far as the source supports it, else the default."""
    updates = config.get("updates")
    scope = updates.get("network") if isinstance(updates, dict) else None
    wanted = scope.get("when") if isinstance(scope, dict) else None
    if not isinstance(wanted, list):
        return DEFAULT_EVENTS | ({"hotplug"} if source is not None and source.name == "Ec2" else set())
    supported = set(source.update_events) if source is not None else set(DEFAULT_EVENTS)
    return frozenset(str(event) for event in wanted) & supported


def _parse(machine: Machine, asked: Asked, nics: tuple[Link, ...]) -> Parsed:
    """The model, once every NIC it names is there. Raises NicMissing, InvalidNetwork."""
    from guest_agent.network.errors import UnknownNic

    for _round in range(SETTLE_ROUNDS):
        known = sys_net.names_by_mac(nics)
        missing: tuple[str, ...] = ()
        try:
            parsed = network.parse(asked.kind, asked.document, known)
            missing = network.missing_macs(parsed, known)
        except UnknownNic as error:
            missing = (error.mac,)
        if not missing:
            return parsed
        LOG.debug("waiting for the NICs %s", ", ".join(missing))
        machine.commands.run(Command(("udevadm", "settle"), timeout_s=COMMAND_LIMIT_S))
        if machine.is_live:
            time.sleep(SETTLE_S)
        nics = sys_net.links(machine)
    raise NicMissing(missing)


def _rename(machine: Machine, model: Network) -> None:
    """Give NICs the names the config wants; `ip` is asked about addresses only when a name is wrong."""
    from guest_agent.network import rename

    plan = rename.plan(model, sys_net.links(machine))
    if plan.commands:
        plan = rename.plan(model, sys_net.links(machine, with_addresses=True))
    _say(plan.notes)
    run(machine, plan.commands)


def _remember(machine: Machine, asked: Asked, parsed: Parsed, instance_directory: str) -> None:
    """Keep the config that is rendered, and say what its published schema does not allow."""
    from guest_agent.plain import to_json

    path = f"{instance_directory}/{NETWORK_CONFIG.path}"
    content = to_json(parsed.document).encode()
    if machine.read_bytes(path) != content:
        machine.write(path, content, NETWORK_CONFIG.mode)
    machine.link(RUN_NETWORK_CONFIG.path, f"/var/lib/cloud/instance/{NETWORK_CONFIG.path}")
    LOG.info("applying the network config of %s", asked.origin)
    if asked.origin != FALLBACK:
        from guest_agent import schema_check

        schema_check.network_at_boot(parsed.document)


def _render(
    machine: Machine, config: Mapping[str, object], distro: str, parsed: Parsed
) -> tuple[Rendered, str]:
    """The files, and the activator that fits them ("" for none). Raises NetworkError."""
    from guest_agent.network import choose, distros

    profile = distros.profile(distro)
    available = choose.available(_view(machine, distro))
    renderer = choose.renderer(available, _order(config, "renderers") or profile.renderers)
    activator = choose.activator(available, _order(config, "activators") or profile.activators) or ""
    existing = {path: machine.read_text(path) or "" for path in EXISTING_FILES if machine.exists(path)}
    features = frozenset(_netplan_features(machine)) if renderer == "netplan" else frozenset[str]()
    rendered = network.render(
        parsed,
        renderer,
        distro,
        have_ip=machine.commands.which("ip") is not None,
        is_busybox=_is_busybox(machine, "ifup"),
        netplan_features=features,
        existing=existing,
    )
    LOG.debug("selected renderer %s, activator %s of %s", renderer, activator, sorted(available))
    _say(rendered.notes)
    return rendered, activator


def _order(config: Mapping[str, object], key: str) -> tuple[str, ...]:
    """`system_info: network: renderers` (or activators) of the image."""
    info = config.get("system_info")
    table = info.get("network") if isinstance(info, dict) else None
    names = table.get(key) if isinstance(table, dict) else None
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def _view(machine: Machine, distro: str) -> choose.Machine:
    from guest_agent.network import choose

    def has_program(name: str) -> bool:
        if machine.commands.which(name) is not None:
            return True
        # busybox has ifup and ifdown, and needs no ifquery.
        return name == "ifquery" and _is_busybox(machine, "ifup")

    def matches(pattern: str) -> bool:
        import glob

        return bool(glob.glob(machine.root.rstrip("/") + pattern))

    return choose.Machine(
        has_program,
        lambda path: os.path.isfile(machine.path(path)),
        matches,
        distro,
        has_networkmanager_unit=_has_networkmanager(machine),
    )


def _is_busybox(machine: Machine, name: str) -> bool:
    path = machine.commands.which(name)
    return path is not None and os.path.realpath(machine.path(path)).rpartition("/")[2].startswith("busybox")


def _has_networkmanager(machine: Machine) -> bool:
    if machine.commands.which("nmcli") is None:
        return False
    if not machine.exists("/run/systemd/system"):
        return True
    command = Command(("systemctl", "is-enabled", "NetworkManager.service"), timeout_s=10.0, question=True)
    return machine.commands.run(command).status == 0


def _netplan_features(machine: Machine) -> list[str]:
    """The names that `netplan info` lists as features."""
    answer = machine.commands.run(Command(("netplan", "info"), timeout_s=30.0, question=True))
    lines = answer.out.decode("utf-8", "replace").splitlines()
    return [line.strip()[2:] for line in lines if line.strip().startswith("- ")]


def _write(machine: Machine, rendered: Rendered) -> None:
    """Write the files that differ; run what must follow a change."""
    changed = False
    effects = machine.effects()
    for path, content in rendered.remove:
        if machine.read_bytes(path) == content:
            machine.remove(path)
    for path, file in rendered.files.items():
        mode = file.mode & _old_mode(machine, path) if file.mode == 0o600 else file.mode
        if machine.read_bytes(path) == file.content and _old_mode(machine, path) == mode:
            continue
        changed = True
        machine.write(path, file.content, mode)
        if file.owner:
            _own(effects, path, file.owner, mode)
    if changed:
        run(machine, rendered.after_write)


def _old_mode(machine: Machine, path: str) -> int:
    try:
        return os.stat(machine.path(path)).st_mode & 0o7777
    except OSError:
        return 0o777


def _own(effects: Effects, path: str, owner: str, mode: int) -> None:
    """Give a file to a system user, where that user exists."""
    from boot_stages.actions import SetMode
    from boot_stages.errors import ActionFailed

    try:
        effects.apply(SetMode(path, mode, f"{owner}:{owner}"))
    except ActionFailed as error:
        LOG.debug("%s keeps root as its owner: %s", path, error)


def _activation(activator: str, model: Network) -> tuple[tuple[str, ...], ...]:
    from guest_agent.network import choose

    if not activator:
        LOG.warning("no program that brings the network up is installed")
        return ()
    return choose.activation(activator, model)


def wait_online(machine: Machine, config: Mapping[str, object], distro: str) -> None:
    """Run what the network of this machine offers to wait with; nothing without systemd."""
    if not machine.exists("/run/systemd/system"):
        return
    from guest_agent.network import choose, distros

    available = choose.available(_view(machine, distro))
    wanted = _order(config, "activators") or distros.profile(distro).activators
    activator = choose.activator(available, wanted)
    if activator:
        run(machine, choose.wait_online(activator, has_networkmanager_unit=_has_networkmanager(machine)))


def run(machine: Machine, commands: Iterable[tuple[str, ...]]) -> None:
    """Run commands of the network; a failing one is a WARNING, the boot goes on."""
    for argv in commands:
        answer = machine.commands.run(Command(tuple(argv), timeout_s=COMMAND_LIMIT_S))
        if answer.status != 0:
            LOG.warning(
                "running %s failed with exit status %d: %s", " ".join(argv), answer.status, answer.tail()
            )


def _say(notes: Iterable[Note]) -> None:
    for note in notes:
        LOG.log(note.level, "%s", note.text)
