"""`cloud-init schema`: every fault of a cloud-config or network config, with its place.

Source: guest-agent.md 5.4.
"""

from __future__ import annotations

import os
import sys

from boot_stages.value import Value
from guest_agent import formats, yaml_guard
from guest_agent.errors import AgentError
from guest_agent.state import (
    INSTANCE_LINK,
    NETWORK_CONFIG,
    RUN_INSTANCE_DATA,
    RUN_SENSITIVE_DATA,
    USER_DATA,
    VENDOR_DATA,
    VENDOR_DATA2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from guest_agent.machine import Machine

CLOUD_CONFIG, NETWORK = "cloud-config", "network-config"
KINDS = (CLOUD_CONFIG, NETWORK)
# What is checked by what it says; the other kinds of user data are not looked into.
CHECKED = frozenset({formats.CLOUD_CONFIG, formats.JINJA})
SYSTEM = (("user-data", USER_DATA), ("vendor-data", VENDOR_DATA), ("vendor2-data", VENDOR_DATA2))


class Found(Value):
    """What is wrong with a document: faults and deprecations as (path, text), and where each path stands."""

    faults: tuple[tuple[str, str], ...] = ()
    deprecations: tuple[tuple[str, str], ...] = ()
    lines: Mapping[tuple[object, ...], int] = {}


class Unusable(Exception):
    """A document that cannot be checked at all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `schema`."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("-c", "--config-file", metavar="FILE", help="the document to check")
    what.add_argument("--system", action="store_true", help="check what this instance was given (root)")
    parser.add_argument("-t", "--schema-type", choices=KINDS, default=None, help="what the document is")
    parser.add_argument("-i", "--instance-data", metavar="FILE", help="data for a cloud-config template")
    parser.add_argument("--annotate", action="store_true", help="print the document with its faults marked")


def run(arguments: argparse.Namespace, machine: Machine) -> int:
    """0 valid, 1 anything else."""
    if not arguments.config_file and not arguments.system:
        return _refuse("Expected one of --config-file or --system arguments")
    if arguments.system:
        return _system(arguments, machine)
    kind = arguments.schema_type or CLOUD_CONFIG
    name = arguments.config_file
    try:
        content = read_named(name, machine.root)
    except OSError as error:
        return _refuse(f"Config file {name} does not exist" if not os.path.exists(name) else str(error))
    return _checked(name, content, kind, arguments, machine, "user-data" if kind == CLOUD_CONFIG else kind)


def read_named(name: str, root: str) -> bytes:
    """A file argument: from the working directory, else below the root. Raises OSError."""
    from guest_agent import devel

    return devel.read_named(name, root)


def _refuse(text: str) -> int:
    print(f"Error: {text}", file=sys.stderr)
    return 1


def _checked(
    name: str,
    content: bytes,
    kind: str,
    arguments: argparse.Namespace,
    machine: Machine,
    title: str,
    prefix: str = "",
) -> int:
    """Check one document and say what was found."""
    if not content.strip():
        print(f"{prefix}Empty '{title}' found at {name}. Nothing to validate.")
        return 0
    try:
        text = _text_to_check(name, content, kind, arguments, machine)
        if text is None:
            return 0
        found = network_faults(text, name) if kind == NETWORK else cloud_config_faults(text, name)
    except (Unusable, AgentError) as error:
        print(f"{prefix}Invalid {title} {name}", file=sys.stderr)
        return _refuse(str(error))
    if arguments.annotate and (found.faults or found.deprecations):
        print(annotated(text.decode("utf-8", "replace"), found))
        return 1 if found.faults else 0
    if found.deprecations:
        listed = ", ".join(f"{path}: {what}" for path, what in found.deprecations)
        print(f"{prefix}Cloud config schema deprecations: {listed}")
    if found.faults:
        listed = ", ".join(f"{path}: {what}" for path, what in found.faults)
        what = "Network config" if kind == NETWORK else "Cloud config"
        print(f"{prefix}Invalid {title} {name}", file=sys.stderr)
        return _refuse(f"{what} schema errors: {listed}")
    print(f"{prefix}Valid schema {name if not prefix else title}")
    return 0


def _text_to_check(
    name: str, content: bytes, kind: str, arguments: argparse.Namespace, machine: Machine
) -> bytes | None:
    """The document itself, rendered when it is a template; None for a kind that is not looked into."""
    if kind == NETWORK:
        return content
    sniffed = formats.sniff(content)
    if sniffed is None:
        first = content.decode("utf-8", "replace").splitlines()[0][:80]
        known = ", ".join(each.header for each in formats.FORMATS)
        raise Unusable(
            f'Unrecognized user-data header in {name}: "{first}".\n'
            f"Expected first line to be one of the following: {known}"
        )
    if sniffed not in CHECKED:
        print(f"User-data type '{sniffed}' not currently evaluated by cloud-init schema")
        return None
    if sniffed != formats.JINJA:
        return content
    rendered = _rendered(name, content, arguments, machine)
    if formats.sniff(rendered) != formats.CLOUD_CONFIG:
        raise Unusable(f"{name}: the template does not give a #cloud-config")
    return rendered


def _rendered(name: str, content: bytes, arguments: argparse.Namespace, machine: Machine) -> bytes:
    from guest_agent import json_guard, templates

    named = arguments.instance_data
    if named:
        data = read_named(named, machine.root)
    else:
        found = machine.read_bytes(RUN_SENSITIVE_DATA.path) or machine.read_bytes(RUN_INSTANCE_DATA.path)
        if found is None:
            raise Unusable(f"{name}: a template needs instance data. Give it with --instance-data FILE")
        data = found
    document = json_guard.load(data, named or RUN_SENSITIVE_DATA.path)
    return templates.render(content, document if isinstance(document, dict) else {}, name).text


def _loaded(content: bytes, name: str) -> tuple[dict[object, object], Mapping[tuple[object, ...], int]]:
    loaded = yaml_guard.load_with_lines(content, name)
    if not isinstance(loaded.value, dict):
        raise Unusable(f"{name}: a map is expected at the top. Write 'key: value' lines")
    return loaded.value, loaded.lines


def cloud_config_faults(content: bytes, name: str) -> Found:
    """What the schema of all modules says. Raises Unusable, AgentError."""
    from boot_stages.cloud_config_schema import key_faults, schema
    from boot_stages.validate import deprecations_of

    value, lines = _loaded(content, name)
    return Found(tuple(key_faults(value)), tuple(deprecations_of(value, schema())), lines)


def network_faults(content: bytes, name: str) -> Found:
    """What the schema of its version says. Raises Unusable, AgentError."""
    from guest_agent.network_schema import faults_of_network

    value, lines = _loaded(content, name)
    return Found(tuple(faults_of_network(value)), (), lines)


def annotated(text: str, found: Found) -> str:
    """The document with `# E1` at each offending line, and what they mean below it."""
    marks: dict[int, list[str]] = {}
    footers: list[str] = []
    for letter, title, items in (("E", "Errors", found.faults), ("D", "Deprecations", found.deprecations)):
        listed = []
        for number, (path, what) in enumerate(items, 1):
            marks.setdefault(line_of(path, found.lines), []).append(f"{letter}{number}")
            listed.append(f"# {letter}{number}: {what}")
        if listed:
            footers.append("\n".join([f"# {title}: -------------", *listed, ""]))
    lines = text.rstrip("\n").split("\n")
    for line, labels in marks.items():
        index = min(max(line - 1, 0), len(lines) - 1)
        lines[index] += f"\t\t# {','.join(labels)}"
    return "\n".join([*lines, "", *footers])


def line_of(path: str, lines: Mapping[tuple[object, ...], int]) -> int:
    """The line of a dotted path, or of the nearest thing around it."""
    by_text = {".".join(str(step) for step in steps): line for steps, line in lines.items()}
    steps = path.split(".")
    for length in range(len(steps), 0, -1):
        line = by_text.get(".".join(steps[:length]))
        if line is not None:
            return line
    return 1


def _system(arguments: argparse.Namespace, machine: Machine) -> int:
    """Everything this instance was given, one numbered section each."""
    if os.geteuid() != 0 and machine.is_live:
        return _refuse("Unable to read system userdata or vendordata as non-root user. Try using sudo.")
    sections = [
        (title, f"{INSTANCE_LINK}/{place.path}", CLOUD_CONFIG)
        for title, place in SYSTEM
        if machine.read_bytes(f"{INSTANCE_LINK}/{place.path}") or title == "user-data"
    ]
    if machine.exists(f"{INSTANCE_LINK}/{NETWORK_CONFIG.path}"):
        sections.append((NETWORK, f"{INSTANCE_LINK}/{NETWORK_CONFIG.path}", NETWORK))
    if arguments.schema_type:
        sections = [section for section in sections if section[2] == arguments.schema_type]
    print(f"Found cloud-config data types: {', '.join(title for title, _path, _kind in sections)}")
    worst = 0
    for number, (title, path, kind) in enumerate(sections, 1):
        print(f"\n{number}. {title} at {path}:")
        content = machine.read_bytes(path)
        if content is None:
            print(f"  {title}: there is none", file=sys.stderr)
            worst = 1
            continue
        worst = max(worst, _checked(path, content, kind, arguments, machine, title, prefix="  "))
    return worst
