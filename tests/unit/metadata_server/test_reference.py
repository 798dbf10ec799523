"""The reference page names what the tables in code hold."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from guestling import serve
from instance_metadata.documents import DOCUMENTS
from instance_metadata.instance import FIELD_NAMES
from metadata_server.listener import Mode
from metadata_server.protocol import Limits

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "metadata.md").read_text()


def test_every_field_of_the_document_is_named() -> None:
    assert [name for name in FIELD_NAMES if f"`{name}`" not in PAGE] == []


def test_every_document_and_its_first_version_is_named() -> None:
    rows = [f"| `{doc.name}` | {doc.since} | {'yes' if doc.render else 'no'} |" for doc in DOCUMENTS]
    assert "\n".join(rows) in PAGE


def test_every_mode_is_named() -> None:
    assert [mode.value for mode in Mode if f"| `{mode.value}` |" not in PAGE] == []
    assert [mode.value for mode in Mode] == list(serve.MODES)


def test_options_of_the_page_exist() -> None:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    known = set(parser.format_help().replace(",", " ").split())
    named = set(re.findall(r"`(--[a-z0-9-]+)", PAGE))
    assert sorted(option for option in named if f"[{option}" not in known and option not in known) == []


def test_limits_are_those_of_the_code() -> None:
    limits = Limits()
    for figure in (f"{limits.line_bytes:,} bytes", f"| header fields | {limits.header_fields} |"):
        assert figure in PAGE
    assert f"| {limits.connections:,}, {limits.connections_per_source} from one address |" in PAGE
    assert f"within {limits.request_s:.0f} s" in PAGE
