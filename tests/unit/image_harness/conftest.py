"""A store of its own for every test here; nothing of the developer's cache is seen or touched."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """GUESTLING_CACHE, set to an empty directory."""
    home = tmp_path / "cache"
    monkeypatch.setenv("GUESTLING_CACHE", str(home))
    return home
