"""`ntp`: keep the clock right, with chrony, systemd-timesyncd or ntp.

The configuration is written before the client is installed, so that it starts with it.
Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import Rename, WriteFile, note
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.ntp_clients import Client, client_of, clients, contents
from boot_stages.packages import install
from boot_stages.schema import BOOL, TEXT, Keys, key, list_of, nullable, record, text
from boot_stages.services import manage
from boot_stages.templates import image_template, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

_HOSTS = list_of(text(format="hostname"), uniqueItems=True)
POOLS = 4
_NEEDED = ("confpath", "check_exe", "packages", "service_name")


class ClientKeys(Keys):
    """The map below `ntp.config`: what differs from the client as it is known."""

    confpath: str = key("The client's configuration file.", TEXT, default="")
    check_exe: str = key("The program whose presence says that the client is installed.", TEXT, default="")
    packages: tuple[str, ...] | None = key(
        "The packages of the client.", list_of(TEXT, uniqueItems=True), default=None
    )
    service_name: str = key("The client's service.", TEXT, default="")
    template: str = key(
        "The configuration, with servers, pools, peers and allow; basic or jinja.", TEXT, default=""
    )


class NtpKeys(Keys):
    """The map below `ntp`."""

    pools: tuple[str, ...] = key("Pools of servers.", _HOSTS, default=())
    servers: tuple[str, ...] = key("Servers.", _HOSTS, default=())
    peers: tuple[str, ...] = key("Peers.", _HOSTS, default=())
    allow: tuple[str, ...] = key(
        "Networks that may ask this guest.", list_of(TEXT, uniqueItems=True), default=()
    )
    ntp_client: str = key("The client; auto takes the first that is installed.", TEXT, default="auto")
    enabled: bool = key("false leaves time alone.", BOOL, default=True)
    config: ClientKeys | None = key(
        "Changes to what is known of the client.", record(ClientKeys, minProperties=1), default=None
    )


class Config(Keys):
    """Keys of `ntp`."""

    ntp: NtpKeys | None = key(
        "Time servers; null takes the defaults.", nullable(record(NtpKeys)), default=NtpKeys()
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The configuration, the client, its service; nothing when all are there."""
    ntp = config.ntp or NtpKeys()
    if not ntp.enabled:
        return (note("ntp.enabled is false: time is left alone"),)
    client = _with_changes(_chosen(ntp.ntp_client, facts), ntp.config)
    content = _content(ntp, client, facts).encode()
    is_there = facts.which(client.check_exe) is not None
    write = _write(client.confpath, content, facts)
    installs = () if is_there or not client.packages else install(client.packages, facts)
    if is_there and not write:
        return ()
    return (*write, *installs, manage("reload-or-restart", client.service_name, facts))


def _chosen(name: str, facts: Facts) -> Client:
    image = facts.system_info.get("ntp_client")
    for wanted in (name, str(image or "auto")):
        if wanted != "auto":
            return client_of(wanted, facts.distro)
    known = clients(facts.distro)
    return next((each for each in known if facts.which(each.check_exe) is not None), known[0])


def _with_changes(client: Client, changes: ClientKeys | None) -> Client:
    if changes is None:
        return client
    given = {name: value for name in changes.FIELDS if (value := getattr(changes, name)) not in {"", None}}
    template = given.pop("template", "")
    changed = client.replace(**given, template=template)
    missing = [name for name in _NEEDED if name != "packages" and not getattr(changed, name)]
    if missing:
        raise ModuleFailed(f"ntp.config: {', '.join(missing)} must not be empty for {client.name}")
    return changed


def _content(ntp: NtpKeys, client: Client, facts: Facts) -> str:
    pools, servers = ntp.pools, ntp.servers
    if not pools and not servers and not ntp.peers:
        label = "" if facts.distro.family == "alpine" else f"{facts.distro.name}."
        pools = tuple(f"{number}.{label}pool.ntp.org" for number in range(POOLS))
    if client.template:
        values: dict[str, object] = {
            "pools": pools,
            "servers": servers,
            "peers": ntp.peers,
            "allow": ntp.allow,
        }
        return render(client.template, values, facts, "ntp.config.template")
    names = {"pools": pools, "servers": servers, "peers": ntp.peers, "allow": ntp.allow}
    from_image = image_template((client.image_template.replace("DISTRO", facts.distro.name),), names, facts)
    return from_image if from_image is not None else contents(client, pools, servers, ntp.peers, ntp.allow)


def _write(path: str, content: bytes, facts: Facts) -> tuple[Action, ...]:
    """The file; one that stood there is kept beside it as `.dist`."""
    old = facts.read_bytes(path)
    if old == content:
        return ()
    keep = (Rename(path, f"{path}.dist"),) if old is not None and not facts.exists(f"{path}.dist") else ()
    return (*keep, WriteFile(path, content))


MODULE = Module("ntp", Config, plan)
