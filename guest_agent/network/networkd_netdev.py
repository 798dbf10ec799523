"""The .netdev file of a bond, a bridge or a VLAN: how systemd-networkd makes the device."""

from __future__ import annotations

from guest_agent.network.ini import Sections
from guest_agent.network.model import Note
from guest_agent.network.rendered import lost, said, unwritten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Bond, Bridge, Interface, Network, Parameter

# spelling in v1: networkd key
BOND_KEYS = {
    "bond-ad-select": "AdSelect",
    "bond-all-slaves-active": "AllSlavesActive",
    "bond-arp-all-targets": "ARPAllTargets",
    "bond-arp-interval": "ARPIntervalSec",
    "bond-arp-ip-target": "ARPIPTargets",
    "bond-arp-validate": "ARPValidate",
    "bond-downdelay": "DownDelaySec",
    "bond-fail-over-mac": "FailOverMACPolicy",
    "bond-lacp-rate": "LACPTransmitRate",
    "bond-learn-packet-interval": "LearnPacketIntervalSec",
    "bond-miimon": "MIIMonitorSec",
    "bond-min-links": "MinLinks",
    "bond-mode": "Mode",
    "bond-num-grat-arp": "GratuitousARP",
    "bond-packets-per-slave": "PacketsPerSlave",
    "bond-primary-reselect": "PrimaryReselectPolicy",
    "bond-resend-igmp": "ResendIGMP",
    "bond-updelay": "UpDelaySec",
    "bond-xmit-hash-policy": "TransmitHashPolicy",
}
MILLISECONDS = {"bond-arp-interval", "bond-downdelay", "bond-miimon", "bond-updelay"}
BRIDGE_KEYS = {
    "bridge_ageing": "AgeingTimeSec",
    "bridge_bridgeprio": "Priority",
    "bridge_fd": "ForwardDelaySec",
    "bridge_hello": "HelloTimeSec",
    "bridge_maxage": "MaxAgeSec",
}
BRIDGE_SILENT = {"bridge_gcint", "bridge_maxwait", "bridge_waitport"}  # ifupdown's own, about waiting


def netdev(one: Interface, network: Network, notes: list[Note]) -> Sections | None:
    """The sections, or None where the interface says too little to be made."""
    what = ""
    if one.bond and not any(member.bond_master == one.name for member in network.interfaces):
        what = "a bond without members"
    elif one.bridge and not one.bridge.ports:
        what = "a bridge without ports"
    elif not (one.bond or one.bridge or one.vlan):
        what = "a vlan without id or link"
    if what:
        notes.append(Note("WARNING", f"networkd: {one.name}: {what} is not made"))
        return None
    sections = Sections()
    sections.add("NetDev", "Name", one.name)
    sections.add("NetDev", "Kind", one.kind)
    sections.add("NetDev", "MTUBytes", one.mtu or None)
    sections.add("NetDev", "MACAddress", one.mac or None)
    if one.vlan:
        sections.add("VLAN", "Id", one.vlan.id)
    if one.bond:
        _bond(one, one.bond, sections, notes)
    if one.bridge:
        _bridge(one, one.bridge, sections, notes)
    return sections


def _bond(one: Interface, bond: Bond, sections: Sections, notes: list[Note]) -> None:
    for parameter in bond.parameters:
        if parameter.written in BOND_KEYS:
            sections.add("Bond", BOND_KEYS[parameter.written], _bond_value(parameter))
    _note(one, unwritten(bond.parameters, BOND_KEYS), notes)


def _bond_value(parameter: Parameter) -> str:
    if isinstance(parameter.value, bool):
        return str(parameter.value).lower()
    text = said(parameter.value)
    return f"{text}ms" if parameter.written in MILLISECONDS and text.isdigit() else text.replace(",", " ")


def _bridge(one: Interface, bridge: Bridge, sections: Sections, notes: list[Note]) -> None:
    for parameter in bridge.parameters:
        if parameter.written in BRIDGE_KEYS:
            sections.add("Bridge", BRIDGE_KEYS[parameter.written], parameter.value)
    sections.add("Bridge", "STP", bridge.stp or None)
    _note(one, unwritten(bridge.parameters, {*BRIDGE_KEYS, *BRIDGE_SILENT}), notes)


def _note(one: Interface, what: tuple[str, ...], notes: list[Note]) -> None:
    if what:
        notes.append(Note("WARNING", lost("networkd", one, what)))
