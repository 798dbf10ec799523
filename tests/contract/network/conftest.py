"""The table of topologies by renderers, filled by the tests and written when it is complete."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.network.matrix import Matrix


@pytest.fixture(scope="session")
def matrix() -> Iterator[Matrix]:
    filled = Matrix()
    yield filled
    filled.write_if_complete()
