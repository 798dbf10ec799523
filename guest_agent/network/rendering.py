"""The one way out: a checked model to the files of one renderer."""

from __future__ import annotations

from guest_agent.network import distros
from guest_agent.network.errors import InvalidNetwork, UnknownRenderer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guest_agent.network.parsing import Parsed
    from guest_agent.network.rendered import Rendered, Tools


def render(
    parsed: Parsed,
    renderer: str,
    distro: str,
    tools: Tools,
    netplan_features: frozenset[str],
    existing: Mapping[str, str],
) -> Rendered:
    """See `guest_agent.network.render`."""
    profile = distros.profile(distro)
    if renderer == "netplan":
        from guest_agent.network import netplan

        done = netplan.render(parsed.network, parsed.document, profile, netplan_features)
        return done.replace(notes=parsed.notes + done.notes)
    if parsed.refused_outside_netplan:
        raise InvalidNetwork(parsed.refused_outside_netplan)
    done = _outside_netplan(parsed, renderer, profile, tools, existing)
    return done.replace(notes=parsed.notes + parsed.lost_outside_netplan + done.notes)


def _outside_netplan(
    parsed: Parsed, renderer: str, profile: distros.Profile, tools: Tools, existing: Mapping[str, str]
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
    from guest_agent.network import RENDERERS

    raise UnknownRenderer("renderer", (renderer,), RENDERERS)
