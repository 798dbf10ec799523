"""The network that the initramfs set up, and what the kernel command line says about the network.

klibc's ipconfig leaves `/run/net-NAME.conf` and `/run/net6-NAME.conf`; they count when `ip=` or `ip6=` is
on the command line, or when the root disk is iSCSI. Source of the rules: guest agent contract, 1.6 and 1.8.
"""

from __future__ import annotations

import shlex

from guest_agent.network.errors import Fault, InvalidNetwork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOLS = {"none": "static", "static": "static", "off": "static", "dhcp": "dhcp4", "dhcp6": "dhcp6"}
SUBNET_KEYS = {"NETMASK": "netmask", "BROADCAST": "broadcast", "GATEWAY": "gateway"}
DISABLED = "disabled"
Entry = dict[str, object]


def embedded(cmdline: str) -> str | bytes | None:
    """What `network-config=` carries: DISABLED, or the YAML text; None where the word is absent or no
    base64.
    """
    words = [word.split("=", 1)[1] for word in cmdline.split() if word.startswith("network-config=")]
    if not words or words[-1] == DISABLED:
        return words[-1] if words else None
    import binascii
    import zlib

    try:
        raw = binascii.a2b_base64(words[-1])
    except ValueError:
        return None
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(raw, 1 << 20)  # a command line is 4 KiB; 1 MiB is no accident
    except zlib.error:
        return None
    return text if unpacker.eof else None


def config(
    cmdline: str, files: Mapping[str, str], macs: Mapping[str, str], *, has_iscsi: bool = False
) -> Entry | None:
    """A version 1 document, or None where the initramfs has said nothing that counts.

    `files`: path -> text of /run/net*.conf. `macs`: NIC name -> MAC. Raises InvalidNetwork.
    """
    asked = any(word.startswith(("ip=", "ip6=")) for word in cmdline.split())
    if not files or not (asked or has_iscsi):
        return None
    items: dict[str, Entry] = {}
    for path in sorted(files):
        item = _item(path, _shell(files[path]), macs)
        before = items.setdefault(str(item["name"]), item)
        if before is not item:
            before["subnets"] = [*_list(before["subnets"]), *_list(item["subnets"])]
    return {"version": 1, "config": list(items.values())}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _shell(text: str) -> dict[str, str]:
    """`NAME='value'` lines."""
    pairs = [word.partition("=") for word in shlex.split(text, comments=True)]
    return {name: value for name, sign, value in pairs if sign}


def _item(path: str, said: Mapping[str, str], macs: Mapping[str, str]) -> Entry:
    name = said.get("DEVICE") or said.get("DEVICE6")
    if not name:
        raise InvalidNetwork((Fault(path, "neither DEVICE nor DEVICE6 is in it", "Remove the file"),))
    mac = {"mac_address": macs[name]} if name in macs else {}
    subnets = [subnet for family in ("IPV4", "IPV6") for subnet in _subnet(path, family, said)]
    return {"type": "physical", "name": name, **mac, "subnets": subnets}


def _subnet(path: str, family: str, said: Mapping[str, str]) -> list[Entry]:
    if f"{family}ADDR" not in said:
        return []
    general = said.get("PROTO") or said.get("IPV6PROTO") or ("dhcp" if said.get("filename") else "none")
    protocol = said.get(f"{family}PROTO") or general
    if protocol not in PROTOCOLS:
        raise InvalidNetwork((Fault(path, f"{protocol!r} is no protocol", f"Use {', '.join(PROTOCOLS)}"),))
    kind = PROTOCOLS[protocol]
    subnet: Entry = {"type": kind, "control": "manual"}
    if kind == "static":
        subnet["address"] = said[f"{family}ADDR"]
    subnet.update({name: said[family + key] for key, name in SUBNET_KEYS.items() if family + key in said})
    servers = [said.get(f"{family}DNS{index}", "") for index in (0, 1)]
    servers = [server for server in servers if server.strip(":.0")]
    if servers:
        subnet["dns_nameservers"] = servers
        search = said.get("DOMAINSEARCH", "").replace(",", " ").split()
        subnet.update({"dns_search": search} if search else {})
    return [subnet]


def from_words(cmdline: str) -> Entry | None:
    """The version 1 document that `ip=` itself means, for a guest without klibc.

    `ip=CLIENT:SERVER:GATEWAY:NETMASK:HOSTNAME:DEVICE:AUTOCONF:DNS0:DNS1`, or `ip=dhcp` with a device.
    None where no device is named, as then the kernel takes whichever answers first.
    """
    items: list[object] = []
    for word in cmdline.split():
        if word.startswith("ip="):
            fields = [*_fields(word[3:]), *[""] * 9]
            if fields[5]:
                items.append(_from_fields(fields))
    return {"version": 1, "config": items} if items else None


def _fields(text: str) -> list[str]:
    """Fields between colons; an IPv6 address stands in brackets."""
    fields, depth, field = [], 0, ""
    for mark in text:
        depth += {"[": 1, "]": -1}.get(mark, 0)
        if mark == ":" and not depth:
            fields.append(field)
            field = ""
        elif mark not in "[]":
            field += mark
    return [*fields, field]


def _from_fields(fields: list[str]) -> Entry:
    client, _server, gateway, netmask, _host, device, _how, *servers = fields
    if not client:
        return {"type": "physical", "name": device, "subnets": [{"type": "dhcp4"}]}
    subnet: Entry = {"type": "static", "address": client}
    subnet.update({key: value for key, value in (("gateway", gateway), ("netmask", netmask)) if value})
    named = [server for server in servers[:2] if server]
    subnet.update({"dns_nameservers": named} if named else {})
    return {"type": "physical", "name": device, "subnets": [subnet]}
