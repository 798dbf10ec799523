"""The network as the console shows it, and whether the agent waits for it."""

from __future__ import annotations

import pytest

from guest_agent import net_info
from tests.unit.guest_agent.run.roots import MAC, Root

ROUTES = (
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
    "eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\n"
    "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"
)
IPV6 = "fe80000000000000505400fffe123456 02 40 20 80     eth0\n"


def test_devices_and_routes_are_shown_in_cloud_inits_tables(root: Root) -> None:
    root.put("sys/class/net/eth0/flags", "0x1003\n")
    root.put("proc/net/if_inet6", IPV6)
    root.put("proc/net/route", ROUTES)
    lines = [line.removeprefix("ci-info: ") for line in net_info.tables(root.machine())]
    assert "Net device info" in lines[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert cells == [
        ["Device", "Up", "Address", "Mask", "Scope", "Hw-Address"],
        ["eth0", "True", "fe80::5054:ff:fe12:3456/64", ".", "link", MAC],
        ["Route", "Destination", "Gateway", "Genmask", "Interface", "Flags"],
        ["0", "0.0.0.0", "10.0.2.2", "0.0.0.0", "eth0", "UG"],
        ["1", "10.0.2.0", "0.0.0.0", "255.255.255.0", "eth0", "U"],
    ]
    assert len({len(line) for line in lines[:6]}) == 1


def test_a_machine_without_interfaces_has_an_empty_table(root: Root) -> None:
    import shutil

    shutil.rmtree(root.path / "sys")
    assert [line for line in net_info.tables(root.machine()) if "eth" in line] == []


@pytest.mark.parametrize(("user_data", "waits"), [("", False), ("#!/bin/sh\n", True)])
def test_the_network_is_waited_for_by_its_own_program(root: Root, user_data: str, waits: bool) -> None:
    (root.path / "run/systemd/system").mkdir(parents=True)
    root.put("etc/cloud/cloud.cfg.d/10.cfg", "system_info: {network: {activators: [networkd]}}\n")
    root.put("usr/bin/systemctl", "#!/bin/sh\n", 0o755)
    root.seed(user_data)
    root.agent("init", "--local")
    root.agent("init")
    command = ["systemctl", "start", "systemd-networkd-wait-online.service"]
    assert (command in root.commands()) is waits
