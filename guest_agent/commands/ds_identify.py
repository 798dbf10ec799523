"""`ds-identify` through the agent: the shell program takes over this process.

The generator runs the program itself; this way is for `python -m guest_agent ds-identify` and the test
interface. Source: guest-agent.md 1.4, 8.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.machine import Machine

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "ds-identify")


def main(words: list[str], machine: Machine) -> int:
    """Become the shell program; never returns."""
    root = () if machine.is_live else ("--root", machine.root)
    os.execv("/bin/sh", ["sh", PROGRAM, *root, *words])
