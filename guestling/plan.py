"""Show what user data would change in a guest, module by module, without booting one.

With --image or --root the plan is made on an image: its accounts, files and programs. It then also says by
whom: `guestling image bake --user-data` does it in the image, or the first boot does. Without them it is made
on a fresh guest of --distro on which every program is installed. Nothing is run and nothing is written.
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
    from guestling.root_plan import Order
    from guestling.user_data_files import Document

RENDERERS = ("netplan", "networkd", "eni", "network-manager", "sysconfig")
FRESH = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "etc/group": "root:x:0:\nadm:x:4:\nsudo:x:27:\n",
    "etc/shadow": "root:*:20000:0:99999:7:::\n",
    "etc/sudoers": "@includedir /etc/sudoers.d\n",
    "etc/hostname": "localhost\n",
    "etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`plan USER-DATA [--image IMAGE | --root DIR] [--vendor-data FILE] [--distro NAME]`."""
    parser.add_argument("user_data", type=Path, metavar="USER-DATA", help="a file as it is given to a server")
    parser.add_argument("--vendor-data", type=Path, metavar="FILE", help="what the cloud adds")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--image", metavar="IMAGE", help="an image to plan on: a name of the store, or a raw or qcow2 file"
    )
    place.add_argument("--root", type=Path, metavar="DIR", help="an unpacked image to plan on")
    parser.add_argument(
        "--distro", default="debian", help="without an image: the distribution (default: debian)"
    )
    parser.add_argument(
        "--network-config", type=Path, metavar="FILE", help="version 1 or 2, or network_data.json"
    )
    parser.add_argument("--renderer", choices=RENDERERS, help="default: the distribution's first")
    parser.add_argument("--hostname", default="", help="the name the cloud gives the guest")
    parser.add_argument("--all", action="store_true", help="also modules with nothing to do, and why")
    output.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 planned, 1 a module would fail, a part is refused or the image not read, 2 input that is none."""
    from guestling import plan_network
    from guestling import user_data_files as files
    from image_harness.errors import HarnessError, NotAnImage, UnknownImage
    from spawner.errors import SpawnerError

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
    try:
        document = _planned(documents, arguments)
    except (HarnessError, SpawnerError) as error:
        output.complain(error)
        return 2 if isinstance(error, NotAnImage | UnknownImage) else 1
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


def _planned(documents: list[Document], arguments: argparse.Namespace) -> dict[str, Any]:
    """The plan, where it was asked for. Raises HarnessError, SpawnerError."""
    from guestling import root_plan

    order = root_plan.Order(
        tuple(documents), arguments.hostname, knows_all=arguments.root is None and arguments.image is None
    )
    places = {"root": str(arguments.root) if arguments.root is not None else None, "image": arguments.image}
    if arguments.image is not None:
        return {**places, **_planned_inside(order, arguments)}
    with _root(arguments) as root:
        return {**places, **root_plan.planned(root, order)}


def _planned_inside(order: Order, arguments: argparse.Namespace) -> dict[str, Any]:
    from guestling import root_plan
    from image_harness import image_files
    from image_harness.errors import HelperFailed

    here = Path(__file__).parent
    code = {f"{here.name}/{name}": here / name for name in root_plan.NEEDS}
    question = image_files.Question(f"{root_plan.__name__}:answer", root_plan.to_order(order), code)
    say = output.complain if arguments.format == "table" else lambda _: None
    found = image_files.asked(arguments.image, question, say)
    if not isinstance(found, dict) or not set(found) >= root_plan.KEYS:
        raise HelperFailed(Path(arguments.image), "the helper guest's plan is not as agreed")
    return found


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


def _show(document: dict[str, Any], show_all: bool) -> None:
    rows = []
    on_image = document["root"] is not None or document["image"] is not None
    for module in document["modules"]:
        lines = [_line(action) for action in module["actions"]]
        lines += [f"FAULT {fault}" for fault in module.get("faults", ())]
        if module.get("error") and not any(line.startswith("fail") for line in lines):
            lines.append(f"FAILS {module['error']}")
        if not lines and show_all:
            lines = [module.get("skipped") or "nothing to do: the guest is already so"]
        when = ("bake" if module.get("bake") else "boot",) if on_image else ()
        rows += [(module["stage"], *when, module["module"], line) for line in lines]
    columns = ("STAGE", "BY", "MODULE", "WHAT") if on_image else ("STAGE", "MODULE", "WHAT")
    output.print_rows(columns, rows)
    for command in dict.fromkeys(document["not_asked"]):
        print(f"not asked: {command}")
    for each in document["unread_keys"]:
        print(f"no module reads: {each['key']}: {each['why']}")
    output.complain(*document["faults"])


def _line(action: dict[str, Any]) -> str:
    """One action; what cannot be known without doing it says so."""
    return f"{action['summary']} (its effect cannot be known)" if action["opaque"] else str(action["summary"])
