"""What must hold for any document: round trips are stable, and everything that OpenStack can say renders
everywhere.
"""

from __future__ import annotations

import configparser
import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from guest_agent.network import errors, parse, render, to_v1
from guest_agent.network.model import Network, Note
from guest_agent.network.netplan import from_model
from tests.unit.guest_agent.network.topologies import TARGETS

RENDERERS = ("eni", "netplan", "networkd", "network-manager", "sysconfig")
FEATURES = frozenset({"ipv6-mtu"})
macs = st.integers(1, 250).map(lambda number: f"52:54:00:00:00:{number:02x}")
ipv4 = st.integers(1, 250).map(lambda number: f"192.0.2.{number}")
ipv6 = st.integers(1, 250).map(lambda number: f"2001:db8::{number:x}")
servers = st.lists(st.one_of(ipv4, ipv6), max_size=3, unique=True)


@st.composite
def routes(draw: st.DrawFn) -> dict[str, Any]:
    six = draw(st.booleans())
    networks = ["2001:db8:9::/48", "::/0"] if six else ["198.51.100.0/24", "0.0.0.0/0", "169.254.169.254/32"]
    route: dict[str, Any] = {
        "network": draw(st.sampled_from(networks)),
        "gateway": draw(ipv6 if six else ipv4),
    }
    metric = draw(st.none() | st.integers(0, 900))
    return route if metric is None else {**route, "metric": metric}


@st.composite
def static_subnets(draw: st.DrawFn) -> dict[str, Any]:
    address = draw(st.one_of(ipv4.map("{}/24".format), ipv6.map("{}/64".format)))
    subnet: dict[str, Any] = {
        "type": "static",
        "address": address,
        "routes": draw(st.lists(routes(), max_size=2)),
    }
    return subnet


@st.composite
def stable_v1(draw: st.DrawFn) -> dict[str, Any]:
    """Documents of what both versions can say alike: netplan keeps routes and name servers per
    interface only.
    """
    items = []
    for number in range(draw(st.integers(1, 3))):
        subnets = draw(st.lists(static_subnets(), max_size=2))
        if draw(st.booleans()):
            subnets.insert(0, {"type": "dhcp4", **({"metric": 50} if draw(st.booleans()) else {})})
        item: dict[str, Any] = {"type": "physical", "name": f"eth{number}", "subnets": subnets}
        item["mac_address"] = f"52:54:00:00:01:0{number}"
        if draw(st.booleans()):
            item["mtu"] = draw(st.sampled_from([1280, 1500, 9000]))
        items.append(item)
    above = draw(st.sampled_from(["bond", "bridge", "vlan", ""]))
    if above == "bond":
        params = {"bond-mode": "active-backup", "bond-miimon": 100}
        items.append({"type": "bond", "name": "bond0", "bond_interfaces": ["eth0"], "params": params})
    elif above == "bridge":
        params = {"bridge_stp": False, "bridge_fd": 4, "bridge_pathcost": ["eth0 5"]}
        items.append({"type": "bridge", "name": "br0", "bridge_interfaces": ["eth0"], "params": params})
    elif above == "vlan":
        items.append({"type": "vlan", "name": "eth0.7", "vlan_id": 7, "vlan_link": "eth0", "subnets": []})
    return {"version": 1, "config": items}


def as_v2(network: Network) -> dict[str, Any]:
    notes: list[Note] = []
    return json.loads(json.dumps(from_model(network, FEATURES, notes)))  # type: ignore[no-any-return]  # plain data


def meaning(network: Network) -> dict[str, Any]:
    """What a guest gets: addresses, routes, options, without how a document happened to say it."""
    return {
        one.name: {
            "kind": one.kind,
            "mac": one.mac,
            "mtu": one.mtu,
            "kinds": sorted({sub.kind for sub in one.subnets}),
            "addresses": [sub.cidr for sub in one.subnets if sub.address],
            "routes": sorted(
                (route.destination, route.gateway, str(route.metric))
                for sub in one.subnets
                for route in sub.routes
            ),
            "metrics": [sub.metric for sub in one.subnets if sub.kind.startswith("dhcp")],
            "bond": one.bond and [(this.key, this.value) for this in one.bond.parameters],
            "bridge": one.bridge and (one.bridge.ports, one.bridge.stp, one.bridge.path_cost),
            "vlan": one.vlan,
            "master": one.bond_master,
        }
        for one in network.interfaces
    }


@settings(deadline=None, max_examples=60)
@given(stable_v1())
def test_ga_v1_to_model_to_v2_to_model_is_stable(document: dict[str, Any]) -> None:
    first = parse("yaml", document, {}).network
    second = parse("yaml", as_v2(first), {}).network
    assert meaning(second) == meaning(first)
    # And from there on nothing moves any more.
    third = parse("yaml", to_v1.document(second), {}).network
    assert meaning(third) == meaning(second)


