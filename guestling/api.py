"""Serve the OpenStack APIs: a small cloud in one process, for the real clients."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from guestling import output

if TYPE_CHECKING:
    from spawner.page.lint import Finding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling api`."""
    parser.add_argument(
        "--listen",
        default="127.0.0.1:8774",
        metavar="ADDR:PORT",
        help="where to listen (default: 127.0.0.1:8774)",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="where the cloud's state is kept (default: in the data directory)",
    )
    parser.add_argument(
        "--store", metavar="URL", help="a database by SQLAlchemy URL instead of SQLite in --state"
    )
    parser.add_argument(
        "--driver",
        choices=("qemu", "libvirt", "fake"),
        default="qemu",
        help="what runs the servers: QEMU, libvirt, or nothing at all (default: qemu)",
    )
    parser.add_argument(
        "--libvirt-uri",
        metavar="URI",
        help="with --driver libvirt: its daemon (default: qemu:///system for root, else qemu:///session)",
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="NAME",
        help="offer an image of the local image store, such as tiny (repeat for more)",
    )
    parser.add_argument(
        "--network",
        choices=("auto", "bridge"),
        default="auto",
        help="auto: each guest alone with its metadata; bridge: guests of one network reach each other, needs"
        " root, and they end when this does (default: auto)",
    )
    parser.add_argument(
        "--guests",
        choices=("adopt", "end"),
        default="adopt",
        help="when this ends: guests run on and the next start adopts them, or they end (default: adopt)",
    )
    output.add_format(parser)


def default_state() -> Path:
    """Where a cloud's state is when nothing else is said."""
    import os

    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return data / "guestling" / "cloud"


def lint(user_data: bytes) -> list[Finding]:
    """What the page says about user data: the same as `guestling lint --for nova`."""
    from guestling import user_data_files as files
    from guestling.lint import faults_of
    from spawner.page.lint import Finding

    try:
        found = faults_of(files.parse(user_data, "user-data", "user-data"), ["nova"])
    except files.UnreadableDocument as error:
        return [Finding(1, "", str(error).removeprefix("user-data: "), is_error=True)]
    return [Finding(fault.line, fault.key, fault.what, fault.is_error) for fault in found]


def default_libvirt_uri(uid: int) -> str:
    """The daemon that runs QEMU as somebody else than root."""
    return "qemu:///system" if uid == 0 else "qemu:///session"


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it. Exit status 0 then, 1 when it cannot start, 2 for wrong arguments."""
    import asyncio
    import os

    from image_harness.cloud import CloudOrder, serve
    from image_harness.errors import HarnessError
    from spawner.compute.libvirt import uri as libvirt_uri
    from spawner.errors import InvalidSpec, SpawnerError

    host, _, port = arguments.listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        output.complain(f"--listen: {arguments.listen!r} is not ADDR:PORT. Write for example 127.0.0.1:8774")
        return 2
    uri = arguments.libvirt_uri or default_libvirt_uri(os.geteuid())
    try:
        libvirt_uri.parse(uri)
    except InvalidSpec as error:
        output.complain(error)
        return 2
    if (arguments.driver, arguments.network) == ("libvirt", "bridge"):
        output.complain("--network bridge: guests under libvirt have user networks. Use --driver qemu")
        return 2
    order = CloudOrder(
        host=host.strip("[]"),
        port=int(port),
        state=(arguments.state or default_state()).absolute(),
        store=arguments.store,
        driver=arguments.driver,
        images=tuple(arguments.image),
        outlive=arguments.guests == "adopt",
        libvirt_uri=uri,
        network=arguments.network,
    )

    def ready(url: str, clouds: Path) -> None:
        if arguments.format == "json":
            output.print_json({"url": url, "clouds_yaml": str(clouds)})
        else:
            print(f"ready at {url}. In another terminal:\n")
            print(f"  export OS_CLIENT_CONFIG_FILE={clouds} OS_CLOUD=guestling")
            print("  openstack server list\n")
            print(f"The page, with the user name and password of that file: {url}/\n", flush=True)

    try:
        asyncio.run(serve(order, ready, output.complain, lint))
    except (SpawnerError, HarnessError, OSError) as error:
        output.complain(error)
        return 1
    return 0
