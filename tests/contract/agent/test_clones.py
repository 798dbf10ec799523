"""GA-W11: the host keys of clones, made by the real ssh-keygen in a chroot of Debian."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from tests.contract.agent import chroots
from tests.contract.agent.chroots import Booted

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1200)]

AGENT = "/usr/local/bin/guestling-agent"
USER_DATA = b"#cloud-config\nssh_genkeytypes: [ed25519, ecdsa]\n"
TYPES = ("ed25519", "ecdsa")


def _boot(copy: Path, instance_id: str) -> Booted:
    """One boot of a guest of that instance-id."""
    seed = {"meta-data": f"instance-id: {instance_id}\n".encode(), "user-data": USER_DATA}
    booted = chroots.boot(chroots.base("trixie"), copy, AGENT, seed)
    assert [code for code in booted.codes if not code.endswith(": 0")] == [], booted.status
    return booted


def _keys(booted: Booted) -> dict[str, bytes]:
    """The private host keys, each of which must be whole, fit its public half, and be root's alone."""
    assert booted.tree["etc/ssh/ssh_host_rsa_key"].is_gone, "the image came with one"
    found = {}
    for kind in TYPES:
        private = booted.tree[f"etc/ssh/ssh_host_{kind}_key"]
        assert stat.S_IMODE(private.mode) == 0o600
        assert private.owner == (0, 0)
        found[kind] = private.content
    return found


def _clone(copy: Path, target: Path) -> Path:
    """A guest with the disk of another one, host keys, state and all."""
    target.mkdir()
    # With the marks by which an overlay knows what is gone: the keys that the image came with.
    subprocess.run(["cp", "-a", str(copy / "upper"), str(target / "upper")], check=True)
    return target


def test_ga_w11_clones_get_host_keys_of_their_own_and_a_second_boot_keeps_them(tmp_path: Path) -> None:
    template = tmp_path / "template"
    first = _keys(_boot(template, "i-template"))
    assert _keys(_boot(template, "i-template")) == first, "the same instance keeps its keys"
    found = [first]
    for name in ("i-1", "i-2"):
        booted = _boot(_clone(template, tmp_path / name), name)
        found.append(_keys(booted))
        log = booted.tree["var/log/cloud-init.log"].content
        assert not any(key in log for key in found[-1].values())
        for kind in TYPES:
            private = tmp_path / name / f"{kind}"
            private.write_bytes(found[-1][kind])
            private.chmod(0o600)
            derived = subprocess.run(["ssh-keygen", "-yf", str(private)], capture_output=True, check=True)
            public = booted.tree[f"etc/ssh/ssh_host_{kind}_key.pub"].content
            assert public.split()[:2] == derived.stdout.split()[:2]
    everything = [key for keys in found for key in keys.values()]
    assert len(set(everything)) == len(everything), "no two guests share a key"
