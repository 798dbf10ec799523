"""An instance for every test of the server."""

from __future__ import annotations

import pytest

from instance_metadata.instance import Instance, parse
from tests.unit.metadata_server.asking import DOCUMENT


@pytest.fixture
def web_1() -> Instance:
    return parse(DOCUMENT, "web-1")
