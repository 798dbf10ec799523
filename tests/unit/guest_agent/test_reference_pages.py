"""docs/reference/user-data.md and datasources.md: their examples work, their tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guest_agent import formats, templates
from guest_agent.datasources import SOURCES
from guest_agent.datasources.openstack_documents import VERSIONS
from guest_agent.limits import Limits
from guest_agent.parts import expand
from guest_agent.user_data import consume

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"
USER_DATA = (REFERENCE / "user-data.md").read_text()
EXAMPLES = re.findall(r"^```\n(.*?)^```$", USER_DATA, re.MULTILINE | re.DOTALL)
INSTANCE_DATA: dict[str, object] = {"v1": {"availability_zone": "nova"}}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_an_example_is_used_without_a_word(text: str) -> None:
    expansion = expand(text)
    found = consume(
        expansion.parts, render=lambda template, place: templates.render(template, INSTANCE_DATA, place)
    )
    assert (expansion.warnings, expansion.errors, found.warnings, found.errors) == ((), (), (), ())
    assert found.config.value or found.steps


def test_every_format_and_every_limit_is_named() -> None:
    for known in formats.FORMATS:
        assert f"| `{known.header}` | {known.type} |" in USER_DATA
    for name in Limits.FIELDS:
        assert f"`{name}`" in USER_DATA, name


def test_every_source_and_version_is_named() -> None:
    page = (REFERENCE / "datasources.md").read_text()
    for source in SOURCES:
        assert f"| {source.name} |" in page
    assert ", ".join(VERSIONS) in page
