"""The topologies of fixtures/network: a directory each, with the input and what renderers make of it."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from boot_stages.value import Value
from guest_agent.network import parse, render
from guest_agent.network.parsing import Parsed
from guest_agent.network.rendered import Rendered

FIXTURES = Path(__file__).parents[4] / "fixtures" / "network"
INPUTS = {"input.yaml": "yaml", "network_data.json": "network_data.json"}


class Target(Value):
    """A renderer on the distribution it is usual on; `name` names the golden file."""

    name: str
    renderer: str
    distro: str
    have_ip: bool = True


TARGETS = (
    Target("eni", "eni", "debian"),
    Target("eni-without-ip", "eni", "alpine", have_ip=False),
    Target("netplan", "netplan", "ubuntu"),
    Target("networkd", "networkd", "debian"),
    Target("network-manager", "network-manager", "fedora"),
    Target("sysconfig", "sysconfig", "rhel"),
    Target("sysconfig-suse", "sysconfig", "opensuse-leap"),
)


def names() -> list[str]:
    return sorted(path.name for path in FIXTURES.iterdir() if (path / "nics.json").is_file())


def parsed(name: str) -> Parsed:
    """The topology as a model, from whichever input its directory has."""
    here = FIXTURES / name
    path = next(here / file for file in INPUTS if (here / file).is_file())
    nics = json.loads((here / "nics.json").read_text())
    text = path.read_text()
    document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    return parse(INPUTS[path.name], document, nics)


def rendered(name: str, target: Target) -> Rendered:
    return render(parsed(name), target.renderer, target.distro, have_ip=target.have_ip)


def as_text(done: Rendered) -> str:
    """All files and notes in one text, in the form of the golden files."""
    parts = [
        f"==> {path} {done.files[path].mode:04o}\n{done.files[path].content.decode()}"
        for path in sorted(done.files)
    ]
    return "".join(parts) + "".join(f"==> {note.level}\n{note.text}\n" for note in done.notes)
