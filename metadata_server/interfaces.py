"""The addresses of this host's interfaces, for saying what is wrong with an address to listen on."""

from __future__ import annotations

import ipaddress

import netifaces


def addresses() -> dict[str, tuple[str, ...]]:
    """Interface -> its IPv4 and IPv6 addresses, zones left out."""
    found = {}
    for name in netifaces.interfaces():
        families = netifaces.ifaddresses(name)
        entries = [*families.get(netifaces.AF_INET, ()), *families.get(netifaces.AF_INET6, ())]
        found[name] = tuple(entry["addr"].partition("%")[0] for entry in entries)
    return found


def why_unavailable(address: str, here: dict[str, tuple[str, ...]]) -> str:
    """Why an address cannot be listened on, which interfaces there are, and how to give one the address."""
    plain = address.partition("%")[0]
    prefix = 128 if ipaddress.ip_address(plain).version == 6 else 32
    known = "; ".join(f"{name} {' '.join(own)}" for name, own in sorted(here.items()) if own)
    return (
        f"no interface of this host has the address (there are: {known})."
        f" Add it with: ip addr add {plain}/{prefix} dev lo"
    )
