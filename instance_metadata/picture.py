"""Links and networks of an instance as a picture: text for a terminal, SVG for a page. Pure.

Read from `network_data.json` as the guest sees it: a link is a row, what stands on it (bond over its
members, VLAN over its link) is joined to it, and to the right are the networks of the link with addresses,
routes and name servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from ipaddress import IPv6Address, ip_network

ROW_PX = 22
BOX_PADDING_PX = 12
CHARACTER_PX = 7.4
COLUMN_GAP_PX = 70
ROW_GAP_PX = 18
FAMILY_COLOURS = {"ipv4": "#dbe9ff", "ipv6": "#e4f5df"}
LINK_COLOURS = {"bond": "#fde8c9", "vlan": "#f4ddf5"}


@dataclass(frozen=True)
class Box:
    """A link or a network: its lines, the first being its name. `below` are ids of the links that it
    stands on.
    """

    id: str
    kind: str
    lines: tuple[str, ...]
    below: tuple[str, ...] = ()


def boxes(network_data: Mapping[str, object]) -> tuple[tuple[Box, ...], tuple[Box, ...]]:
    """The links and the networks of the document, in its order; a network stands on its link."""
    links = tuple(_link(link) for link in _maps(network_data.get("links")))
    return links, tuple(_network(network) for network in _maps(network_data.get("networks")))


def _maps(value: object) -> Sequence[Mapping[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _link(link: Mapping[str, object]) -> Box:
    kind = str(link.get("type") or "phy")
    said = [str(link["id"]) if "name" not in link else f"{link['name']} ({link['id']})", kind]
    if kind == "bond":
        said[1] = f"bond {link.get('bond_mode', '')}".strip()
    if kind == "vlan":
        said[1] = f"vlan {link.get('vlan_id', '?')}"
    mac = link.get("vlan_mac_address") or link.get("ethernet_mac_address")
    said += [str(mac)] if mac else []
    said += [f"mtu {link['mtu']}"] if link.get("mtu") else []
    members = link.get("bond_links")
    below = [str(one) for one in members] if isinstance(members, list) else []
    below += [str(link["vlan_link"])] if "vlan_link" in link else []
    return Box(str(link["id"]), kind, tuple(said), tuple(below))


def _network(network: Mapping[str, object]) -> Box:
    kind = str(network.get("type", ""))
    said = [f"{network.get('id', '')} {kind}".strip()]
    address = network.get("ip_address")
    if address:
        said.append(_with_prefix(str(address), str(network.get("netmask") or "")))
    routes = _maps(network.get("routes"))
    said += [f"{_destination(route)} via {route.get('gateway', 'the link')}" for route in routes]
    servers = [str(one.get("address")) for one in _maps(network.get("services")) if one.get("type") == "dns"]
    said += [f"dns {' '.join(servers)}"] if servers else []
    return Box(str(network.get("id", "")), kind, tuple(said), (str(network.get("link", "")),))


def _with_prefix(address: str, netmask: str) -> str:
    """`192.0.2.7` and `255.255.255.0` as `192.0.2.7/24`; a mask that is none is shown as it is."""
    if not netmask or "/" in address:
        return address
    try:
        if ":" in netmask:
            return f"{address}/{f'{int(IPv6Address(netmask)):0128b}'.rstrip('0').count('1')}"
        return f"{address}/{ip_network(f'0.0.0.0/{netmask}').prefixlen}"
    except ValueError:
        return f"{address}/{netmask}"


def _destination(route: Mapping[str, object]) -> str:
    target = _with_prefix(str(route.get("network", "")), str(route.get("netmask") or ""))
    return "default" if target in {"0.0.0.0/0", "::/0"} else target


def as_text(network_data: Mapping[str, object]) -> str:
    """Each link, what it stands on, and its networks below it, by indentation."""
    links, networks = boxes(network_data)
    lines: list[str] = []
    for link in links:
        on = f"  on {', '.join(link.below)}" if link.below else ""
        lines.append(f"{link.lines[0]}  [{'  '.join(link.lines[1:])}]{on}")
        mine = [network for network in networks if link.id in network.below]
        for number, network in enumerate(mine, 1):
            corner, bar = ("└─", "  ") if number == len(mine) else ("├─", "│ ")
            lines.append(f"  {corner} {network.lines[0]}")
            lines.extend(f"  {bar}   {said}" for said in network.lines[1:])
    servers = _services(network_data)
    lines += [f"dns  {' '.join(servers)}"] if servers else []
    return "".join(f"{line}\n" for line in lines) or "no links\n"


def _services(network_data: Mapping[str, object]) -> list[str]:
    return [
        str(one.get("address")) for one in _maps(network_data.get("services")) if one.get("type") == "dns"
    ]


@dataclass(frozen=True)
class Placed:
    """A box where it is drawn; all in pixels."""

    box: Box
    x: float
    y: float
    width: float

    @property
    def height(self) -> float:
        return len(self.box.lines) * ROW_PX + BOX_PADDING_PX

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def as_svg(network_data: Mapping[str, object]) -> str:
    """A stand-alone SVG: links by their level from left to right (NIC, bond, VLAN), networks in the
    last column.
    """
    links, networks = boxes(network_data)
    levels = _levels(links)
    columns: list[list[Box]] = [[] for _ in range(max(levels.values(), default=0) + 1)]
    for link in links:
        columns[levels[link.id]].append(link)
    placed = _place([*columns, list(networks)])
    width = max((one.x + one.width for one in placed), default=100) + BOX_PADDING_PX
    height = max((one.y + one.height for one in placed), default=40) + BOX_PADDING_PX
    where = {one.box.id: one for one in placed if one.box in links}
    arrows = [_arrow(where[key], one) for one in placed for key in one.box.below if key in where]
    title = escape(f"{len(links)} links, {len(networks)} networks")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" role="img"'
        f' font-family="monospace" font-size="12"><title>{title}</title>\n'
        + "".join(arrows + [_drawn(one) for one in placed])
        + "</svg>\n"
    )


def _levels(links: Sequence[Box]) -> dict[str, int]:
    """How many links are below each; a link that stands on itself, or on nothing known, is at the bottom."""
    levels = {link.id: 0 for link in links}
    for _ in links:
        for link in links:
            heights = [levels[key] + 1 for key in link.below if key in levels and key != link.id]
            levels[link.id] = min(max(heights, default=0), len(links))
    return levels


def _place(columns: Sequence[Sequence[Box]]) -> list[Placed]:
    placed: list[Placed] = []
    x = float(BOX_PADDING_PX)
    for column in columns:
        width = (
            max((len(line) for box in column for line in box.lines), default=0) * CHARACTER_PX
            + 2 * BOX_PADDING_PX
        )
        y = float(BOX_PADDING_PX)
        for box in column:
            placed.append(Placed(box, x, y, width))
            y += placed[-1].height + ROW_GAP_PX
        x += width + COLUMN_GAP_PX if column else 0
    return placed


def _arrow(left: Placed, right: Placed) -> str:
    start, end = left.x + left.width, right.x
    bend = (start + end) / 2
    return (
        f'<path d="M{start:.0f},{left.middle:.0f} C{bend:.0f},{left.middle:.0f} {bend:.0f},{right.middle:.0f}'
        f' {end:.0f},{right.middle:.0f}" fill="none" stroke="#667"/>\n'
    )


def _drawn(one: Placed) -> str:
    colour = LINK_COLOURS.get(one.box.kind) or FAMILY_COLOURS.get(one.box.kind[:4], "#eeeeee")
    lines = "".join(_line(one, number, line) for number, line in enumerate(one.box.lines, 1))
    return (
        f'<rect x="{one.x:.0f}" y="{one.y:.0f}" width="{one.width:.0f}" height="{one.height:.0f}" rx="6"'
        f' fill="{colour}" stroke="#667"/>\n{lines}'
    )


def _line(one: Placed, number: int, line: str) -> str:
    weight = ' font-weight="bold"' if number == 1 else ""
    x, y = one.x + BOX_PADDING_PX, one.y + ROW_PX * number
    return f'<text x="{x:.0f}" y="{y:.0f}"{weight}>{escape(line)}</text>\n'
