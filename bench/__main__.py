"""`./dev bench [NAME ...]`: runs the benchmarks of the table, all of them without a name."""

from __future__ import annotations

import importlib
import sys

# Name on the command line -> module with `run() -> None`, which prints its own table.
BENCHMARKS = {
    "agent": "bench.agent",
    "drive": "bench.drive",
    "metadata": "bench.metadata",
    "spawn": "bench.spawn",
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"bench: no benchmark {', '.join(unknown)}. Use {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        importlib.import_module(BENCHMARKS[name]).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
