"""A fresh guest in a directory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.guest_agent.run.roots import Root


@pytest.fixture
def root() -> Iterator[Root]:
    """A Debian guest with one NIC and no source of instance data.

    Not below tmp_path: the sockets of the stages must fit into 107 characters.
    """
    with tempfile.TemporaryDirectory(prefix="guest-") as directory:
        yield Root(Path(directory) / "root")
