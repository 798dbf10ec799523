"""Runs inside a root file system with real network tools, in a network namespace of its own.

Reads one job from standard input: {"renderer", "nics": {mac: name}, "files": {path: {"text", "mode"}},
"wanted"}. Makes the NICs (veth pairs), writes the files, starts the real program, and prints what `ip` says
as soon as it has all that is wanted, or after TIMEOUT_S. Standard library only: the file system has its own
Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMEOUT_S = float(os.environ.get("APPLY_TIMEOUT_S", "15"))
SETTLE_S = 0.3  # for what comes after the addresses, such as the routes of a second NIC
Job = dict[str, Any]


def run(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(argv)}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def start(*argv: str) -> None:
    """Leaves the program running; it ends with this process, which is the first of its namespace."""
    subprocess.Popen(argv, stdout=sys.stderr, stderr=sys.stderr, stdin=subprocess.DEVNULL)


def make_nics(nics: dict[str, str]) -> None:
    run("ip", "link", "set", "lo", "up")
    for number, (mac, name) in enumerate(sorted(nics.items())):
        run("ip", "link", "add", name, "address", mac, "type", "veth", "peer", "name", f"peer{number}")
        run("ip", "link", "set", f"peer{number}", "up")


def write(files: dict[str, Job]) -> None:
    Path("/etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    for name, file in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["text"])
        path.chmod(file["mode"])


def start_networkd() -> None:
    Path("/run/systemd/netif").mkdir(parents=True, exist_ok=True)
    run("chown", "-R", "systemd-network:systemd-network", "/run/systemd/netif")
    start("/lib/systemd/systemd-networkd")


def start_netplan() -> None:
    """netplan's files ask for the permanent MAC, which a real NIC has and one end of a veth pair has not."""
    run("netplan", "generate")
    for path in Path("/run/systemd/network").iterdir():
        path.write_text(path.read_text().replace("PermanentMACAddress=", "MACAddress="))
    start_networkd()


def start_eni() -> None:
    run("mount", "-o", "remount,rw", "/sys")  # ifenslave makes bonds there
    Path("/etc/network/interfaces").write_text("source /etc/network/interfaces.d/*\n")
    print(run("ifup", "-a", "-v", check=False), file=sys.stderr)


def start_network_manager() -> None:
    Path("/run/dbus").mkdir(exist_ok=True)
    quiet = "[main]\nno-auto-default=*\nplugins=keyfile\n[keyfile]\nunmanaged-devices=interface-name:peer*\n"
    Path("/etc/NetworkManager/conf.d/00-test.conf").write_text(quiet)
    run("dbus-daemon", "--system", "--fork")
    start("NetworkManager", "--no-daemon")


START: dict[str, Callable[[], None]] = {
    "networkd": start_networkd,
    "netplan": start_netplan,
    "eni": start_eni,
    "network-manager": start_network_manager,
}


def listed(*argv: str) -> list[Job]:
    """What `ip -json` prints; nothing at all for an empty table."""
    found = json.loads(run("ip", "-json", *argv, check=False) or "[]")
    return list(found)


def seen() -> Job:
    routes = listed("route", "show", "table", "all") + listed("-6", "route", "show", "table", "all")
    rules = listed("rule") + listed("-6", "rule")
    return {
        "links": listed("-details", "link"),
        "addresses": listed("addr"),
        "routes": routes,
        "rules": rules,
    }


def has_all(state: Job, wanted: Job) -> bool:
    """Are links, addresses and gateways there? The test compares the rest."""
    there = {f"{one['local']}/{one['prefixlen']}" for link in state["addresses"] for one in link["addr_info"]}
    addresses = {address for those in wanted.get("addresses", {}).values() for address in those}
    gateways = {route.get("gateway") for route in state["routes"]}
    wanted_gateways = {route.get("via") for route in wanted.get("routes", [])}
    links = {link["ifname"] for link in state["links"]}
    return addresses <= there and wanted_gateways <= gateways and set(wanted.get("links", {})) <= links


def main() -> None:
    job = json.load(sys.stdin)
    make_nics(job["nics"])
    write(job["files"])
    START[job["renderer"]]()
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and not has_all(seen(), job["wanted"]):
        time.sleep(0.1)
    time.sleep(SETTLE_S)
    json.dump(seen(), sys.stdout)


if __name__ == "__main__":
    main()
