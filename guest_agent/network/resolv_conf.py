"""/etc/resolv.conf for sysconfig: what is there stays, the name servers of the network are added."""

from __future__ import annotations

from guest_agent.network.model import Dns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Network

HEADER = "; Created by cloud-init automatically, do not edit.\n;\n"


def all_dns(network: Network) -> Dns:
    """The name servers of subnets, interfaces and the whole network, each once, in that order."""
    found: list[Dns] = []
    for one in network.interfaces:
        found.extend(subnet.dns for subnet in one.subnets)
        found.append(one.dns or Dns())
    found.append(network.dns)
    servers = dict.fromkeys(server for dns in found for server in dns.nameservers)
    return Dns(tuple(servers), tuple(dict.fromkeys(domain for dns in found for domain in dns.search)))


def text(dns: Dns, existing: str) -> str:
    """The file with `dns` added to what `existing` says."""
    others: list[str] = []
    servers: list[str] = []
    search: list[str] = []
    for line in existing.removeprefix(HEADER).splitlines():
        words = line.split()
        if words[:1] == ["nameserver"]:
            servers.extend(words[1:2])
        elif words[:1] == ["search"]:
            search.extend(words[1:])
        else:
            others.append(line)
    lines = [*others, *(f"nameserver {one}" for one in dict.fromkeys((*servers, *dns.nameservers)))]
    domains = list(dict.fromkeys((*search, *dns.search)))
    if domains:
        lines.append(f"search {' '.join(domains)}")
    return HEADER + "".join(f"{line}\n" for line in lines)
