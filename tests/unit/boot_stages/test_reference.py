"""The reference pages are what the declarations make, and every example in them plans."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from boot_stages.cloud_config_schema import schema
from boot_stages.reference import pages, words_of
from boot_stages.reference_examples import EXAMPLES
from boot_stages.registry import BY_NAME, MODULES, Later
from boot_stages.runner import plan_module
from boot_stages.validate import deprecations_of, faults_of

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
SUPPORTED = [entry for entry in MODULES if not isinstance(entry, Later)]
# What an example needs of the guest to have something to do.
FACTS: dict[str, dict[str, Any]] = {
    "ansible": {},
    "disable_ec2_metadata": {"have": ["ip"]},
    "disk_setup": {"files": {"/dev/vdb": ""}},
    "grub_dpkg": {},
    "growpart": {"have": ["growpart"]},
    "install_hotplug": {"have": ["udevadm"], "cloud": {"name": "openstack"}},
    "phone_home": {
        "files": {"/etc/ssh/ssh_host_ed25519_key.pub": "ssh-ed25519 AAAA"},
        "pages": {"https://inventory.example.org/i-1/": ""},
    },
    "timezone": {"files": {"/usr/share/zoneinfo/Europe/Berlin": "TZif"}},
    "apt_configure": {"have": ["apt-get", "gpg"], "files": {"/etc/os-release": "VERSION_CODENAME=trixie\n"}},
    "users_groups": {"files": {"/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"}},
    "snap": {"have": ["snap"]},
    "ssh_import_id": {"have": ["ssh-import-id", "sudo"]},
}


def test_pages_are_up_to_date() -> None:
    made = pages(*counted(ROOT / "fixtures"))
    if os.environ.get("GUESTLING_GOLDEN") == "rewrite":
        for name, content in made.items():
            (REFERENCE / name).write_text(content)
    committed = {name: (REFERENCE / name).read_text() for name in made if (REFERENCE / name).exists()}
    assert committed == made, "run ./dev golden and read the difference"
    assert {path.stem for path in (REFERENCE / "modules").glob("*.md")} == {each.name for each in SUPPORTED}


def counted(fixtures: Path) -> tuple[dict[str, int], frozenset[str]]:
    """How many golden cases each module has, and which modules the effect tests run."""
    cases = {place.name: len(list(place.glob("*.json"))) for place in (fixtures / "modules").iterdir()}
    keys: set[str] = set()
    for path in (fixtures / "effects").glob("*.yaml"):
        keys.update(yaml.safe_load(path.read_text()) or {})
    return cases, frozenset(entry.name for entry in MODULES if keys.intersection(entry.keys))


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_is_good_and_plans(name: str, make_guest: Any) -> None:
    config = yaml.safe_load(EXAMPLES[name]) or {}
    assert faults_of(config, schema()) == []
    assert deprecations_of(config, schema()) == []
    entry = BY_NAME[name]
    distro = entry.families[0] if entry.families else "debian"
    facts = FACTS.get(name, {})
    guest = make_guest(distro={"redhat": "fedora"}.get(distro, distro), system=config, **facts)
    plan, faults = plan_module(entry, config, guest.facts)
    assert faults == []
    bad = [action.summary() for action in plan if action.summary().startswith(("warning:", "fail:"))]
    assert bad == []
    for action in plan:
        guest.effects.apply(action)


def test_every_supported_module_has_an_example() -> None:
    assert set(EXAMPLES) == {entry.name for entry in SUPPORTED}


def test_types_in_words() -> None:
    assert words_of({"type": "array", "items": {"type": ["string", "null"]}}) == "list of text or null"
    assert (
        words_of({"oneOf": [{"enum": [False, "off"]}, {"type": "integer"}]}) == "`false` or `off` or number"
    )
    assert words_of({}) == "anything"
