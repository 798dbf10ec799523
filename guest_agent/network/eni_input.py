"""The text of /etc/network/interfaces, as old config drives carry it, brought into version 1.

`source` lines are not followed: the text comes from the cloud, and the files they would name are the guest's.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.reading import Findings

PLAIN_OPTIONS = ("address", "netmask", "gateway", "broadcast", "metric", "mtu")
DNS_OPTIONS = {"dns-nameservers": "dns_nameservers", "dns-search": "dns_search"}


def to_v1(text: str, findings: Findings) -> dict[str, object]:
    """The version 1 document that says the same as the `iface` stanzas of `text`."""
    stanzas: list[dict[str, object]] = []
    started: set[str] = set()
    for number, line in enumerate(_joined(text), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] in {"auto", "allow-auto"}:
            started.update(words[1:])
        elif words[0] == "iface":
            if len(words) < 4:
                findings.fault(
                    f"line {number}",
                    "iface needs a name, a family and a method",
                    "Write 'iface eth0 inet dhcp'",
                )
                continue
            stanzas.append({"name": words[1], "family": words[2], "method": words[3]})
        elif stanzas:
            _take(stanzas[-1], words)
    return {"version": 1, "config": _items(stanzas, started, findings)}


def _joined(text: str) -> list[str]:
    """The lines, with those that end in a backslash put together."""
    return text.replace("\\\n", " ").splitlines()


def _take(stanza: dict[str, object], words: list[str]) -> None:
    option, values = words[0], words[1:]
    if option in PLAIN_OPTIONS and values:
        stanza[option] = values[0]
    elif option in DNS_OPTIONS:
        stanza[DNS_OPTIONS[option]] = values
    elif option == "hwaddress" and values:
        stanza["mac_address"] = values[-1]


def _items(
    stanzas: list[dict[str, object]], started: set[str], findings: Findings
) -> list[dict[str, object]]:
    """One item a device, by name; `eth0:1` is one more subnet of eth0."""
    devices: dict[str, dict[str, object]] = {}
    subnets: dict[str, list[object]] = {}
    for stanza in stanzas:
        name = str(stanza["name"]).partition(":")[0]
        kind = "loopback" if name == "lo" else "physical"
        mine = subnets.setdefault(name, [])
        device = devices.setdefault(name, {"type": kind, "name": name, "subnets": mine})
        if "mac_address" in stanza:
            device["mac_address"] = stanza["mac_address"]
        mine.append(_subnet(stanza, str(stanza["name"]) in started, findings))
    return [devices[name] for name in sorted(devices)]


def _subnet(stanza: dict[str, object], is_auto: bool, findings: Findings) -> dict[str, object]:
    kept = {key: stanza[key] for key in (*PLAIN_OPTIONS, *DNS_OPTIONS.values()) if key in stanza}
    method, family = str(stanza["method"]), str(stanza["family"])
    if method == "static" and "address" not in kept:
        findings.fault(str(stanza["name"]), "a static stanza needs an address", "Add an address line")
    six = {"dhcp": "dhcp6", "auto": "ipv6_slaac", "static": "static6"} if family == "inet6" else {}
    return {**kept, "type": six.get(method, method), "control": "auto" if is_auto else "manual"}
