"""A guest's own Python, run on the host through the guest's own loader, to compile what it will import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from image_harness import programs

COMPILER = Path(__file__).parent / "precompile.py"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
LOADER = f"{LIBRARIES}/ld-linux-x86-64.so.2"
DIST_PACKAGES = "usr/lib/python3/dist-packages"


@dataclass(frozen=True)
class GuestPython:
    """The interpreter `usr/bin/NAME` below `root`, a merged-/usr tree with its libraries."""

    root: Path
    name: str

    def compile(self, below: Path, form: str, *trees: str) -> None:
        """Compile trees below a directory that the guest will see as `/`. `form`: see precompile.py."""
        loader = [str(self.root / LOADER), "--library-path", str(self.root / LIBRARIES)]
        python = [*loader, str(self.root / "usr/bin" / self.name), "-sSB"]
        programs.run(
            [*python, str(COMPILER), str(below), form, *trees], env={"PYTHONHOME": str(self.root / "usr")}
        )

    def missing_libraries(self, program: Path) -> list[str]:
        """What a program or library of the guest is linked against and the guest has not got."""
        loader = [str(self.root / LOADER), "--library-path", str(self.root / LIBRARIES), "--list"]
        listing = programs.run([*loader, str(program)])
        return [line.split()[0] for line in listing.splitlines() if "not found" in line]
