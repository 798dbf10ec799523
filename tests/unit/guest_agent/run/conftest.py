"""A fresh guest in a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.guest_agent.run.roots import Root


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A Debian guest with one NIC and no source of instance data."""
    return Root(tmp_path / "root")
