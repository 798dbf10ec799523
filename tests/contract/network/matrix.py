"""docs/reference/network-matrix.md: topologies by renderers, as the last complete run of the real programs
saw them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.contract.network.tool_root import CACHE, SUITE
from tests.unit.guest_agent.network.topologies import names

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "network-matrix.md"
COLUMNS = ("networkd", "eni", "netplan", "network-manager", "sysconfig", "sysconfig-suse")
PROGRAMS = ("systemd", "ifupdown", "netplan.io", "network-manager")
WITHOUT_EXPECTATION = {"fallback", "infiniband"}  # DHCP without a server, hardware nobody has here
HEAD = """\
# Topologies by renderers

Written by `tests/contract/network/test_real_programs.py`, not by hand. Each topology of `fixtures/network` is
rendered, given to the real program, and what `ip -json` then says is compared with what the topology asks for
(`asked.json`).

- **equal**: rendered, applied by the real program, and every address, link, route and rule is as asked for
- **rendered**: rendered and held as a golden case; Debian has neither RHEL's network scripts nor wicked

Bonds and VLANs run in a guest with a kernel of its own where this machine's kernel does not make them.

"""


class Matrix:
    """What each renderer did with each topology."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str], str] = {}

    def say(self, topology: str, column: str, word: str) -> None:
        self._cells[topology, column] = word

    def write_if_complete(self) -> None:
        """A run that left something out, or failed, leaves the page as it is."""
        rows = [name for name in names() if name not in WITHOUT_EXPECTATION]
        if all((row, column) in self._cells for row in rows for column in COLUMNS):
            PAGE.write_text(HEAD + self._table(rows) + f"\nReal programs: {_versions()}.\n")

    def _table(self, rows: list[str]) -> str:
        lines = [f"| topology | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
        lines += [f"| {row} | {' | '.join(self._cells[row, column] for column in COLUMNS)} |" for row in rows]
        return "\n".join(lines) + "\n"


def _versions() -> str:
    """Without Debian's revision, which changes the page but not what it says."""
    command = ["chroot", str(CACHE / SUITE), "dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PROGRAMS]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return ", ".join(line.partition("-1")[0].partition("-2")[0] for line in found)
