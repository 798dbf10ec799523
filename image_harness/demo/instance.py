"""The instance that the demo boots, and the claims that its report is held against."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from image_harness.changes import Changed
from image_harness.instances import describe
from instance_metadata.instance import Instance

USER_DATA = Path(__file__).parent / "user-data.yaml"
NAME = "web-1"
# Public halves; the private ones were thrown away. The first is the instance's key pair.
KEY_PAIR = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICuyxv/Xdf9KJiLPTlJyDHoEHGm/PbRUe8RvVEgqeajQ demo-key"
_ALICES_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINpliNO7AsyASas0Nf3VRuwhx1lY26GAkVQU2k9PB4CD alice@demo"


@dataclass(frozen=True)
class Claim:
    """Something that was asked for, in a newcomer's words, and the file that proves it.

    `content` None: the file must be there, whatever is in it.
    """

    text: str
    path: str
    content: bytes | None = None
    mode: str = "644"
    owner: str = "0:0"

    def holds(self, files: Mapping[str, Changed]) -> bool:
        """Whether the guest has this file with this content, mode and owner."""
        file = files.get(self.path)
        if file is None or (file.mode, file.owner) != (self.mode, self.owner):
            return False
        return self.content is None or file.content == hashlib.sha256(self.content).hexdigest()


def _line(text: str) -> bytes:
    return f"{text}\n".encode()


CLAIMS = (
    Claim("host name set to web-1", "/etc/hostname", b"web-1\n"),
    Claim("user alice created", "/home/alice", mode="755", owner="1000:1000"),
    Claim("her SSH key in place", "/home/alice/.ssh/authorized_keys", _line(_ALICES_KEY), "600", "1000:1000"),
    Claim("sudo without a password allowed", "/etc/sudoers.d/90-cloud-init-users", mode="440"),
    Claim(
        "key pair given to user debian",
        "/home/debian/.ssh/authorized_keys",
        _line(KEY_PAIR),
        "600",
        "1001:1001",
    ),
    Claim(
        "file written",
        "/etc/motd",
        b"Configured by guestling, from a request for a server to this file.\n",
    ),
    Claim("command run", "/srv/www/index.html", b"web-1 serves alice\n"),
)


def instance(uuid: UUID) -> Instance:
    """The demo's instance: one card with DHCP, one key pair, the demo's user data."""
    return describe(NAME, uuid, USER_DATA.read_bytes(), (KEY_PAIR,))
