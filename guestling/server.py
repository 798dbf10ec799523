"""Servers of the cloud that `guestling api` serves: create, list, show, delete, and what happens to them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guestling import output, server_access, server_events
from guestling.parser import ParserOfWords

if TYPE_CHECKING:
    from spawner.client import Client

DEFAULT_TIMEOUT_S = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling server` and of each thing it does."""
    _add_common(parser)
    parser.set_defaults(format="table", clouds=None, cloud=None)
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True, parser_class=ParserOfWords)
    _add_create(what.add_parser("create", help="make a server"))
    what.add_parser("list", help="list servers")
    for name, text in (
        ("show", "show one server"),
        ("stop", "switch it off"),
        ("start", "switch it on"),
    ):
        what.add_parser(name, help=text).add_argument("server", metavar="SERVER")
    console = what.add_parser("console", help="print what its console said")
    console.add_argument("server", metavar="SERVER")
    how = console.add_mutually_exclusive_group()
    how.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    how.add_argument("--attach", action="store_true", help="type on it too; Ctrl-] ends")
    _add_exec(what.add_parser("exec", help="carry out a command in its guest, as root"))
    delete = what.add_parser("delete", help="delete servers")
    delete.add_argument("server", metavar="SERVER", nargs="+")
    delete.add_argument("--wait", action="store_true", help="return when they are gone")
    reboot = what.add_parser("reboot", help="restart one")
    reboot.add_argument("server", metavar="SERVER")
    reboot.add_argument("--hard", action="store_true", help="do not ask the guest")
    events = what.add_parser("events", help="what happened to a server and in its guest")
    events.add_argument("server", metavar="SERVER")
    events.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    wait = what.add_parser("wait", help="wait for a server's state, its agent's result, or its signals")
    wait.add_argument("server", metavar="SERVER")
    wait.add_argument(
        "--for",
        dest="goal",
        type=server_events.goal,
        default="active",
        metavar=server_events.GOALS,
        help="agent: the result of this boot; signals: N posts of success to the signal address in the guest"
        " (default: active)",
    )
    wait.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_S, metavar="SECONDS")
    for each in what.choices.values():
        _add_common(each)


def _add_common(parser: argparse.ArgumentParser) -> None:
    """What stands before or behind the word that says what to do."""
    group = parser.add_argument_group("the cloud")
    group.add_argument(
        "--format", choices=("table", "json"), default=argparse.SUPPRESS, help="default: table"
    )
    group.add_argument(
        "--clouds", type=Path, metavar="FILE", default=argparse.SUPPRESS,
        help="clouds.yaml (default: $OS_CLIENT_CONFIG_FILE, else that of `guestling api`)",
    )  # fmt: skip
    group.add_argument(
        "--cloud", default=argparse.SUPPRESS, help="the cloud in it (default: $OS_CLOUD, else guestling)"
    )


def _add_exec(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [--timeout SECONDS] SERVER ('COMMAND LINE' | [--] WORD ...)"
    parser.description = (
        "One word is a command line of /bin/sh. Several are a program and its arguments, which no shell"
        " reads; behind -- they may begin with -. Exit status: the command's own; 124 when its time was up,"
        " with a line on stderr that says so; 1 when it cannot be asked for, 2 for an input error."
    )
    parser.add_argument("server", metavar="SERVER")
    parser.add_argument(
        "--timeout", type=_limit, default=60.0, metavar="SECONDS",
        help="end the command after so many (default: 60, at most 600); it may wait as long for its turn",
    )  # fmt: skip
    parser.set_defaults(words=())


def _limit(text: str) -> float:
    """The limit of a command. Raises ArgumentTypeError."""
    from spawner.compute.command_limits import TIMEOUT_LIMIT_S

    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= TIMEOUT_LIMIT_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of seconds above 0, at most {TIMEOUT_LIMIT_S}. Write for example 300"
        )
    return seconds


