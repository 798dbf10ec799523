"""From what a cloud says about the network to the files of this guest. Pure: text and maps in, files and
notes out.

    parsed = network.parse(kind, document, nics)          # raises InvalidNetwork, UnknownNic
    for mac in network.missing_macs(parsed, nics): ...    # the caller waits for these NICs, then parses again
    name = choose.renderer(available, profile.renderers)  # raises UnknownRenderer, NoRenderer
    done = network.render(parsed, name, distro, have_ip=True)
    done.files                                            # {path: File(content, mode, owner)}
    choose.activation(activator, parsed.network)          # argv tuples, run where bring_up is asked for
    rename.plan(parsed.network, links)                    # `ip link` argv tuples, before the files are
    written fallback.config(links)                                # the v2 document when nobody says
    anything

`kind` is "yaml" for version 1 and 2 (by the `version` key; a `network:` key around it is unwrapped),
"network_data.json" or "eni". `document` is the parsed YAML or JSON, for eni the text. `nics` maps the MACs
of this machine, in lower case, to names; the caller reads /sys. Further inputs become version 1 or 2
documents: `kernel_ip`, `ec2`.

Nothing is half done: either there are files for the whole network, or an exception names every fault and
the network that is there stays. What a renderer cannot express is a note in `Rendered.notes`, for the log.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guest_agent.network.distros import Profile
    from guest_agent.network.parsing import Parsed
    from guest_agent.network.rendered import Rendered, Tools

KINDS = ("yaml", "network_data.json", "eni")
RENDERERS = ("eni", "sysconfig", "netplan", "network-manager", "networkd")


def parse(kind: str, document: object, nics: Mapping[str, str]) -> Parsed:
    """The document as a checked model. Raises InvalidNetwork with every fault, or UnknownNic."""
    from guest_agent.network import parsing

    return parsing.parse(kind, document, nics)


def render(
    parsed: Parsed,
    renderer: str,
    distro: str,
    *,
    have_ip: bool = True,
    is_busybox: bool = False,
    netplan_features: frozenset[str] = frozenset(),
    existing: Mapping[str, str] | None = None,
) -> Rendered:
    """The files of `renderer` on `distro` (as /etc/os-release names it).

    `have_ip`, `is_busybox`: is there an `ip` tool, and is ifup busybox's (eni). `netplan_features`: those of
    `netplan info`. `existing`: path -> text of the files that sysconfig adds to, /etc/resolv.conf and
    /etc/sysconfig/network. Raises InvalidNetwork for what this renderer cannot take at all.
    """
    from guest_agent.network.distros import profile as profile_of

    profile = profile_of(distro)
    if renderer == "netplan":
        from guest_agent.network import netplan

        done = netplan.render(parsed.network, parsed.document, profile, netplan_features)
        return done.replace(notes=parsed.notes + done.notes)
    if parsed.refused_outside_netplan:
        from guest_agent.network.errors import InvalidNetwork

        raise InvalidNetwork(parsed.refused_outside_netplan)
    from guest_agent.network.rendered import Tools

    done = _outside_netplan(parsed, renderer, profile, Tools(have_ip, is_busybox), existing or {})
    return done.replace(notes=parsed.notes + parsed.lost_outside_netplan + done.notes)


def _outside_netplan(
    parsed: Parsed, renderer: str, profile: Profile, tools: Tools, existing: Mapping[str, str]
) -> Rendered:
    if renderer == "networkd":
        from guest_agent.network import networkd

        return networkd.render(parsed.network)
    if renderer == "eni":
        from guest_agent.network import eni

        return eni.render(parsed.network, profile, tools)
    if renderer == "network-manager":
        from guest_agent.network import networkmanager

        return networkmanager.render(parsed.network)
    if renderer == "sysconfig":
        from guest_agent.network import sysconfig

        return sysconfig.render(parsed.network, profile, existing)
    from guest_agent.network.errors import UnknownRenderer

    raise UnknownRenderer("renderer", (renderer,), RENDERERS)


def missing_macs(parsed: Parsed, nics: Mapping[str, str]) -> tuple[str, ...]:
    """MACs that the document asks for and no NIC of this machine has; wait for them before rendering."""
    from guest_agent.network import check

    return check.missing_macs(parsed.network, nics)
