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


def main(root: str, form: str, trees: list[str]) -> None:
    for tree in trees:
        for source in sorted(Path(root + tree).rglob("*.py")):
            _compile(root, source, form)


def _compile(root: str, source: Path, form: str) -> None:
    beside = importlib.util.cache_from_source(str(source))
    target = f"{source}c" if form == "sourceless" else beside
    never_check = py_compile.PycInvalidationMode.UNCHECKED_HASH
    seen_in_guest = str(source).removeprefix(root)
    py_compile.compile(str(source), target, seen_in_guest, doraise=True, invalidation_mode=never_check)
    if form == "sourceless":
        source.unlink()


main(sys.argv[1].rstrip("/"), sys.argv[2], sys.argv[3:])
