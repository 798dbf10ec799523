"""`cloud-init devel net-convert`: a network document to the files of a renderer, below a directory of one's
choice.

Runs no command. With `-m` no NIC of this machine is looked at. This file reads and writes files; the rest
of the package does not. Source of the rules: guest agent contract, 5.7 and 8.
"""

from __future__ import annotations

import sys
from pathlib import Path

from boot_stages.plain_json import read_json, write_indented

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from guest_agent.network.parsing import Parsed
    from guest_agent.network.rendered import Rendered

KINDS = ("eni", "yaml", "network_data.json")
OUTPUTS = ("eni", "netplan", "networkd", "sysconfig", "network-manager", "v1-json")
NETPLAN_FEATURES = frozenset({"dhcp-use-domains", "ipv6-mtu"})
KEPT_FILES = ("/etc/resolv.conf", "/etc/sysconfig/network")


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    import argparse

    from guest_agent.network.distros import PROFILES

    this = argparse.ArgumentParser(prog="cloud-init devel net-convert", description=__doc__.splitlines()[0])
    this.add_argument(
        "-p", "--network-data", metavar="PATH", required=True, help="the network document to read"
    )
    this.add_argument("-k", "--kind", choices=KINDS, required=True, help="what kind of document it is")
    this.add_argument("-d", "--directory", metavar="PATH", required=True, help="where to put the files")
    this.add_argument("-D", "--distro", choices=sorted(PROFILES), required=True, help="whose paths to use")
    this.add_argument(
        "-m", "--mac", metavar="NAME,MAC", action="append", help="a NIC to know, may be repeated"
    )
    this.add_argument("-O", "--output-kind", choices=OUTPUTS, required=True, help="what to write")
    this.add_argument("--debug", action="store_true", help="also show the model the document was read into")
    return this


def main(arguments: list[str], root: Path, has_program: Callable[[str], bool] = lambda _name: False) -> int:
    """Runs the command; `root` is the guest's /, `has_program` says which programs it has. 0 done, 1 failed.

    Raises SystemExit(2) for wrong arguments, as argparse does.
    """
    from guest_agent.network.errors import NetworkError

    asked = parser().parse_args(arguments)
    source = _place(asked.network_data, root)
    try:
        parsed = _read(source, asked.kind, _nics(asked.mac, root))
        if asked.output_kind == "v1-json":
            return _print_v1(parsed)
        done = _render(parsed, asked, root, has_program)
    except (NetworkError, OSError, ValueError) as error:
        print(f"{asked.network_data}: {error}".replace("\n", "; "), file=sys.stderr)
        return 1
    for note in done.notes:
        print(f"{note.level}: {note.text}", file=sys.stderr)
    if asked.debug:
        print(parsed.network, file=sys.stderr)
    _write(done, _place(asked.directory, root))
    print(f"Read input format '{asked.kind}' from '{asked.network_data}'.", file=sys.stderr)
    print(f"Wrote output format '{asked.output_kind}' to '{asked.directory}'", file=sys.stderr)
    return 0


def _place(path: str, root: Path) -> Path:
    """A relative path is the caller's, an absolute one is the guest's."""
    return root / path.lstrip("/") if path.startswith("/") else Path(path)


def _nics(given: list[str] | None, root: Path) -> dict[str, str]:
    """MAC -> name: what `-m` says, else the NICs of the guest."""
    if given is not None:
        pairs = [item.partition(",") for item in given]
        return {mac.strip().lower(): name for name, _, mac in pairs}
    found = {}
    for address in sorted(root.glob("sys/class/net/*/address")):
        found[address.read_text(encoding="ascii").strip().lower()] = address.parent.name
    return {mac: name for mac, name in found.items() if name != "lo"}


def _read(source: Path, kind: str, nics: Mapping[str, str]) -> Parsed:
    """Raises ValueError for text that is no YAML or JSON."""
    from guest_agent.network import parse

    text = source.read_text(encoding="utf-8")
    if kind == "eni":
        return parse(kind, text, nics)
    if kind == "network_data.json":
        return parse(kind, read_json(text), nics)
    import yaml

    try:
        return parse(kind, yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), nics)  # noqa: S506 - safe
    except yaml.YAMLError as error:
        raise ValueError(f"this is no YAML: {error}") from error


def _render(
    parsed: Parsed, asked: argparse.Namespace, root: Path, has_program: Callable[[str], bool]
) -> Rendered:
    from guest_agent.network import render

    below = _place(asked.directory, root)
    existing = {
        path: (below / path[1:]).read_text("utf-8") for path in KEPT_FILES if (below / path[1:]).is_file()
    }
    return render(
        parsed,
        asked.output_kind,
        asked.distro,
        have_ip=has_program("ip"),
        netplan_features=NETPLAN_FEATURES,
        existing=existing,
    )


def _print_v1(parsed: Parsed) -> int:
    from guest_agent.network import to_v1

    document = parsed.document if parsed.document.get("version") == 1 else to_v1.document(parsed.network)
    print(write_indented(document))
    return 0


def _write(done: Rendered, below: Path) -> None:
    for path, file in done.files.items():
        target = below / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = file.mode
        if target.exists() and file.mode == 0o600:
            mode &= target.stat().st_mode
        target.write_bytes(file.content)
        target.chmod(mode)
