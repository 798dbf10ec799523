"""`cloud-init query`: print what is known of this instance. Source: guest-agent.md 5.3."""

from __future__ import annotations

import os
import sys

from guest_agent import json_guard
from guest_agent.errors import AgentError
from guest_agent.instance_data import REDACTED
from guest_agent.plain import to_json
from guest_agent.state import (
    INSTANCE_LINK,
    RUN_COMBINED_CONFIG,
    RUN_INSTANCE_DATA,
    RUN_SENSITIVE_DATA,
    USER_DATA,
    VENDOR_DATA,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from guest_agent.machine import Machine


class Refused(Exception):
    """The question has no answer; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `query`."""
    parser.add_argument("-d", "--debug", action="store_true", dest="is_debug", help="show what is read")
    parser.add_argument("-i", "--instance-data", metavar="FILE", help="instead of this instance's")
    parser.add_argument("-u", "--user-data", metavar="FILE", help="instead of this instance's")
    parser.add_argument("-v", "--vendor-data", metavar="FILE", help="instead of this instance's")
    parser.add_argument("varname", nargs="?", help="a key, such as v1.region or ds.meta_data.uuid")
    parser.add_argument("-a", "--all", action="store_true", dest="dump_all", help="everything, as JSON")
    parser.add_argument("-l", "--list-keys", action="store_true", help="the keys below varname")
    parser.add_argument("-f", "--format", metavar="TEMPLATE", help="a jinja template to fill in")


def run(arguments: argparse.Namespace, machine: Machine) -> int:
    """Print the answer; 1 with a reason on stderr when there is none."""
    if not (arguments.list_keys or arguments.varname or arguments.format or arguments.dump_all):
        print("Expected one of the options: --all, --format, --list-keys or varname", file=sys.stderr)
        print("usage: cloud-init query [-a] [-l] [-f TEMPLATE] [-i FILE] [-u FILE] [-v FILE] [varname]",
              file=sys.stderr)  # fmt: skip
        return 1
    try:
        data = _data(arguments, machine)
        if arguments.format:
            print(_filled(arguments.format, data))
            return 0
        answer = _found(data, arguments.varname) if arguments.varname else data
    except (Refused, AgentError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    if arguments.list_keys:
        if not isinstance(answer, dict):
            print(f"--list-keys provided but '{arguments.varname}' is not a dict", file=sys.stderr)
            return 1
        print("\n".join(sorted(answer)))
        return 0
    print(answer if isinstance(answer, str) else to_json(answer).rstrip("\n"))
    return 0


def _data(arguments: argparse.Namespace, machine: Machine) -> dict[str, Any]:
    """Instance data with user data, vendor data and the combined config as further keys. Raises Refused."""
    is_root = os.geteuid() == 0
    path = arguments.instance_data
    content = _named(path, machine) if path else _own(machine, is_root)
    document = json_guard.load(content, path or RUN_INSTANCE_DATA.path)
    if not isinstance(document, dict):
        raise Refused(f"{path}: a map of instance data is expected")
    data: dict[str, Any] = dict(document)
    if is_root:
        combined = machine.read_bytes(RUN_COMBINED_CONFIG.path)
        if combined:
            data["combined_cloud_config"] = json_guard.load(combined, RUN_COMBINED_CONFIG.path)
    else:
        data["combined_cloud_config"] = f"<{REDACTED}> file:{RUN_COMBINED_CONFIG.path}"
    for key, named, own in (
        ("userdata", arguments.user_data, f"{INSTANCE_LINK}/{USER_DATA.path}"),
        ("vendordata", arguments.vendor_data, f"{INSTANCE_LINK}/{VENDOR_DATA.path}"),
    ):
        data[key] = _text(named, own, machine, is_root=is_root)
    return data


def _named(path: str, machine: Machine) -> bytes:
    from guest_agent.devel import read_named

    try:
        return read_named(path, machine.root)
    except OSError as error:
        raise Refused(f"Missing instance-data file: {path} ({error.strerror})") from error


def _own(machine: Machine, is_root: bool) -> bytes:
    """The full document for root, the redacted one for others. Raises Refused."""
    if is_root:
        content = machine.read_bytes(RUN_SENSITIVE_DATA.path)
        if content is not None:
            return content
        print(
            f"WARNING: Missing root-readable {RUN_SENSITIVE_DATA.path}."
            f" Using redacted {RUN_INSTANCE_DATA.path} instead.",
            file=sys.stderr,
        )
    content = machine.read_bytes(RUN_INSTANCE_DATA.path)
    if content is None:
        raise Refused(
            f"Missing instance-data file: {RUN_INSTANCE_DATA.path}. Has cloud-init run in this boot?"
        )
    return content


def _text(named: str | None, own: str, machine: Machine, *, is_root: bool) -> str:
    """User data or vendor data as text, decompressed; the place of it for those who may not read it."""
    if not named and not is_root:
        return f"<{REDACTED}> file:{own}"
    content = _named(named, machine) if named else machine.read_bytes(own) or b""
    if content.startswith(b"\x1f\x8b"):
        from guest_agent.gunzip import gunzip
        from guest_agent.limits import DEFAULT, Budget

        content = gunzip(content, named or own, Budget(DEFAULT.gunzip_total_bytes))
    return content.decode("utf-8", "replace")


def _found(data: dict[str, Any], varname: str) -> object:
    """The value at a dotted path; dashes and underscores are the same. Raises Refused."""
    node: object = {**data, **_versioned(data)}
    walked: list[str] = []
    for step in varname.split("."):
        if isinstance(node, list) and step.isdigit() and int(step) < len(node):
            node = node[int(step)]
            walked.append(step)
            continue
        names = {name.replace("-", "_"): name for name in node} if isinstance(node, dict) else {}
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, dict) and step.replace("-", "_") in names:
            node = node[names[step.replace("-", "_")]]
        elif walked:
            raise Refused(f"instance-data '{'.'.join(walked)}' has no '{step}'")
        else:
            raise Refused(f"Undefined instance-data key '{varname}'")
        walked.append(step)
    return node


def _versioned(data: dict[str, Any]) -> dict[str, Any]:
    """The keys of v1 are found at the top as well."""
    v1 = data.get("v1")
    return {name: value for name, value in v1.items() if name not in data} if isinstance(v1, dict) else {}


def _filled(template: str, data: dict[str, Any]) -> str:
    """A template filled in. Raises Refused for one that gives nothing, BadTemplate for a bad one."""
    from guest_agent import templates

    text = f"## template: jinja\n{template}".encode("utf-8", "surrogateescape")
    rendered = templates.render(text, data, "--format").text.decode("utf-8", "replace")
    if not rendered:
        raise Refused("the template gives nothing")
    return rendered
