"""QEMU's option syntax: `key=value,key=value`, where a comma inside a value is doubled (SP-12)."""

from __future__ import annotations


def escaped(value: str) -> str:
    """`value` so that QEMU reads it back as it is."""
    return value.replace(",", ",,")


def option(first: str, **pairs: object) -> str:
    """`first,key=value,...`; None leaves a pair out, a bool is on or off, `_` in a key becomes `-`."""
    parts = [first]
    for key, value in pairs.items():
        if value is None:
            continue
        text = ("on" if value else "off") if isinstance(value, bool) else str(value)
        parts.append(f"{key.replace('_', '-')}={escaped(text)}")
    return ",".join(parts)
