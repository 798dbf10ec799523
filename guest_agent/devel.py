"""`cloud-init devel merge | userdata | render | make-mime`: what the agent makes of files, without a boot.

Each command is a function of the parsed arguments and of `Files` (where relative names are looked up);
it gives an `Answer`, which the command line prints. Source: spec 5.7 and 8.
"""

from __future__ import annotations

import os

from boot_stages.value import Value
from guest_agent.errors import AgentError, BadTemplate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence

    from guest_agent.parts import Fetch, Part


class Answer(Value):
    """What a command prints, and its exit status."""

    out: str = ""
    err: str = ""
    status: int = 0


def answer(command: Callable[[Namespace, str], Answer], arguments: Namespace, root: str) -> Answer:
    """The command's answer; a fault of its input is one line on stderr and exit status 1."""
    try:
        return command(arguments, root)
    except (AgentError, OSError) as error:
        text = error.text if isinstance(error, AgentError) else f"{error.filename}: {error.strerror}"
        return Answer(err=f"{' '.join(text.split())}\n", status=1)


def read_named(name: str, root: str) -> bytes:
    """A file argument: from the working directory, else below the root. Raises OSError."""
    path = name if os.path.exists(name) else os.path.join(root, name.lstrip("/"))
    with open(path, "rb") as file:
        return file.read()


def add_merge(parser: ArgumentParser) -> None:
    """The arguments of `devel merge`."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="in the order in which they apply")
    parser.add_argument("--config", action="store_true", help="config files, highest first (spec 2.6)")
    parser.add_argument("--explain", action="store_true", help="for each key: file, line and merge rule")


def run_merge(arguments: Namespace, root: str) -> Answer:
    """The merge of the files as JSON; files that cannot be merged are named on stderr and left out."""
    from guest_agent import merge, yaml_guard
    from guest_agent.plain import to_json

    merged, faults = merge.NOTHING, []
    for name in arguments.files:
        content = read_named(name, root)
        try:
            loaded = yaml_guard.load_with_lines(content, name)
            if not isinstance(loaded.value, dict):
                faults.append(f"{name}: a mapping is expected at the top; left out")
                continue
            rule = merge.CONFIG_RULE if arguments.config else merge.PARTS_RULE
            if not loaded.value and arguments.config:
                continue
            merged = merge.put_on(merged, merge.Layer(name, loaded.value, loaded.lines), rule)
        except AgentError as error:
            faults.append(f"{error.text}; left out")
    shown = explain(merged) if arguments.explain else merged.value
    return Answer(out=to_json(shown), err="".join(f"{fault}\n" for fault in faults))


def explain(merged: object) -> dict[str, list[dict[str, object]]]:
    """For each path that somebody set: layer, line, merge rule and the includes that led there."""
    from guest_agent.merge import Merged

    if not isinstance(merged, Merged):
        raise TypeError("explain needs a Merged")
    return {
        dotted(path): [
            {"layer": origin.layer, "line": origin.line, "rule": origin.rule, "includes": list(origin.chain)}
            for origin in merged.where(path)
        ]
        for path in sorted(merged.origins, key=str)
    }


def dotted(path: Sequence[object]) -> str:
    """`("users", 0, "name")` as `users.0.name`."""
    return ".".join(str(word) for word in path)


def add_userdata(parser: ArgumentParser) -> None:
    """The arguments of `devel userdata`."""
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--vendor", metavar="FILE", help="vendor data to show as well")
    parser.add_argument("--launch-index", type=int, metavar="N", help="only the parts for instance N")


def run_userdata(arguments: Namespace, root: str) -> Answer:
    """The final parts of a user-data file as JSON: type, filename, payload in base64, and the warnings."""
    from guest_agent.parts import expand, for_launch_index
    from guest_agent.plain import to_json

    fetch = _fetcher(arguments, root)
    found = expand(read_named(arguments.file, root), fetch=fetch)
    parts = list(for_launch_index(found.parts, arguments.launch_index))
    warnings = [text for _, text in found.warnings] + list(found.errors)
    document: dict[str, object] = {"parts": [_shown(part) for part in parts], "warnings": warnings}
    if arguments.vendor:
        vendor = expand(read_named(arguments.vendor, root), "vendor-data", fetch=fetch)
        document["vendor_parts"] = [_shown(part) for part in vendor.parts]
        warnings += [text for _, text in vendor.warnings] + list(vendor.errors)
    return Answer(out=to_json(document), err="".join(f"{text}\n" for text in warnings))


def _fetcher(arguments: Namespace, root: str) -> Fetch:
    """#include over the network, or from the answers of `--http`."""
    from guest_agent.fetch import Web

    named = getattr(arguments, "http", None)
    if named:
        from guest_agent.http_map import HttpMap

        web = Web(replies=HttpMap.read(named, root), sleep=lambda _s: None)
    else:
        web = Web()

    def fetch(url: str, _once: bool) -> bytes:
        return web.include(url)

    return fetch


