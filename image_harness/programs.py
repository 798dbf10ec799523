"""Runs the programs that images are built with: argv lists, no shell, bounded time, their last words kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from image_harness.errors import ProgramFailed


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 600,
    stdin: str = "",
) -> str:
    """What the program wrote to stdout. `env` is added to ours, messages in English. Raises ProgramFailed."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    try:
        done = subprocess.run(
            argv, env=environment, cwd=cwd, timeout=timeout_s, check=False,
            input=stdin, capture_output=True, text=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ProgramFailed(argv, 127, f"{argv[0]} is not installed; run ./dev setup") from error
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(argv, 124, f"no end within {timeout_s:g} s") from error
    if done.returncode != 0:
        raise ProgramFailed(argv, done.returncode, done.stderr or done.stdout)
    return done.stdout
