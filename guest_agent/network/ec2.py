"""The `network` part of EC2 metadata, brought into version 2.

Every NIC asks DHCP, with a metric by its rank; secondary addresses are static; with netplan, secondary NICs
get a routing table of their own. Source of the rules: guest agent contract, 4.4.
"""

from __future__ import annotations

from guest_agent.network.model import Note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LAST = 1 << 30
FIRST_TABLE = 100
METRIC_STEP = 100
Entry = dict[str, object]


def config(
    macs: Mapping[str, Mapping[str, object]],
    nics: Mapping[str, str],
    *,
    for_netplan: bool,
    gateways: Mapping[str, str],
    notes: list[Note],
) -> Entry:
    """One ethernet for each NIC that the metadata knows.

    `macs`: the tree below `network/interfaces/macs`. `nics`: MAC -> name. `gateways`: NIC name -> its
    DHCP router, for the tables of secondary NICs.
    """
    ranked = _ranked(macs, nics)
    ethernets: dict[str, Entry] = {}
    for rank, mac in enumerate(ranked):
        name, said = nics[mac], macs[mac]
        entry = _dhcp(mac, name, said)
        if len(ranked) > 1:
            _add_metric(entry, (rank + 1) * METRIC_STEP)
        if for_netplan and rank > 0 and said.get("device-number"):
            _add_table(entry, said, FIRST_TABLE + rank, gateways.get(name, ""))
        addresses = secondary_addresses(mac, said, notes)
        ethernets[name] = {**entry, "addresses": addresses} if addresses else entry
    return {"version": 2, "ethernets": ethernets}


def primary_only(macs: Mapping[str, Mapping[str, object]], nics: Mapping[str, str], primary: str) -> Entry:
    """`apply_full_imds_network_config: false`: DHCP on the one NIC `primary`."""
    mac = next((mac for mac, name in nics.items() if name == primary), "")
    return {"version": 2, "ethernets": {primary: _dhcp(mac, primary, macs.get(mac, {}))}}


def _ranked(macs: Mapping[str, Mapping[str, object]], nics: Mapping[str, str]) -> list[str]:
    """By network-card, device-number, name: the primary NIC is the first."""

    def rank(mac: str) -> tuple[int, int, str]:
        return _number(macs[mac], "network-card"), _number(macs[mac], "device-number"), nics[mac]

    return sorted((mac for mac in nics if macs.get(mac)), key=rank)


def _number(said: Mapping[str, object], key: str) -> int:
    text = str(said.get(key, ""))
    return int(text) if text.isdigit() else LAST


def _dhcp(mac: str, name: str, said: Mapping[str, object]) -> Entry:
    return {
        "dhcp4": True,
        "dhcp6": bool(said.get("ipv6s")),
        "match": {"macaddress": mac.lower()},
        "set-name": name,
    }


def _add_metric(entry: Entry, metric: int) -> None:
    entry["dhcp4-overrides"] = {"route-metric": metric}
    if entry["dhcp6"]:
        entry["dhcp6-overrides"] = {"route-metric": metric}


def _add_table(entry: Entry, said: Mapping[str, object], table: int, gateway: str) -> None:
    """What comes from an address of this NIC leaves by this NIC."""
    routes: list[Entry] = [{"to": "0.0.0.0/0", "via": gateway, "table": table}] if gateway else []
    rules: list[Entry] = []
    for addresses, blocks in (
        ("local-ipv4s", "subnet-ipv4-cidr-block"),
        ("ipv6s", "subnet-ipv6-cidr-blocks"),
    ):
        networks, own = listed(said.get(blocks)), listed(said.get(addresses))
        if networks and own:
            routes.extend({"to": network, "table": table} for network in networks)
            rules.extend({"from": address, "table": table} for address in own)
    for key in ("dhcp4-overrides", "dhcp6-overrides"):
        overrides = entry.get(key)
        if isinstance(overrides, dict):
            entry[key] = {**overrides, "use-routes": True}
    if rules:
        entry.update({"routes": routes, "routing-policy": rules})


def listed(value: object) -> list[str]:
    """A list of the tree, or a text of lines."""
    if isinstance(value, (list, tuple)):
        return [str(one) for one in value]
    return str(value).split() if value else []


def secondary_addresses(mac: str, said: Mapping[str, object], notes: list[Note]) -> list[str]:
    """All addresses but the first of each family, with the prefix length of their subnet."""
    found: list[str] = []
    for addresses, block, default in (
        ("local-ipv4s", "subnet-ipv4-cidr-block", "24"),
        ("ipv6s", "subnet-ipv6-cidr-blocks", "128"),
    ):
        others = listed(said.get(addresses))[1:]
        blocks = listed(said.get(block))
        prefix = blocks[0].partition("/")[2] if blocks else ""
        if others and not prefix:
            notes.append(
                Note(
                    "WARNING", f"ec2: {mac}: {block} is unusable; /{default} is taken for {', '.join(others)}"
                )
            )
        found.extend(f"{address}/{prefix or default}" for address in others)
    return sorted(found)
