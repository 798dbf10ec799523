"""Networks, subnets, ports and their addresses: Neutron's words, the slice that guests need.

An address is handed out by writing its row; the primary key (subnet, address) is what makes it one port's.
Source: Networking API v2.0.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from instance_metadata.values import Addresses
from spawner.errors import Conflict, InvalidSpec, NotFound
from spawner.store.tables import ADDRESSES, FLOATING_IPS, NETWORKS, PORTS, SUBNETS

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAC_PREFIX = "fa:16:3e"
IPV6_MODES = ("slaac", "dhcpv6-stateful", "dhcpv6-stateless")
# How far down a pool a free address is looked for: beyond it the pool counts as exhausted.
SEARCH_LIMIT = 65_536
_SUBNETS = (
    select(SUBNETS)
    .where(SUBNETS.c.network_id == bindparam("network_id"))
    .order_by(SUBNETS.c.created_at, SUBNETS.c.id)
)
_TAKEN = select(ADDRESSES.c.ip_address).where(ADDRESSES.c.subnet_id == bindparam("subnet_id"))
_ADD_PORT = insert(PORTS)
_TAKE = insert(ADDRESSES)


@dataclass(frozen=True)
class FixedIp:
    """One address of a port."""

    subnet_id: str
    ip_address: str


def parse_cidr(cidr: str) -> Network:
    """A network of either family. Raises InvalidSpec for host bits and rubbish."""
    try:
        return ipaddress.ip_network(cidr)
    except ValueError as error:
        raise InvalidSpec("cidr", f"{error}", "Give a network such as 10.0.0.0/24") from None


def first_host(network: Network) -> str:
    """The address that a gateway gets when none is named."""
    return str(network.network_address + 1)


def default_pool(network: Network, gateway: str | None) -> list[dict[str, str]]:
    """All addresses but the network's own, the broadcast address and the gateway."""
    first, last = int(network.network_address) + 1, int(network.broadcast_address)
    if network.version == 4 and network.prefixlen < 31:
        last -= 1
    make = type(network.network_address)
    if gateway is not None and int(ipaddress.ip_address(gateway)) == first:
        return [{"start": str(make(first + 1)), "end": str(make(last))}]
    return [{"start": str(make(first)), "end": str(make(last))}]


def check_subnet(network: Network, gateway: str | None, pools: Sequence[Mapping[str, str]]) -> None:
    """Raise InvalidSpec for a gateway or pool that does not belong to the network."""
    for name, address in (
        *((("gateway_ip", gateway),) if gateway else ()),
        *((f"allocation_pools.{end}", pool[end]) for pool in pools for end in ("start", "end")),
    ):
        try:
            inside = ipaddress.ip_address(address) in network
        except ValueError:
            raise InvalidSpec(name, f"{address!r} is not an address", "Give an IP address") from None
        if not inside:
            raise InvalidSpec(name, f"{address} is not in {network}", "Give an address of the subnet")


def check_routes(routes: Sequence[Mapping[str, str]], nameservers: Sequence[str]) -> None:
    """Raise InvalidSpec for a route or name server that is no address."""
    for route in routes:
        try:
            ipaddress.ip_network(route["destination"])
        except ValueError as error:
            raise InvalidSpec("host_routes.destination", f"{error}", "Give a network, 10.0.0.0/24") from None
    for name, address in (
        *(("host_routes.nexthop", route["nexthop"]) for route in routes),
        *(("dns_nameservers", address) for address in nameservers),
    ):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise InvalidSpec(name, f"{address[:64]!r} is not an address", "Give an IP address") from None


def mac_address(random: bytes) -> str:
    """A MAC address of OpenStack's prefix from three random bytes."""
    return ":".join([MAC_PREFIX, *(f"{byte:02x}" for byte in random[:3])])


# The project of what the cloud itself has: its external network.
NOBODY = ""


def is_external(network: Any) -> bool:
    """Whether a network is where floating IPs come from, and not one for servers."""
    return bool(network.project_id == NOBODY)


def usable_by(project_id: str) -> ColumnElement[bool]:
    """The networks that a project's servers can be on."""
    own = or_(NETWORKS.c.project_id == project_id, NETWORKS.c.shared)
    return and_(own, NETWORKS.c.project_id != NOBODY)


async def get(connection: AsyncConnection, table: Any, what: str, row_id: str) -> Any:
    """A row by its id. Raises NotFound."""
    row = (await connection.execute(select(table).where(table.c.id == row_id))).first()
    if row is None:
        raise NotFound(what, row_id)
    return row


