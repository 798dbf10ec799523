"""docs/reference/network-matrix.md: topologies by renderers, as the last complete run of the real programs
saw them.
"""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "network-matrix.md"
HEAD = """\
# Topologies by renderers

Written by `tests/contract/network/test_real_programs.py`, not by hand. Each topology of `fixtures/network`
is rendered, given to the real program, and what `ip -json` then says is compared with what the topology
asks for.

- **equal**: rendered, applied by the real program, and every address, link, route and rule is as asked for
- **rendered**: rendered, and held as a golden case; no real program for it here (the note says why)
- anything else is a failure

"""


def page(
    cells: dict[tuple[str, str], str], columns: tuple[str, ...], notes: dict[str, str], versions: str
) -> str:
    rows = sorted({topology for topology, _ in cells})
    lines = [f"| topology | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [
        f"| {row} | {' | '.join(cells.get((row, column), '-') for column in columns)} |" for row in rows
    ]
    lines += ["", f"Real programs: {versions}.", ""]
    lines += [f"- {name}: {reason}." for name, reason in sorted(notes.items())]
    return HEAD + "\n".join(lines) + "\n"
