"""The picture of links and networks, as text and as SVG."""

from __future__ import annotations

from xml.etree import ElementTree

from instance_metadata.picture import as_svg, as_text

DATA = {
    "links": [
        {"id": "tap0", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01", "mtu": 1500},
        {"id": "tap1", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:02", "mtu": None},
        {"id": "b", "type": "bond", "bond_mode": "802.3ad", "bond_links": ["tap0", "tap1"]},
        {"id": "v", "type": "vlan", "vlan_id": 7, "vlan_link": "b", "vlan_mac_address": "52:54:00:00:00:03"},
    ],
    "networks": [
        {
            "id": "network0",
            "link": "b",
            "type": "ipv4",
            "ip_address": "192.0.2.7",
            "netmask": "255.255.255.0",
            "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}],
            "services": [{"type": "dns", "address": "192.0.2.53"}],
        },
        {"id": "network1", "link": "b", "type": "ipv4_dhcp"},
        {
            "id": "<n>",
            "link": "v",
            "type": "ipv6",
            "ip_address": "2001:db8::7",
            "netmask": "ffff:ffff:ffff:ffff::",
            "routes": [{"network": "2001:db8:9::", "netmask": "ffff:ffff:ffff::"}],
        },
    ],
    "services": [{"type": "dns", "address": "192.0.2.53"}],
}
TEXT = """\
tap0  [phy  52:54:00:00:00:01  mtu 1500]
tap1  [phy  52:54:00:00:00:02]
b  [bond 802.3ad]  on tap0, tap1
  ├─ network0 ipv4
  │    192.0.2.7/24
  │    default via 192.0.2.1
  │    dns 192.0.2.53
  └─ network1 ipv4_dhcp
v  [vlan 7  52:54:00:00:00:03]  on b
  └─ <n> ipv6
       2001:db8::7/64
       2001:db8:9::/48 via the link
dns  192.0.2.53
"""


def test_text_shows_links_with_their_networks() -> None:
    assert as_text(DATA) == TEXT


def test_svg_is_whole_and_shows_every_line_and_join() -> None:
    root = ElementTree.fromstring(as_svg(DATA))
    space = "{http://www.w3.org/2000/svg}"
    words = [element.text for element in root.iter(f"{space}text")]
    assert {"tap0", "bond 802.3ad", "vlan 7", "192.0.2.7/24", "<n> ipv6"} <= set(words)
    assert len(list(root.iter(f"{space}rect"))) == 7
    assert len(list(root.iter(f"{space}path"))) == 2 + 1 + 3
    left_of = {e.text: int(e.attrib["x"]) for e in root.iter(f"{space}text")}
    assert left_of["tap0"] < left_of["b"] < left_of["v"] < left_of["network0 ipv4"]


def test_nothing_and_circles_are_drawn_too() -> None:
    assert as_text({}) == "no links\n"
    ElementTree.fromstring(as_svg({}))
    circle = [{"id": "a", "type": "vlan", "vlan_link": "b"}, {"id": "b", "type": "vlan", "vlan_link": "a"}]
    ElementTree.fromstring(as_svg({"links": circle}))