async def choose_addresses(
    connection: AsyncConnection, network_id: str, wanted: Sequence[Mapping[str, str]]
) -> list[FixedIp]:
    """The addresses of a new port: those it asks for, else one of each subnet family of its network.

    Raises Conflict when an address is taken or a pool is exhausted, NotFound, InvalidSpec.
    """
    rows = await connection.execute(_SUBNETS, {"network_id": network_id})
    subnets = {row.id: row for row in rows}
    if not wanted:
        families: dict[int, Any] = {}
        for row in subnets.values():
            families.setdefault(row.ip_version, row)
        wanted = [{"subnet_id": row.id} for row in families.values()]
    given: list[FixedIp] = []
    for each in wanted:
        subnet = _subnet_for(each, subnets)
        taken = await _taken(connection, subnet.id)
        taken.update(other.ip_address for other in given if other.subnet_id == subnet.id)
        address = _wanted_address(each, subnet) or _free_address(subnet, taken)
        if address in taken:
            raise Conflict(f"IP address {address} already allocated in subnet {subnet.id}")
        given.append(FixedIp(subnet.id, address))
    return given


def _subnet_for(wanted: Mapping[str, str], subnets: Mapping[str, Any]) -> Any:
    if wanted.get("subnet_id"):
        if wanted["subnet_id"] not in subnets:
            raise NotFound("Subnet", wanted["subnet_id"])
        return subnets[wanted["subnet_id"]]
    try:
        address = ipaddress.ip_address(wanted.get("ip_address", ""))
    except ValueError:
        raise InvalidSpec("fixed_ips", "neither subnet_id nor ip_address", "Give one of them") from None
    for subnet in subnets.values():
        if address in ipaddress.ip_network(subnet.cidr):
            return subnet
    raise InvalidSpec("fixed_ips", f"{address} is in no subnet of the network", "Give an address of one")


def _wanted_address(wanted: Mapping[str, str], subnet: Any) -> str:
    """The address asked for, in its one spelling; an empty text when any will do. Raises InvalidSpec."""
    if not wanted.get("ip_address"):
        return ""
    try:
        address = ipaddress.ip_address(wanted["ip_address"])
    except ValueError:
        raise InvalidSpec(
            "fixed_ips.ip_address", f"{wanted['ip_address'][:64]!r} is not an address", "Give an IP address"
        ) from None
    if address not in ipaddress.ip_network(subnet.cidr):
        raise InvalidSpec("fixed_ips.ip_address", f"{address} is not in {subnet.cidr}", "Give one of it")
    return str(address)


async def _taken(connection: AsyncConnection, subnet_id: str) -> set[str]:
    """The addresses of a subnet that ports have, each in its one spelling."""
    return set((await connection.execute(_TAKEN, {"subnet_id": subnet_id})).scalars())


def _free_address(subnet: Any, taken: Collection[str]) -> str:
    gateway = ipaddress.ip_address(subnet.gateway_ip) if subnet.gateway_ip else None
    for count, address in enumerate(_pool(subnet.allocation_pools)):
        if address != gateway and str(address) not in taken:
            return str(address)
        if count > SEARCH_LIMIT:
            break
    raise Conflict(f"No more IP addresses available on network {subnet.network_id}.")


def _pool(pools: Sequence[Mapping[str, str]]) -> Iterator[Address]:
    for pool in pools:
        address, last = ipaddress.ip_address(pool["start"]), ipaddress.ip_address(pool["end"])
        while address <= last:  # type: ignore[operator]  # both are of one family: check_subnet saw to it
            yield address
            address += 1


async def add_port(
    connection: AsyncConnection,
    *,
    port_id: str,
    network_id: str,
    project_id: str,
    mac: str,
    now: float,
    fixed_ips: Sequence[Mapping[str, str]] = (),
    **fields: object,
) -> list[FixedIp]:
    """Make a port with its addresses, on a network that is there. Raises what `choose_addresses` does."""
    given = await choose_addresses(connection, network_id, fixed_ips)
    document = [{"subnet_id": each.subnet_id, "ip_address": each.ip_address} for each in given]
    row = {"id": port_id, "network_id": network_id, "project_id": project_id, "mac_address": mac}
    await connection.execute(_ADD_PORT, {**row, "fixed_ips": document, "created_at": now, **fields})
    if document:
        await connection.execute(_TAKE, [{**each, "port_id": port_id} for each in document])
    return given


async def remove_port(connection: AsyncConnection, port_id: str) -> None:
    """Take a port and its addresses away; floating IPs in front of it are free again."""
    await connection.execute(
        FLOATING_IPS.update()
        .where(FLOATING_IPS.c.port_id == port_id)
        .values(port_id=None, fixed_ip_address=None)
    )
    await connection.execute(delete(ADDRESSES).where(ADDRESSES.c.port_id == port_id))
    await connection.execute(delete(PORTS).where(PORTS.c.id == port_id))


async def ports_of_device(connection: AsyncConnection, device_id: str) -> tuple[Any, ...]:
    """The ports of a server, in the order in which they were made."""
    return tuple((await ports_of_devices(connection, [device_id])).get(device_id, ()))


