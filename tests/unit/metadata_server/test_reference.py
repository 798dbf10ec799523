"""The reference page names what the tables in code hold."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

from guestling import serve
from instance_metadata.documents import DOCUMENTS
from instance_metadata.instance import FIELD_NAMES, read
from metadata_server.faults import parse
from metadata_server.listener import Mode
from metadata_server.protocol import Limits

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "reference" / "metadata.md").read_text()


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


def test_examples_of_the_pages_are_valid() -> None:
    how_to = (ROOT / "docs" / "how-to" / "serve-metadata.md").read_text()
    (document,) = re.findall(r"```yaml\n(.*?)```", how_to, re.DOTALL)
    assert read(document.encode(), "web-1.yaml").hostname == "web-1"
    (script,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert parse(script.encode(), "faults.yaml").next(None, "/openstack/latest/meta_data.json") is not None


def test_commands_of_the_how_to_are_understood() -> None:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    how_to = (ROOT / "docs" / "how-to" / "serve-metadata.md").read_text()
    commands = re.findall(r"^    guestling serve (.*?)(?: +#.*)?$", how_to, re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        parser.parse_args(shlex.split(command))


def test_the_unit_file_starts_a_command_that_exists() -> None:
    unit = (ROOT / "packaging" / "systemd" / "guestling-serve.service").read_text()
    (command,) = re.findall(r"^ExecStart=/usr/bin/guestling serve (.*)$", unit, re.MULTILINE)
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    assert parser.parse_args(shlex.split(command)).admin == "unix:/run/guestling-serve/admin.sock"
