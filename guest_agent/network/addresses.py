"""IP addresses as the network documents write them: `A`, `A/24`, `A/255.255.255.0`, `A` with a netmask
beside it.
"""

from __future__ import annotations

TYPE_CHECKING = False


def family(address: str) -> int:
    """4 or 6; 0 for what is neither an address nor a network (host bits may be set)."""
    from ipaddress import ip_network

    try:
        return ip_network(address, strict=False).version
    except ValueError:
        return 0


def prefix_of(mask: str, version: int) -> int:
    """The prefix length that `mask` means: `24`, `255.255.255.0`, `64`, `ffff:ffff::`. Raises ValueError."""
    from ipaddress import IPv6Address, ip_network

    if version == 4:
        return ip_network(f"0.0.0.0/{mask}").prefixlen
    if ":" not in mask:
        return ip_network(f"::/{mask}").prefixlen
    bits = f"{int(IPv6Address(mask)):0128b}"
    ones = bits.rstrip("0")
    if "0" in ones:
        raise ValueError(f"{mask} has a hole in it")
    return len(ones)


def split(address: str, prefix: str | None, netmask: str | None) -> tuple[str, int]:
    """The bare address and its prefix length: from the address itself, else `prefix`, else `netmask`,
    else 24 or 64.

    Raises ValueError saying what is wrong.
    """
    version = family(address) or family(address.partition("/")[0])
    bare, _, mask = address.partition("/")
    if not version:
        raise ValueError(f"{address!r} is not an IP address")
    mask = mask or prefix or netmask or ("24" if version == 4 else "64")
    try:
        return bare, prefix_of(mask, version)
    except ValueError:
        raise ValueError(f"{mask!r} is not a prefix length or netmask of IPv{version}") from None


def netmask_of(prefix: int) -> str:
    """The IPv4 netmask of a prefix length: 24 gives 255.255.255.0."""
    bits = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
    return ".".join(str(bits >> shift & 255) for shift in (24, 16, 8, 0))


def is_inside(address: str, cidr: str) -> bool:
    """Is `address` in the network of `cidr`? What cannot be read is taken to be inside, so nothing is
    added for it.
    """
    from ipaddress import ip_address, ip_network

    try:
        one, network = ip_address(address), ip_network(cidr, strict=False)
        return one.version == network.version and one in network
    except ValueError:
        return True


def same_family(addresses: tuple[str, ...], is_ipv6: bool) -> tuple[str, ...]:
    """Those of `addresses` that belong to the family."""
    return tuple(one for one in addresses if family(one) == (6 if is_ipv6 else 4))