def _add_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--image", required=True, help="image, by name or id")
    parser.add_argument("--flavor", required=True, help="flavor, by name or id")
    parser.add_argument("--user-data", type=Path, metavar="FILE")
    parser.add_argument("--key-name", metavar="KEY")
    parser.add_argument("--config-drive", choices=("true", "false"), default="false")
    parser.add_argument("--network", "--nic", action="append", default=[], metavar="NETWORK")
    parser.add_argument("--property", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--availability-zone", metavar="ZONE")
    parser.add_argument("--wait", action="store_true", help="return when it is active")
    parser.add_argument(
        "--for",
        dest="goal",
        type=server_events.goal,
        metavar=server_events.GOALS,
        help="return when this is so, as `server wait` would",
    )
    parser.add_argument(
        "--explain", action="store_true", help="say which host would take it, and make nothing"
    )
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_S, metavar="SECONDS")


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 done, 1 refused or failed, 2 input error."""
    from guestling.api import default_state
    from spawner.client import Client, read_clouds
    from spawner.errors import SpawnerError

    named = os.environ.get("OS_CLIENT_CONFIG_FILE")
    clouds = arguments.clouds or (Path(named) if named else default_state() / "clouds.yaml")
    cloud = arguments.cloud or os.environ.get("OS_CLOUD") or "guestling"
    try:
        with Client(read_clouds(clouds, cloud)) as client:
            client.sign_in()
            return _DO[arguments.what](client, arguments)
    except SpawnerError as error:
        output.complain(error)
        return 1
    except (OSError, ValueError) as error:
        output.complain(error)
        return 2


def _create(client: Client, arguments: argparse.Namespace) -> int:
    server = _wish(client, arguments)
    if arguments.explain:
        found = client.call("POST", "/compute/v2.1/x-explain", {"server": server})
        return _show_verdicts(found["hosts"], arguments)
    server_id = client.call("POST", "/compute/v2.1/servers", {"server": server})["server"]["id"]
    if arguments.wait or arguments.goal:
        made = client.until_settled(server_id, arguments.timeout)
    else:
        made = client.call("GET", f"/compute/v2.1/servers/{server_id}")["server"]
    if made["status"] == "ERROR":
        _print_server(client, made, arguments)
        fault = made.get("fault", {})
        output.complain(
            f"{made['name']}: {fault.get('message', 'the build failed')}", fault.get("details", "")
        )
        return 1
    if arguments.goal in {None, "active"} or arguments.format == "table":
        _print_server(client, made, arguments)
    return 0 if arguments.goal in {None, "active"} else server_events.wait(client, made, arguments)


def _wish(client: Client, arguments: argparse.Namespace) -> dict[str, Any]:
    """The server as the API wants it. Raises ValueError for a property that is not KEY=VALUE."""
    import base64

    wish: dict[str, Any] = {
        "name": arguments.name,
        "imageRef": client.image(arguments.image)["id"],
        "flavorRef": client.flavor(arguments.flavor)["id"],
        "config_drive": arguments.config_drive == "true",
        "networks": [{"uuid": client.network(name)["id"]} for name in arguments.network] or "auto",
        "metadata": dict(_pair(text) for text in arguments.property),
    }
    if arguments.user_data is not None:
        wish["user_data"] = base64.b64encode(arguments.user_data.read_bytes()).decode()
    for name in ("key_name", "availability_zone"):
        if getattr(arguments, name):
            wish[name] = getattr(arguments, name)
    return wish


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise ValueError(f"--property: {text!r} is not KEY=VALUE. Write for example role=web")
    return name, value


def _show_verdicts(hosts: list[dict[str, Any]], arguments: argparse.Namespace) -> int:
    if arguments.format == "json":
        output.print_json(hosts)
    else:
        rows = [
            (each["host"], each["filter"] or f"weight {each['weight']:.3f}", each["reason"]) for each in hosts
        ]
        output.print_rows(("HOST", "VERDICT", "WHY"), rows)
    return 0 if any(not each["filter"] for each in hosts) else 1


def _list(client: Client, arguments: argparse.Namespace) -> int:
    servers = client.call("GET", "/compute/v2.1/servers/detail")["servers"]
    if arguments.format == "json":
        output.print_json(servers)
        return 0
    rows = [
        (each["id"], each["name"], each["status"], _addresses(each), each["flavor"]["original_name"])
        for each in servers
    ]
    output.print_rows(("ID", "NAME", "STATUS", "ADDRESSES", "FLAVOR"), rows)
    return 0


def _addresses(server: dict[str, Any]) -> str:
    return ", ".join(each["addr"] for found in server["addresses"].values() for each in found)


def _show(client: Client, arguments: argparse.Namespace) -> int:
    _print_server(client, client.server(arguments.server), arguments)
    return 0


def _print_server(client: Client, server: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.format == "json":
        output.print_json(server)
        return
    pairs = {
        "id": server["id"],
        "name": server["name"],
        "status": server["status"],
        "task": server["OS-EXT-STS:task_state"] or "none",
        "addresses": _addresses(server),
        "image": _image_name(client, server),
        "flavor": server["flavor"]["original_name"],
        "key": server["key_name"] or "none",
        "created": server["created"],
    }
    if "fault" in server:
        pairs["fault"] = server["fault"]["message"]
    output.print_pairs(pairs)


def _image_name(client: Client, server: dict[str, Any]) -> str:
    """An image may have been deleted since: its id then."""
    from spawner.client import Refused

    if not server["image"]:
        return "none: it boots from a volume"
    image_id = str(server["image"]["id"])
    try:
        return str(client.call("GET", f"/image/v2/images/{image_id}")["name"] or image_id)
    except Refused:
        return image_id


def _delete(client: Client, arguments: argparse.Namespace) -> int:
    found = [client.server(name) for name in arguments.server]
    for server in found:
        client.call("DELETE", f"/compute/v2.1/servers/{server['id']}")
    if arguments.wait:
        for server in found:
            client.until_gone(server["id"], DEFAULT_TIMEOUT_S)
    return 0


def _console(client: Client, arguments: argparse.Namespace) -> int:
    """Guest output is hostile text: control characters are shown, not carried out."""
    if arguments.attach:
        return server_access.attach(client, arguments)
    if arguments.follow:
        return server_access.follow(client, arguments)
    server = client.server(arguments.server)
    body: dict[str, Any] = {"os-getConsoleOutput": {}}
    text = client.call("POST", f"/compute/v2.1/servers/{server['id']}/action", body)["output"]
    if arguments.format == "json":
        output.print_json({"output": text})
        return 0
    for line in text.splitlines():
        print(
            "".join(
                letter if letter.isprintable() or letter == "\t" else f"\\x{ord(letter):02x}"
                for letter in line
            )
        )
    return 0


def _action(body: dict[str, Any]) -> Callable[[Client, argparse.Namespace], int]:
    def act(client: Client, arguments: argparse.Namespace) -> int:
        server = client.server(arguments.server)
        client.call("POST", f"/compute/v2.1/servers/{server['id']}/action", body)
        client.until_settled(server["id"], DEFAULT_TIMEOUT_S)
        return 0

    return act


def _reboot(client: Client, arguments: argparse.Namespace) -> int:
    kind = "HARD" if arguments.hard else "SOFT"
    return _action({"reboot": {"type": kind}})(client, arguments)


def _wait(client: Client, arguments: argparse.Namespace) -> int:
    server = client.server(arguments.server)
    if arguments.goal != "active":
        return server_events.wait(client, server, arguments)
    settled = client.until_settled(server["id"], arguments.timeout)
    _print_server(client, settled, arguments)
    return 0 if settled["status"] == "ACTIVE" else 1


_DO: dict[str, Callable[[Client, argparse.Namespace], int]] = {
    "create": _create,
    "list": _list,
    "show": _show,
    "delete": _delete,
    "console": _console,
    "exec": server_access.execute,
    "start": _action({"os-start": None}),
    "stop": _action({"os-stop": None}),
    "reboot": _reboot,
    "events": server_events.show,
    "wait": _wait,
}
