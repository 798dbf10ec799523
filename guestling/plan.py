"""Show what user data would change in a guest, module by module, without booting one.

With --root the plan is made on an unpacked image: its accounts, files and programs. Without it, on a fresh
guest of --distro on which every program is installed. Nothing is run and nothing is written.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guestling import output

if TYPE_CHECKING:
    from boot_stages.commands import Answer, Command
    from boot_stages.facts import Facts
    from boot_stages.foresight import Planned
    from guestling.user_data_files import Document

INSTANCE_ID = "i-plan"
RENDERERS = ("netplan", "networkd", "eni", "network-manager", "sysconfig")
STAGES = {"cloud_init_modules": "network", "cloud_config_modules": "config", "cloud_final_modules": "final"}
FRESH = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "etc/group": "root:x:0:\nadm:x:4:\nsudo:x:27:\n",
    "etc/shadow": "root:*:20000:0:99999:7:::\n",
    "etc/sudoers": "@includedir /etc/sudoers.d\n",
    "etc/hostname": "localhost\n",
    "etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`plan USER-DATA [--root DIR] [--vendor-data FILE] [--distro NAME]`."""
    parser.add_argument("user_data", type=Path, metavar="USER-DATA", help="a file as it is given to a server")
    parser.add_argument("--vendor-data", type=Path, metavar="FILE", help="what the cloud adds")
    parser.add_argument("--root", type=Path, metavar="DIR", help="an unpacked image to plan on")
    parser.add_argument(
        "--distro", default="debian", help="without --root: the distribution (default: debian)"
    )
    parser.add_argument(
        "--network-config", type=Path, metavar="FILE", help="version 1 or 2, or network_data.json"
    )
    parser.add_argument("--renderer", choices=RENDERERS, help="default: the distribution's first")
    parser.add_argument("--hostname", default="", help="the name the cloud gives the guest")
    parser.add_argument("--all", action="store_true", help="also modules with nothing to do, and why")
    output.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 planned, 1 a module would fail or a part is refused, 2 input that cannot be read."""
    from guestling import plan_network
    from guestling import user_data_files as files

    try:
        documents = [files.read(arguments.user_data, "user-data")]
        if arguments.vendor_data is not None:
            documents.append(files.read(arguments.vendor_data, "vendor-data"))
    except files.UnreadableDocument as error:
        output.complain(error)
        return 2
    if arguments.root is not None and not arguments.root.is_dir():
        output.complain(f"{arguments.root}: is not a directory. Name an unpacked image.")
        return 2
    with _root(arguments) as root:
        document = _planned(root, documents, arguments)
    if arguments.network_config is not None:
        try:
            found = plan_network.planned(arguments.network_config, arguments.renderer, document["distro"])
        except files.UnreadableDocument as error:
            output.complain(error)
            return 2
        document["modules"].insert(0, found)
    faults = [fault for each in documents for fault in each.faults]
    document["faults"] = [str(fault) for fault in faults]
    if arguments.format == "json":
        output.print_json(document)
    else:
        _show(document, arguments.all)
    return (
        1
        if faults or any(module.get("error") or module.get("faults") for module in document["modules"])
        else 0
    )


@contextmanager
def _root(arguments: argparse.Namespace) -> Iterator[Path]:
    """The image, or a directory with what every fresh guest has."""
    if arguments.root is not None:
        yield arguments.root.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="guestling-plan-") as name:
        for path, content in {**FRESH, "etc/os-release": f"ID={arguments.distro}\n"}.items():
            target = Path(name, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        yield Path(name).resolve()


def _planned(root: Path, documents: list[Document], arguments: argparse.Namespace) -> dict[str, Any]:
    from boot_stages.foresight import plan_boot
    from guest_agent.config import whole
    from guest_agent.machine import Machine, Settings
    from guestling.user_data_files import merged, stored

    names = ("user-data", "vendor-data")
    configuration = whole(
        Machine(Settings(root=str(root), commands="record")),
        environment={},
        cloud_configs=[(name, merged(each)) for name, each in zip(names, documents, strict=False)],
    )
    config = {str(name): value for name, value in configuration.values.items()}
    questions = _Questions(str(root), knows_all=arguments.root is None)
    facts = _facts(root, config, questions, arguments.hostname)
    before = [action for each in documents for action in stored(each, facts.instance_directory)]
    planned = plan_boot(config, facts, before=before)
    modules = [_module(each) for each in planned]
    if before:
        modules.insert(0, _actions("network", "consume_data", before))
    return {
        "root": str(arguments.root) if arguments.root is not None else None,
        "distro": facts.distro.name,
        "modules": modules,
        "not_asked": questions.asked,
        "unread_keys": _unread(config, planned, documents, facts),
    }


def _facts(root: Path, config: dict[str, object], questions: _Questions, hostname: str) -> Facts:
    import os
    import time

    from boot_stages.distros import distro_of, parse_os_release
    from boot_stages.facts import Clock, Cloud, Facts
    from guest_agent.templates import render_text

    release = root / "etc" / "os-release"
    return Facts(
        str(root),
        Cloud(INSTANCE_ID, "nocloud", "DataSourceNoCloud", hostname),
        distro_of(parse_os_release(release.read_text() if release.exists() else "")),
        questions,
        clock=lambda: Clock(time.time(), 0.0),
        random_bytes=os.urandom,
        render_jinja=render_text,
        system=config,
    )


class _Questions:
    """Commands for a plan: nothing is run; what would have been asked of programs is kept."""

    def __init__(self, root: str, *, knows_all: bool) -> None:
        self._root = root
        self._knows_all = knows_all
        self.asked: list[str] = []

    def which(self, name: str) -> str | None:
        """A program of the image; any program on the fresh guest."""
        from boot_stages.commands import find_program

        return f"/usr/bin/{name}" if self._knows_all else find_program(self._root, name)

    def run(self, command: Command) -> Answer:
        """Keep the question and give no answer."""
        from boot_stages.commands import Answer

        self.asked.append(" ".join(command.argv))
        return Answer(0)


def _module(planned: Planned) -> dict[str, Any]:
    """One module as plain data."""
    module = _actions(STAGES[planned.stage], planned.module, planned.actions)
    if planned.skipped:
        module["skipped"] = planned.skipped
    if planned.faults:
        module["faults"] = [str(fault) for fault in planned.faults]
    failures = [action["text"] for action in module["actions"] if action["do"] == "Fail"]
    if planned.error or failures:
        module["error"] = planned.error or "; ".join(failures)
    return module


def _actions(stage: str, name: str, actions: Any) -> dict[str, Any]:
    from boot_stages.actions import to_json

    plain = [{**to_json(each), "summary": each.summary(), "opaque": each.opaque} for each in actions]
    return {"stage": stage, "module": name, "actions": plain}


def _unread(
    config: dict[str, object], planned: list[Planned], documents: list[Document], facts: Facts
) -> list[dict[str, str]]:
    """Keys of the user data that no module of the lists reads, and why."""
    from boot_stages.registry import unread

    own = {str(key) for each in documents for key in each.meaning.config.value}
    listed = [each.module for each in planned]
    found = unread(own.intersection(config), listed, facts.distro, config.get("unverified_modules", ()))
    return [{"key": each.key, "why": each.why} for each in found]


def _show(document: dict[str, Any], show_all: bool) -> None:
    rows = []
    for module in document["modules"]:
        lines = [_line(action) for action in module["actions"]]
        lines += [f"FAULT {fault}" for fault in module.get("faults", ())]
        if module.get("error") and not any(line.startswith("fail") for line in lines):
            lines.append(f"FAILS {module['error']}")
        if not lines and show_all:
            lines = [module.get("skipped") or "nothing to do: the guest is already so"]
        rows += [(module["stage"], module["module"], line) for line in lines]
    output.print_rows(("STAGE", "MODULE", "WHAT"), rows)
    for command in dict.fromkeys(document["not_asked"]):
        print(f"not asked: {command}")
    for each in document["unread_keys"]:
        print(f"no module reads: {each['key']}: {each['why']}")
    output.complain(*document["faults"])


def _line(action: dict[str, Any]) -> str:
    """One action; what cannot be known without doing it says so."""
    return f"{action['summary']} (its effect cannot be known)" if action["opaque"] else str(action["summary"])
