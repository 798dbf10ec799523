"""User data whose first bytes no guest recognises is silently ignored: say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.findings import warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.findings import Finding

_RECOGNISED = (
    b"#cloud-config",
    b"#!",
    b"#include",
    b"#part-handler",
    b"#cloud-boothook",
    b"#upstart-job",
    b"## template: jinja",
    b"content-type:",
    b"mime-version:",
    b"from ",
    b"from:",
    b"to:",
    b"\x1f\x8b",
    b"#ps1",  # cloudbase-init
    b"rem cmd",
)


def check_user_data(path: str, content: bytes) -> Iterator[Finding]:
    """A warning where the user data at `path` begins like nothing that cloud-init handles."""
    head = content[:256].lstrip()[:64].lower()
    if head and not head.startswith(_RECOGNISED):
        problem = "its first line is none that cloud-init handles, so it is ignored"
        yield warning("drive-user-data-ignored", path, problem, "Begin it with #cloud-config or #!/bin/sh")