@st.composite
def network_data(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, str]]:
    """Any network_data.json that the metadata contract (4.4) allows, and the NICs of the guest that
    gets it.
    """
    count = draw(st.integers(1, 4))
    nics = {f"52:54:00:00:02:0{number}": f"eth{number}" for number in range(count)}
    kinds = st.sampled_from(["phy", "ovs", "bridge", "vhostuser", "hw_veb", "macvtap", None])
    links: list[dict[str, Any]] = [
        {"id": f"tap{number}", "type": draw(kinds), "ethernet_mac_address": mac.upper(), "vif_id": None,
         "mtu": draw(st.none() | st.integers(1280, 9000))}
        for number, mac in enumerate(nics)
    ]  # fmt: skip
    if draw(st.booleans()):
        mode = draw(st.sampled_from(["802.3ad", "active-backup", "balance-xor"]))
        links.append({"id": "b", "type": "bond", "bond_mode": mode, "bond_links": ["tap0"],
                      "bond_miimon": 100, "ethernet_mac_address": "52:54:00:00:02:00"})  # fmt: skip
    if draw(st.booleans()):
        links.append({"id": "v", "type": "vlan", "vlan_id": draw(st.integers(1, 4094)),
                      "vlan_link": links[-1]["id"], "vlan_mac_address": "52:54:00:00:03:01"})  # fmt: skip
    networks = [
        draw(one_network(number, [link["id"] for link in links])) for number in range(draw(st.integers(0, 5)))
    ]
    services = [{"type": "dns", "address": address} for address in draw(servers)]
    return {"links": links, "networks": networks, "services": services}, nics


@st.composite
def one_network(draw: st.DrawFn, number: int, links: list[str]) -> dict[str, Any]:
    kinds = [
        "ipv4_dhcp",
        "ipv6_dhcp",
        "ipv4",
        "ipv6",
        "ipv6_slaac",
        "ipv6_dhcpv6-stateless",
        "ipv6_dhcpv6-stateful",
    ]
    kind = draw(st.sampled_from(kinds))
    said: dict[str, Any] = {"id": f"network{number}", "link": draw(st.sampled_from(links)), "type": kind}
    if kind == "ipv4":
        default = {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}
        said.update(
            ip_address=draw(ipv4), netmask="255.255.255.0", routes=draw(st.sampled_from([[], [default]]))
        )
    elif kind != "ipv4_dhcp":
        default = {"network": "::", "netmask": "::", "gateway": "2001:db8::1"}
        said.update(
            ip_address=draw(ipv6),
            netmask="ffff:ffff:ffff:ffff::",
            routes=draw(st.sampled_from([[], [default]])),
        )
        said["services"] = [{"type": "dns", "address": address} for address in draw(servers)]
    return said


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@settings(deadline=None, max_examples=25)
@given(given_=network_data())
def test_ga_4_4_any_network_data_renders_everywhere(
    target: Any, given_: tuple[dict[str, Any], dict[str, str]]
) -> None:
    document, nics = given_
    parsed = parse("network_data.json", document, nics)
    done = render(parsed, target.renderer, target.distro, have_ip=target.have_ip)
    assert done.files
    text = b"".join(file.content for file in done.files.values()).decode()
    for network in document["networks"]:
        if network["type"] in {"ipv4", "ipv6"}:
            assert network["ip_address"] in text
    for path, file in done.files.items():
        _check_syntax(path, file.content.decode())


def _check_syntax(path: str, text: str) -> None:
    """Each file must be readable as what it is."""
    if path.endswith(".yaml"):
        assert yaml.safe_load(text)["network"]["version"] == 2
    elif path.endswith(".nmconnection"):
        ini = configparser.ConfigParser(interpolation=None)
        ini.read_string(text)
        assert ini["connection"]["uuid"]
    elif "/network-scripts/ifcfg-" in path:
        assert all("=" in line for line in text.splitlines() if not line.startswith("#"))


words = st.text(max_size=30)
scalars = st.none() | st.booleans() | st.integers(-5, 99999) | words | ipv4 | ipv6 | macs
keys = st.sampled_from([
    "name", "type", "subnets", "address", "routes", "gateway", "mtu", "mac_address", "params", "to", "via",
    "bond_interfaces", "vlan_id", "vlan_link", "addresses", "dhcp4", "match", "set-name", "nameservers",
    "interfaces", "parameters", "id", "link", "links", "networks", "services", "config",
    "ethernet_mac_address",
])  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | words, inner, max_size=4),
    max_leaves=20,
)
typed = st.fixed_dictionaries(
    {"type": st.sampled_from(["physical", "bond", "bridge", "vlan", "route", "nameserver", "phy", "ipv4"])},
    optional={"name": words | st.just("eth0"), "id": words, "subnets": anything, "params": anything,
              "address": anything, "bond_interfaces": anything, "vlan_id": anything, "vlan_link": anything,
              "destination": anything},
)  # fmt: skip
documents = st.one_of(
    anything,
    st.lists(typed | anything, max_size=3).map(lambda items: {"version": 1, "config": items}),
    st.dictionaries(
        st.sampled_from(["ethernets", "bonds", "bridges", "vlans", "wifis"]),
        st.dictionaries(words | st.just("eth0"), anything, max_size=3),
        max_size=3,
    ).map(lambda sections: {"version": 2, **sections}),
)


@settings(deadline=None, max_examples=150)
@given(documents, st.sampled_from(["yaml", "network_data.json", "eni"]), st.sampled_from(RENDERERS))
def test_ga_p15_anything_at_all_is_rendered_or_refused(document: object, kind: str, renderer: str) -> None:
    """Nothing but our own exceptions, whatever a cloud sends; and no file is named by what it sent."""
    try:
        done = render(parse(kind, document, {}), renderer, "debian")
    except errors.NetworkError:
        return
    for path in done.files:
        assert path.isprintable()
        assert "/../" not in path
        assert path.count("/") <= 5
