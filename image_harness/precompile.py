"""Run by the guest's own Python while the image is built: compile source trees, so that the guest never does.

usage: precompile.py ROOT sourceless|beside TREE...    (TREE below ROOT, as the guest sees it)

`sourceless` puts `x.pyc` in the place of `x.py`, for code that nobody edits in a guest; `beside` keeps the
source and puts the result into `__pycache__` marked "never check", so that tracebacks still show lines.
"""

from __future__ import annotations

import importlib.util
import py_compile
import sys
from pathlib import Path

# As Linux follows: more is a loop.
LINKS = 40


def main(root: str, form: str, trees: list[str]) -> None:
    for tree in trees:
        for source in sorted(Path(root + tree).rglob("*.py")):
            _compile(root, source, form)


def _compile(root: str, source: Path, form: str) -> None:
    content = _in_guest(root, source)
    if not content.is_file():  # a link to nothing that the image has
        if form == "sourceless":
            source.unlink()
        return
    beside = importlib.util.cache_from_source(str(source))
    target = f"{source}c" if form == "sourceless" else beside
    never_check = py_compile.PycInvalidationMode.UNCHECKED_HASH
    seen_in_guest = str(source).removeprefix(root)
    py_compile.compile(str(content), target, seen_in_guest, doraise=True, invalidation_mode=never_check)
    if form == "sourceless":
        source.unlink()


def _in_guest(root: str, path: Path) -> Path:
    """The file that the guest finds under `path`: an absolute link is one of the image, not of this host."""
    for _ in range(LINKS):
        if not path.is_symlink():
            break
        to = path.readlink()
        path = Path(root + str(to)) if to.is_absolute() else path.parent / to
    return path


main(sys.argv[1].rstrip("/"), sys.argv[2], sys.argv[3:])
