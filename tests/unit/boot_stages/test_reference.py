"""The reference pages are what the declarations make, and every example in them plans."""

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from boot_stages.cloud_config_schema import schema
from boot_stages.errors import LeftOut
from boot_stages.reference import pages, words_of
from boot_stages.reference_examples import EXAMPLES
from boot_stages.registry import BY_NAME, MODULES, Entry, Later
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
    made = pages(proofs_of(ROOT / "fixtures"))
    if os.environ.get("GUESTLING_GOLDEN") == "rewrite":
        for name, content in made.items():
            (REFERENCE / name).write_text(content)
    committed = {name: (REFERENCE / name).read_text() for name in made if (REFERENCE / name).exists()}
    assert committed == made, "run ./dev golden and read the difference"
    assert {path.stem for path in (REFERENCE / "modules").glob("*.md")} == {each.name for each in SUPPORTED}


# Directory of fixtures to what a module is called whose keys stand in one of its cloud-configs.
PROOFS = {
    "effects/*.yaml": "chroot",
    "alpine/*.yaml": "Alpine",
    "programs/*.yaml": "program",
    "disks/*.yaml": "disk",
    "differential/*.txt": "side by side",
}


def proofs_of(fixtures: Path) -> dict[str, list[str]]:
    """How each module is tested, by the fixtures that name its keys; one without keys runs in every boot."""
    found: dict[str, list[str]] = {}
    for entry in MODULES:
        count = len(list((fixtures / "modules" / entry.name).glob("*.json")))
        found[entry.name] = [f"{count} cases"]
    for pattern, word in PROOFS.items():
        keys = {key for path in fixtures.glob(pattern) for key in keys_of(path)}
        for entry in MODULES:
            whole_boots = word == "side by side" and not entry.keys
            if keys.intersection(entry.keys) or whole_boots:
                found[entry.name].append(word)
    return found


def keys_of(path: Path) -> set[str]:
    """The keys of a cloud-config; of a document in parts, or of a script, none."""
    text = path.read_text()
    if path.suffix == ".txt" and not text.startswith("#cloud-config"):
        return set()
    return set(yaml.safe_load(text) or {})


# snapd runs in no chroot.
PLANS_ONLY = {"snap"}


@pytest.mark.parametrize("entry", SUPPORTED, ids=lambda entry: entry.name)
def test_every_module_is_proved_by_more_than_its_plans(entry: Entry) -> None:
    words = proofs_of(ROOT / "fixtures")[entry.name]
    assert (len(words) > 1) is (entry.name not in PLANS_ONLY), words


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
        with contextlib.suppress(LeftOut):  # a reboot that nobody needs
            guest.effects.apply(action)


def test_every_supported_module_has_an_example() -> None:
    assert set(EXAMPLES) == {entry.name for entry in SUPPORTED}


def test_types_in_words() -> None:
    assert words_of({"type": "array", "items": {"type": ["string", "null"]}}) == "list of text or null"
    assert (
        words_of({"oneOf": [{"enum": [False, "off"]}, {"type": "integer"}]}) == "`false` or `off` or number"
    )
    assert words_of({}) == "anything"
