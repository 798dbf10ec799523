"""`network_data.json` as a guest reads it: what would leave it without a network.

Source: metadata-service 4.4 and OS-11.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from configdrive.findings import error, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.findings import Finding

_MAC = re.compile(r"(?i)[0-9a-f]{2}([:-][0-9a-f]{2}){5}")
_CODE = "drive-network"
_CUT_OFF = "drive-network-empty"
_STATIC = ("ipv4", "ipv6")


def check(path: str, document: object) -> Iterator[Finding]:
    """Everything wrong with the parsed document at `path`."""
    if not isinstance(document, dict):
        yield error(_CODE, path, "its root is not an object", "Write {links, networks, services}")
        return
    links = document.get("links") or []
    networks = document.get("networks") or []
    if not isinstance(links, list) or not isinstance(networks, list):
        yield error(_CODE, path, "links and networks are not both lists", "Write lists of objects")
        return
    if not links:
        problem = "it names no link: cloud-init writes an empty network configuration and cuts the guest off"
        yield error(_CUT_OFF, path, problem, "Leave the file out, then the guest uses DHCP", key="links")
        return
    yield from _check_links(path, links)
    yield from _check_networks(path, networks, {link.get("id") for link in links if isinstance(link, dict)})
    if not networks:
        problem = "it is empty: the links come up without an address"
        yield warning(_CUT_OFF, path, problem, "Add a network of type ipv4_dhcp", key="networks")


def _check_links(path: str, links: list[object]) -> Iterator[Finding]:
    seen: set[object] = set()
    macs: set[str] = set()
    for index, link in enumerate(links):
        place = f"links[{index}]"
        if not isinstance(link, dict) or not isinstance(link.get("id"), str) or "type" not in link:
            yield error(_CODE, path, "it has no id or no type", "Give both", key=place)
            continue
        if link["id"] in seen:
            yield error(_CODE, path, "another link has this id", "Number the links", key=f"{place}.id")
        seen.add(link["id"])
        yield from _check_kind(path, place, link, macs)


def _check_kind(path: str, place: str, link: dict[str, object], macs: set[str]) -> Iterator[Finding]:
    if link["type"] == "vlan":
        for key in ("vlan_id", "vlan_link", "vlan_mac_address"):
            if link.get(key) is None:
                yield error(_CODE, path, "a vlan needs it", "Add it", key=f"{place}.{key}")
        return
    if link["type"] == "bond" and not link.get("bond_links"):
        yield error(_CODE, path, "a bond needs it", "Name the links of the bond", key=f"{place}.bond_links")
    mac = link.get("ethernet_mac_address")
    if not isinstance(mac, str) or not _MAC.fullmatch(mac):
        problem = "it is missing or no MAC address; guests find their cards by it"
        yield error(_CODE, path, problem, "Give the address of the card", key=f"{place}.ethernet_mac_address")
    elif link["type"] != "bond":
        if mac.lower() in macs:
            problem = "another link has this address"
            yield error(_CODE, path, problem, "One link a card", key=f"{place}.ethernet_mac_address")
        macs.add(mac.lower())


def _check_networks(path: str, networks: list[object], links: set[object]) -> Iterator[Finding]:
    for index, network in enumerate(networks):
        place = f"networks[{index}]"
        if not isinstance(network, dict) or "type" not in network or "link" not in network:
            yield error(_CODE, path, "it has no type or no link", "Give both", key=place)
            continue
        if network["link"] not in links:
            problem = f"there is no link {network['link']!r}, so the guest drops the network"
            yield error(_CODE, path, problem, "Name the id of a link", key=f"{place}.link")
        if network["type"] in _STATIC:
            for key in ("ip_address", "netmask"):
                if not network.get(key):
                    yield error(_CODE, path, "a static network needs it", "Add it", key=f"{place}.{key}")
