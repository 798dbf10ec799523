"""The one model of a guest's network that every input is parsed into and every renderer reads.

A `Network` is a tuple of `Interface` values in document order, plus routes and name servers that belong to
no interface. It is what v1 of the network config can say, with the few v2 additions that renderers use.
Values are checked by `check.py` before a renderer sees them. Source of the rules: guest agent contract,
4.2, 4.3.
"""

from __future__ import annotations

from boot_stages.value import Value

TYPE_CHECKING = False

PHYSICAL = "physical"
LOOPBACK = "loopback"
INFINIBAND = "infiniband"
BOND = "bond"
BRIDGE = "bridge"
VLAN = "vlan"

DHCP4 = "dhcp4"
DHCP6 = "dhcp6"
STATIC = "static"
SLAAC = "ipv6_slaac"
STATELESS = "ipv6_dhcpv6-stateless"
STATEFUL = "ipv6_dhcpv6-stateful"
MANUAL = "manual"

# The forms in which an interface configures IPv6 by itself, other than plain DHCPv6.
IPV6_AUTOMATIC = (SLAAC, STATELESS, STATEFUL)
IPV6_DYNAMIC = (DHCP6, *IPV6_AUTOMATIC)
SUBNET_KINDS = (DHCP4, DHCP6, STATIC, SLAAC, STATELESS, STATEFUL, MANUAL, LOOPBACK)


class Note(Value):
    """Something the reader of the log should know: `level` is INFO, WARNING or DEPRECATED."""

    level: str
    text: str


class Dns(Value):
    """Name servers and search domains, in order of preference."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.nameservers or self.search)


class Route(Value):
    """A route to `network`/`prefix`; without a gateway the network is on the link itself.

    `on_link`: the gateway answers on the link although no address of ours is in its network.
    """

    network: str
    prefix: int
    gateway: str = ""
    metric: int | None = None
    mtu: int | None = None
    table: int | None = None
    on_link: bool = False

    @property
    def destination(self) -> str:
        return f"{self.network}/{self.prefix}"

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.network

    @property
    def is_default(self) -> bool:
        return self.prefix == 0 and self.network in {"0.0.0.0", "::"}  # noqa: S104 - a destination, not a bind


class Subnet(Value):
    """One way in which an interface gets an address; `kind` is one of SUBNET_KINDS.

    `address` and `prefix` are set exactly where `kind` is STATIC. `declared_family` is "ipv4" or "ipv6" where
    the input named the family itself (network_data), else "".
    """

    kind: str
    address: str = ""
    prefix: int = 0
    gateway: str = ""
    broadcast: str = ""
    pointopoint: str = ""
    scope: str = ""
    metric: int | None = None
    mtu: int | None = None
    control: str = ""
    dns: Dns = Dns()
    routes: tuple[Route, ...] = ()
    declared_family: str = ""

    @property
    def is_ipv6(self) -> bool:
        return self.kind in IPV6_DYNAMIC or ":" in self.address

    @property
    def gateway_route(self) -> tuple[Route, ...]:
        """The default route that `gateway` means; none where there is no gateway."""
        if not self.gateway:
            return ()
        anywhere = "::" if self.is_ipv6 else "0.0.0.0"  # noqa: S104 - a destination, not a bind
        return (Route(anywhere, 0, self.gateway, self.metric),)

    @property
    def cidr(self) -> str:
        return f"{self.address}/{self.prefix}"


class Parameter(Value):
    """An option of a bond or bridge: `key` as v1 names it with dashes (`bond-miimon`), `written` as the
    input did.

    The spelling matters, because cloud-init's renderers do not all take every spelling and we write
    what they write.
    """

    key: str
    value: str | int | bool | tuple[str, ...]
    written: str


class PortValue(Value):
    """A number that a bridge keeps for one of its ports."""

    port: str
    value: int


class Bridge(Value):
    """What makes an interface a bridge. Times are seconds."""

    ports: tuple[str, ...] = ()
    stp: bool | None = None
    parameters: tuple[Parameter, ...] = ()
    path_cost: tuple[PortValue, ...] = ()
    port_priority: tuple[PortValue, ...] = ()


class Bond(Value):
    """What makes an interface a bond. `members` are keys of other interfaces, as the input listed them."""

    members: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()


class Vlan(Value):
    """What makes an interface a VLAN; `link` is the key of the interface below."""

    id: int
    link: str


class Override(Value):
    """One key of `dhcp4-overrides` or `dhcp6-overrides`."""

    key: str
    value: str | int | bool


class Rule(Value):
    """A `routing-policy` rule of v2 as (key, value) pairs, in the document's order."""

    pairs: tuple[tuple[str, str], ...]


class Interface(Value):
    """One network device. `key` names it in the document, `name` in the guest; they differ only for v2
    ethernets.

    `extra` holds what v1 `params` of a plain device say beyond driver and device_id.
    """

    key: str
    name: str
    kind: str = PHYSICAL
    has_config_id: bool = False
    mac: str = ""
    mtu: int | None = None
    driver: str = ""
    device_id: str = ""
    accept_ra: bool | None = None
    wakeonlan: bool | None = None
    optional: bool | None = None
    keep_configuration: bool | None = None
    subnets: tuple[Subnet, ...] = ()
    dns: Dns | None = None
    bond: Bond | None = None
    bridge: Bridge | None = None
    vlan: Vlan | None = None
    bond_master: str = ""
    extra: tuple[Parameter, ...] = ()
    dhcp4_overrides: tuple[Override, ...] = ()
    dhcp6_overrides: tuple[Override, ...] = ()
    dhcp4_domain: str = ""
    dhcp6_domain: str = ""
    rules: tuple[Rule, ...] = ()


class Network(Value):
    """The whole: `version` is that of the document it was read from (1 or 2)."""

    version: int
    interfaces: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()

    def interface(self, key: str) -> Interface | None:
        """The interface the document calls `key`, or None."""
        for one in self.interfaces:
            if one.key == key:
                return one
        return None

    def name_of(self, key: str) -> str:
        """What the guest calls the interface that the document calls `key`; an unknown one is taken
        by its key.
        """
        found = self.interface(key)
        return found.name if found else key

    def of_kind(self, kind: str) -> tuple[Interface, ...]:
        return tuple(one for one in self.interfaces if one.kind == kind)

    @property
    def uses_ipv6(self) -> bool:
        subnets = (subnet for one in self.interfaces for subnet in one.subnets)
        return any(subnet.is_ipv6 and subnet.kind not in IPV6_AUTOMATIC for subnet in subnets)

    @property
    def has_default_route(self) -> bool:
        owned = (route for one in self.interfaces for subnet in one.subnets for route in subnet.routes)
        return any(route.is_default for route in (*self.routes, *owned))
