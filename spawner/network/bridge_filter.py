"""The filter of a bridge, in nft's language: pure texts."""

from __future__ import annotations

from ipaddress import IPv4Address

TABLE = "guestling"


def chain_of(interface: str) -> str:
    """The chain through which the frames of a port go."""
    return f"from_{interface}"


def table() -> str:
    """The table: what enters by a port goes through that port's chain; what has no chain is dropped."""
    return f"""
table bridge {TABLE} {{
    map ports {{ type ifname : verdict; }}
    chain prerouting {{
        type filter hook prerouting priority -300; policy drop;
        iifname vmap @ports
    }}
}}
"""


def with_port(interface: str, mac: str, address: IPv4Address) -> str:
    """Only the port's own MAC and IPv4 address come out of it; no IPv6, no DHCP server, nothing else."""
    chain = chain_of(interface)
    return f"""
add chain bridge {TABLE} {chain}
flush chain bridge {TABLE} {chain}
table bridge {TABLE} {{
    chain {chain} {{
        ether saddr != {mac} counter drop
        arp saddr ether != {mac} counter drop
        arp saddr ip != {{ {address}, 0.0.0.0 }} counter drop
        ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
        ip saddr != {address} counter drop
        udp sport 67 counter drop
        ether type {{ arp, ip }} accept
        counter drop
    }}
}}
add element bridge {TABLE} ports {{ "{interface}" : jump {chain} }}
"""


def without_port(interface: str) -> str:
    """Take the port's chain away."""
    return f"""
delete element bridge {TABLE} ports {{ "{interface}" }}
delete chain bridge {TABLE} {chain_of(interface)}
"""
