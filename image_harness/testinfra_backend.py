"""The guest as a host of pytest-testinfra: its modules' commands go over the same channel as ours.

@pytest.fixture
def host(guest):
    return guest.testinfra
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testinfra.backend import base
from testinfra.host import Host

if TYPE_CHECKING:
    from image_harness.guest import Guest


class GuestBackend(base.BaseBackend):  # type: ignore[misc] # the library has no types
    """Carries out what testinfra's modules ask, as root, with /bin/sh."""

    NAME = "guestling"

    def __init__(self, guest: Guest, *args: Any, **kwargs: Any) -> None:
        self._guest = guest
        super().__init__("guest", *args, **kwargs)

    def run(self, command: str, *args: str, **kwargs: Any) -> base.CommandResult:  # noqa: ARG002 -- its interface
        """Carry out a command, its arguments quoted. Raises GuestBroken."""
        line = self.get_command(command, *args)
        answer = self._guest.run(line)
        return self.result(answer.status, self.encode(line), answer.stdout_bytes, answer.stderr_bytes)


def host(guest: Guest) -> Host:
    """The guest with all of testinfra's modules: `file`, `package`, `service`, `socket`, `user` and so on."""
    return Host(GuestBackend(guest))
