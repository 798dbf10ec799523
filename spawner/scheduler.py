"""Which host takes a server: filters throw out, weighers rank. Pure; one function each, one table each.

The scheduler sees hosts as placement and the drivers describe them, and says of each host that fell which
filter it fell to, which `server create --explain` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Host:
    """A host as the scheduler sees it; `free` and `total` by resource class, ratio and reserve applied.

    `servers`: how many are on it.
    """

    name: str
    provider: str
    zone: str = "nova"
    enabled: bool = True
    disabled_reason: str = ""
    free: Mapping[str, int] = field(default_factory=dict)
    total: Mapping[str, int] = field(default_factory=dict)
    traits: frozenset[str] = frozenset()
    servers: int = 0
    architectures: frozenset[str] = frozenset({"x86_64"})
    hypervisor: str = "qemu"


@dataclass(frozen=True)
class Request:
    """What a server asks for. `group_hosts` are the hosts that members of its server group are on."""

    resources: Mapping[str, int]
    zone: str = ""
    host: str = ""
    required_traits: frozenset[str] = frozenset()
    forbidden_traits: frozenset[str] = frozenset()
    image_architecture: str = ""
    image_hypervisor: str = ""
    group_policy: str = ""
    group_hosts: Mapping[str, int] = field(default_factory=dict)
    max_per_host: int = 1
    ignore_hosts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """What became of one host: its weight, or the filter it fell to and why."""

    host: str
    filter: str = ""
    reason: str = ""
    weight: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the host can take the server."""
        return not self.filter


@dataclass(frozen=True)
class Selection:
    """The hosts that can take the server, best first, and what became of each host asked."""

    hosts: tuple[Host, ...]
    verdicts: tuple[Verdict, ...]


def _is_enabled(host: Host, _request: Request) -> str:
    return "" if host.enabled else f"disabled: {host.disabled_reason or 'no reason given'}"


def _is_asked_for(host: Host, request: Request) -> str:
    if request.host and host.name != request.host:
        return f"{request.host} was asked for by name"
    return "it failed before" if host.name in request.ignore_hosts else ""


def _in_zone(host: Host, request: Request) -> str:
    if request.zone and host.zone != request.zone:
        return f"in zone {host.zone}, {request.zone} is asked for"
    return ""


def _has_resources(host: Host, request: Request) -> str:
    short = [
        f"{name}: {needed} needed, {host.free.get(name, 0)} free"
        for name, needed in sorted(request.resources.items())
        if needed > host.free.get(name, 0)
    ]
    return "; ".join(short)


def _has_traits(host: Host, request: Request) -> str:
    missing = sorted(request.required_traits - host.traits)
    unwanted = sorted(request.forbidden_traits & host.traits)
    words = [f"lacks {', '.join(missing)}"] if missing else []
    words += [f"has {', '.join(unwanted)}"] if unwanted else []
    return "; ".join(words)


def _fits_image(host: Host, request: Request) -> str:
    if request.image_architecture and request.image_architecture not in host.architectures:
        return (
            f"the image is for {request.image_architecture}, this is {', '.join(sorted(host.architectures))}"
        )
    if request.image_hypervisor and request.image_hypervisor != host.hypervisor:
        return f"the image is for {request.image_hypervisor}, this is {host.hypervisor}"
    return ""


def _keeps_affinity(host: Host, request: Request) -> str:
    if request.group_policy == "affinity" and request.group_hosts and host.name not in request.group_hosts:
        return f"the group is on {', '.join(sorted(request.group_hosts))}"
    return ""


def _keeps_anti_affinity(host: Host, request: Request) -> str:
    there = request.group_hosts.get(host.name, 0)
    if request.group_policy == "anti-affinity" and there >= request.max_per_host:
        return f"{there} of the group are here, at most {request.max_per_host} may be"
    return ""


Filter = Callable[[Host, Request], str]

# In this order: the cheap and telling ones first. Each gives the reason against a host, or an empty text.
FILTERS: tuple[tuple[str, Filter], ...] = (
    ("ComputeFilter", _is_enabled),
    ("RequestedHostFilter", _is_asked_for),
    ("AvailabilityZoneFilter", _in_zone),
    ("ImagePropertiesFilter", _fits_image),
    ("TraitsFilter", _has_traits),
    ("ServerGroupAffinityFilter", _keeps_affinity),
    ("ServerGroupAntiAffinityFilter", _keeps_anti_affinity),
    ("ResourcesFilter", _has_resources),
)


def _free_share(name: str) -> Callable[[Host, Request], float]:
    def weigh(host: Host, _request: Request) -> float:
        total = host.total.get(name, 0)
        return host.free.get(name, 0) / total if total else 0.0

    return weigh


def _few_servers(host: Host, _request: Request) -> float:
    return 1.0 / (1 + host.servers)


def _soft_affinity(host: Host, request: Request) -> float:
    if request.group_policy != "soft-affinity" or not request.group_hosts:
        return 0.0
    return request.group_hosts.get(host.name, 0) / max(request.group_hosts.values())


def _soft_anti_affinity(host: Host, request: Request) -> float:
    if request.group_policy != "soft-anti-affinity" or not request.group_hosts:
        return 0.0
    return 1.0 - request.group_hosts.get(host.name, 0) / max(request.group_hosts.values())


# Name, how much it counts, the function: 0.0 to 1.0, more is better. Memory spreads servers, as in Nova.
WEIGHERS: tuple[tuple[str, float, Callable[[Host, Request], float]], ...] = (
    ("RAMWeigher", 1.0, _free_share("MEMORY_MB")),
    ("CPUWeigher", 1.0, _free_share("VCPU")),
    ("DiskWeigher", 1.0, _free_share("DISK_GB")),
    ("NumInstancesWeigher", 0.1, _few_servers),
    ("SoftAffinityWeigher", 10.0, _soft_affinity),
    ("SoftAntiAffinityWeigher", 10.0, _soft_anti_affinity),
)


def judge(host: Host, request: Request) -> Verdict:
    """The first filter that a host falls to, or its weight."""
    for name, why_not in FILTERS:
        reason = why_not(host, request)
        if reason:
            return Verdict(host.name, name, reason)
    return Verdict(host.name, weight=sum(factor * weigh(host, request) for _, factor, weigh in WEIGHERS))


def select(request: Request, hosts: Sequence[Host]) -> Selection:
    """The hosts that can take a server, best first; equal weights in the order of names, to be repeatable."""
    verdicts = tuple(judge(host, request) for host in hosts)
    weights = {verdict.host: verdict.weight for verdict in verdicts if verdict.passed}
    good = [host for host in hosts if host.name in weights]
    return Selection(tuple(sorted(good, key=lambda host: (-weights[host.name], host.name))), verdicts)


def explain(selection: Selection) -> str:
    """The verdicts as text, one host a line."""
    lines = [
        f"{verdict.host}: weight {verdict.weight:.3f}"
        if verdict.passed
        else f"{verdict.host}: {verdict.filter}: {verdict.reason}"
        for verdict in selection.verdicts
    ]
    return "\n".join(lines) or "there is no host at all"
