"""Files of the old network scripts: /etc/sysconfig/network-scripts (rhel) or /etc/sysconfig/network (suse).

Source of the rules: guest agent contract, 4.6.
"""

from __future__ import annotations

from guest_agent.network import resolv_conf, sysconfig_routes
from guest_agent.network.global_routes import given_to_interfaces
from guest_agent.network.model import LOOPBACK, Note
from guest_agent.network.rendered import File, Rendered, udev_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guest_agent.network.distros import Profile
    from guest_agent.network.model import Network

HEADER = "# Created by cloud-init automatically, do not edit.\n#\n"
NETWORK_FILE = "/etc/sysconfig/network"
RESOLV_CONF = "/etc/resolv.conf"
NO_DNS_FILE = "/etc/NetworkManager/conf.d/99-cloud-init.conf"
OUR_LINES = ("NETWORKING", "NETWORKING_IPV6", "IPV6_AUTOCONF", *HEADER.splitlines())
Keys = dict[str, object]


def render(network: Network, profile: Profile, existing: Mapping[str, str]) -> Rendered:
    """All files. `existing`: path -> text of what is kept. Raises InvalidNetwork for two default routes
    on a device.
    """
    notes: list[Note] = []
    network = given_to_interfaces(network, "sysconfig", notes)
    flavor = profile.sysconfig_flavor
    texts = _rhel(network, notes) if flavor == "rhel" else _suse(network, notes)
    dns = resolv_conf.all_dns(network)
    if dns:
        texts[RESOLV_CONF] = resolv_conf.text(dns, existing.get(RESOLV_CONF, ""))
        # Otherwise NetworkManager, where it reads these files, would write its own resolv.conf over it.
        texts[NO_DNS_FILE] = f"{HEADER}[main]\ndns = none\n"
    texts[profile.udev_rules_path] = udev_rules(network)
    if flavor == "rhel":
        texts[NETWORK_FILE] = _network_file(network, existing.get(NETWORK_FILE, ""))
    return Rendered({path: File(text.encode()) for path, text in texts.items()}, tuple(notes))


def _rhel(network: Network, notes: list[Note]) -> dict[str, str]:
    from guest_agent.network import sysconfig_rhel

    directory = "/etc/sysconfig/network-scripts"
    texts = {}
    for one in network.interfaces:
        if one.kind != LOOPBACK:
            texts[f"{directory}/ifcfg-{one.name}"] = keys_text(sysconfig_rhel.keys(one, network, notes))
            routes = sysconfig_rhel.routes_of_files(one)
            if routes:
                texts[f"{directory}/route-{one.name}"] = HEADER + sysconfig_routes.route_file(
                    routes, one.name
                )
                route6 = sysconfig_routes.route6_file(routes, one.name)
                texts[f"{directory}/route6-{one.name}"] = HEADER + route6
            for name, text in sysconfig_routes.rule_files(one).items():
                texts[f"{directory}/{name}"] = HEADER + text
    return texts


def _suse(network: Network, notes: list[Note]) -> dict[str, str]:
    from guest_agent.network import sysconfig_suse

    directory = "/etc/sysconfig/network"
    texts = {}
    for one in network.interfaces:
        if one.kind != LOOPBACK:
            texts[f"{directory}/ifcfg-{one.name}"] = keys_text(sysconfig_suse.keys(one, network, notes))
            routes = sysconfig_suse.routes(one)
            if routes:
                texts[f"{directory}/ifroute-{one.name}"] = HEADER + sysconfig_routes.ifroute_file(
                    routes, one.name
                )
    return texts


def keys_text(keys: Keys) -> str:
    """`KEY=value` lines by key; what has white space in it is quoted; None says nothing."""
    lines = [f"{key}={_quoted(keys[key])}\n" for key in sorted(keys) if keys[key] is not None]
    return HEADER + "".join(lines)


def _quoted(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return f'"{text}"' if any(mark.isspace() for mark in text) else text


def _network_file(network: Network, existing: str) -> str:
    """The switch of all networking; lines of others stay."""
    lines = ["NETWORKING=yes"]
    if network.uses_ipv6:
        lines += ["NETWORKING_IPV6=yes", "IPV6_AUTOCONF=no"]
    lines += [line for line in existing.splitlines() if not any(ours in line for ours in OUR_LINES)]
    return HEADER + "".join(f"{line}\n" for line in lines)
