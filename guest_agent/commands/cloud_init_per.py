"""`cloud-init-per FREQ NAME CMD`: run a command once, once an instance, or always.

Source: guest-agent.md 5.1.
"""

from __future__ import annotations

import os
import sys

from boot_stages.commands import Command
from guest_agent.state import INSTANCE_LINK, ONCE_SEMAPHORES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.machine import Machine

DIRECTORIES = {
    "always": ONCE_SEMAPHORES.path,
    "once": ONCE_SEMAPHORES.path,
    "instance": f"{INSTANCE_LINK}/sem",
}
USAGE = "usage: cloud-init-per {once|instance|always} NAME COMMAND [ARGUMENTS]"


def main(words: list[str], machine: Machine) -> int:
    """The command's own exit status; 0 when it was not due; 1 for bad use."""
    if len(words) < 3 or words[0] not in DIRECTORIES or "/" in words[1]:
        print(USAGE, file=sys.stderr)
        return 1
    if os.geteuid() != 0 and machine.is_live:
        print("cloud-init-per: must be run as root. Use sudo", file=sys.stderr)
        return 1
    frequency, name, *argv = words
    marker = f"{DIRECTORIES[frequency]}/bootper.{name.replace('-', '_')}.{frequency}"
    if frequency != "always" and machine.exists(marker):
        return 0
    machine.make_directory(DIRECTORIES[frequency])
    answer = machine.commands.run(Command(tuple(argv), show=True))
    sys.stderr.buffer.write(answer.err if answer.status == 127 else b"")
    machine.write(marker, f"{answer.status}\t{int(machine.clock().epoch_s)}\n")
    return answer.status if answer.status >= 0 else 128 - answer.status