def _shown(part: Part) -> dict[str, object]:
    import base64

    shown: dict[str, object] = {
        "type": part.type,
        "filename": part.filename,
        "payload": base64.b64encode(part.payload).decode("ascii"),
    }
    if part.launch_index is not None:
        shown["launch_index"] = part.launch_index
    if part.chain:
        shown["includes"] = list(part.chain)
    return shown


def add_render(parser: ArgumentParser) -> None:
    """The arguments of `devel render`."""
    parser.add_argument("user_data", metavar="FILE", help="a file that begins with '## template: jinja'")
    parser.add_argument("-i", "--instance-data", metavar="DATA", help="default: that of this instance")
    parser.add_argument("-d", "--debug", action="store_true", help="name what the template missed")


INSTANCE_DATA = "/run/cloud-init/instance-data-sensitive.json"
PUBLIC_INSTANCE_DATA = "/run/cloud-init/instance-data.json"


def run_render(arguments: Namespace, root: str) -> Answer:
    """A template rendered with instance data."""
    from guest_agent import json_guard, templates

    named = arguments.instance_data or _instance_data(root)
    data = json_guard.load(read_named(named, root), named)
    if not isinstance(data, dict):
        raise BadTemplate(f"{named}: a mapping of instance data is expected")
    rendered = templates.render(read_named(arguments.user_data, root), data, arguments.user_data)
    missing = f"no value for {', '.join(rendered.missing)}\n" if rendered.missing else ""
    return Answer(out=rendered.text.decode("utf-8", "surrogateescape"), err=missing)


def _instance_data(root: str) -> str:
    """Root reads everything, others what is public."""
    for path in (INSTANCE_DATA, PUBLIC_INSTANCE_DATA):
        if os.access(os.path.join(root, path.lstrip("/")), os.R_OK):
            return path
    return PUBLIC_INSTANCE_DATA


def add_make_mime(parser: ArgumentParser) -> None:
    """The arguments of `devel make-mime`."""
    parser.add_argument("-a", "--attach", action="append", default=[], metavar="FILE:TYPE", dest="files")
    parser.add_argument("-l", "--list-types", action="store_true", help="the types, without text/")
    parser.add_argument("-f", "--force", action="store_true", help="attach types that are not known")


def run_make_mime(arguments: Namespace, root: str) -> Answer:
    """Files as one MIME document on stdout."""
    from guest_agent import formats, mime_writer

    known = formats.declared_types()
    if arguments.list_types:
        return Answer(out="".join(f"{kind.replace('text/', '', 1)}\n" for kind in known))
    if not arguments.files:
        return Answer(err="devel make-mime: nothing to attach. Use -a FILE:TYPE\n", status=1)
    leaves: list[tuple[str, str, bytes, dict[str, str]]] = []
    faults: list[str] = []
    for attached in arguments.files:
        name, _, short = attached.rpartition(":")
        if not name:
            return Answer(err=f"{attached}: FILE:TYPE is expected, such as run.sh:x-shellscript\n", status=1)
        kind = f"text/{short.lower()}"
        if kind not in known:
            level = "WARNING" if arguments.force else "ERROR"
            faults.append(f"{level}: content type {kind!r} for attachment {name} may be incorrect!\n")
        leaves.append((kind, os.path.basename(name), read_named(name, root), {}))
    if faults and not arguments.force:
        return Answer(err="".join([*faults, "Invalid content-types, override with --force\n"]), status=1)
    document = mime_writer.compose(leaves, _boundary([content for _, _, content, _ in leaves]))
    return Answer(out=document.decode("utf-8"), err="".join(faults))


def _boundary(contents: Sequence[bytes]) -> str:
    """A boundary that stands in none of the contents, and the same for the same contents."""
    import hashlib

    digest = hashlib.sha256(b"\0".join(contents)).hexdigest()[:24]
    return f"==============={digest}=="
