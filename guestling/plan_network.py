"""What the network stage would write: the network files of a plan, by the agent's own renderers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guestling.user_data_files import UnreadableDocument


def planned(document: Path, renderer: str | None, distro: str) -> dict[str, Any]:
    """The module `network` of a plan, in the form of the others: its files as actions, its notes as reports.

    `document` is network-config version 1 or 2, or network_data.json; its cards are named eth0, eth1, ... in
    the order of their MACs there, as nobody can know the names on a machine that is not there.
    Raises UnreadableDocument with every fault.
    """
    from boot_stages.actions import Report, WriteFile, to_json
    from guest_agent import network
    from guest_agent.errors import AgentError
    from guest_agent.network.distros import profile
    from guest_agent.network.errors import NetworkError
    from guest_agent.yaml_guard import load

    try:
        content = document.read_bytes()
        value = load(content, str(document))
        kind = "network_data.json" if isinstance(value, dict) and "links" in value else "yaml"
        chosen = renderer or (profile(distro).renderers or network.RENDERERS)[0]
        parsed = network.parse(kind, value, _names(value))
        done = network.render(parsed, chosen, distro)
    except (OSError, AgentError, NetworkError) as error:
        raise UnreadableDocument(f"{document}: {error}") from error
    actions = [
        WriteFile(path, file.content, file.mode, file.owner or "root:root")
        for path, file in sorted(done.files.items())
    ]
    notes = [Report(note.level, note.text) for note in (*parsed.notes, *done.notes)]
    plain = [{**to_json(each), "summary": each.summary(), "opaque": False} for each in (*actions, *notes)]
    return {"stage": "local", "module": f"network ({chosen})", "actions": plain}


def _names(value: object) -> dict[str, str]:
    """MAC -> eth0, eth1, ... for every card that the document names by MAC alone."""
    links = value.get("links", ()) if isinstance(value, dict) else ()
    macs = [
        str(link["ethernet_mac_address"]).lower()
        for link in links
        if isinstance(link, dict) and link.get("ethernet_mac_address") and link.get("type") != "bond"
    ]
    return {mac: f"eth{number}" for number, mac in enumerate(dict.fromkeys(macs))}