async def ports_of_devices(connection: AsyncConnection, device_ids: Sequence[str]) -> dict[str, list[Any]]:
    """Server -> its ports, in the order in which they were made; none for one that has none."""
    query = select(PORTS).where(PORTS.c.device_id.in_(device_ids)).order_by(PORTS.c.created_at, PORTS.c.id)
    found: dict[str, list[Any]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.device_id, []).append(row)
    return found


async def addresses_of_devices(connection: AsyncConnection) -> dict[str, list[str]]:
    """Server -> the addresses of its ports."""
    found: dict[str, list[str]] = {}
    for row in await connection.execute(select(PORTS.c.device_id, PORTS.c.fixed_ips)):
        found.setdefault(row.device_id, []).extend(each["ip_address"] for each in row.fixed_ips)
    return found


async def remove_network(connection: AsyncConnection, network_id: str) -> None:
    """Take a network and its subnets away. Raises Conflict while it has ports."""
    count = select(func.count()).select_from(PORTS).where(PORTS.c.network_id == network_id)
    if (await connection.execute(count)).scalar():
        raise Conflict(
            f"Unable to complete operation on network {network_id}."
            " There are one or more ports still in use on the network."
        )
    await connection.execute(delete(SUBNETS).where(SUBNETS.c.network_id == network_id))
    await connection.execute(delete(NETWORKS).where(NETWORKS.c.id == network_id))


async def remove_subnet(connection: AsyncConnection, subnet_id: str) -> None:
    """Take a subnet away. Raises Conflict while an address of it is in use."""
    count = select(func.count()).select_from(ADDRESSES).where(ADDRESSES.c.subnet_id == subnet_id)
    if (await connection.execute(count)).scalar():
        raise Conflict(
            f"Unable to complete operation on subnet {subnet_id}: One or more ports have an IP"
            " allocation from this subnet."
        )
    await connection.execute(delete(SUBNETS).where(SUBNETS.c.id == subnet_id))


def addresses(ports: Sequence[Any], in_front: Mapping[tuple[str, str], str]) -> Addresses:
    """The addresses of a server's ports, and the floating IPs `in_front` of them in the same order.

    Source: nova.api.ec2.ec2utils.get_ip_info_for_instance_from_nw_info; metadata-service.md 5.3.
    """
    fixed = [(port.id, str(each["ip_address"])) for port in ports for each in port.fixed_ips]
    of_family: dict[int, list[str]] = {4: [], 6: []}
    for _port, address in fixed:
        of_family[ipaddress.ip_address(address).version].append(address)
    floating = [in_front[each] for each in fixed if each in in_front]
    return Addresses(tuple(of_family[4]), tuple(of_family[6]), tuple(floating))


def network_data(
    ports: Sequence[Any], subnets: Mapping[str, Any], mtu: Mapping[str, int]
) -> dict[str, list[dict[str, Any]]]:
    """`network_data.json` of a server's ports. Source: metadata-service.md 4.4, OS-9."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    services: list[dict[str, str]] = []
    for index, port in enumerate(ports):
        link = f"tap{port.id[:11]}"
        links.append(
            {
                "id": link,
                "type": "phy",
                "vif_id": port.id,
                "ethernet_mac_address": port.mac_address,
                "mtu": mtu.get(port.network_id, 1500),
            }
        )
        for fixed in port.fixed_ips:
            entry = _network_entry(fixed, subnets[fixed["subnet_id"]])
            networks.append(
                {"id": f"network{len(networks)}", "link": link, "network_id": port.network_id, **entry}
            )
            for address in subnets[fixed["subnet_id"]].dns_nameservers:
                service = {"type": "dns", "address": address}
                if service not in services:
                    services.append(service)
        if not port.fixed_ips:
            networks.append(
                {"id": f"network{index}", "link": link, "type": "ipv4_dhcp", "network_id": port.network_id}
            )
    return {"links": links, "networks": networks, "services": services}


def _network_entry(fixed: Mapping[str, str], subnet: Any) -> dict[str, Any]:
    network = ipaddress.ip_network(subnet.cidr)
    if subnet.ip_version == 4 and subnet.enable_dhcp:
        return {"type": "ipv4_dhcp"}
    family = f"ipv{subnet.ip_version}"
    kind = f"{family}_{subnet.ipv6_address_mode}" if subnet.ipv6_address_mode else family
    any_address = "0.0.0.0" if subnet.ip_version == 4 else "::"  # noqa: S104  # a route, not a listener
    routes = []
    if subnet.gateway_ip:
        routes.append({"network": any_address, "netmask": any_address, "gateway": subnet.gateway_ip})
    for route in subnet.host_routes:
        destination = ipaddress.ip_network(route["destination"])
        routes.append(
            {
                "network": str(destination.network_address),
                "netmask": str(destination.netmask),
                "gateway": route["nexthop"],
            }
        )
    return {
        "type": kind,
        "ip_address": fixed["ip_address"],
        "netmask": str(network.netmask),
        "routes": routes,
        "services": [{"type": "dns", "address": address} for address in subnet.dns_nameservers],
    }
