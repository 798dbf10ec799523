"""A network all the way: instance document, network_data.json, files of the agent, kernel of the guest."""

from __future__ import annotations

import asyncio
import re
from uuid import UUID

import pytest

from image_harness import boot, instances, store
from image_harness.progress import Source
from instance_metadata.instance import Instance, parse

pytestmark = pytest.mark.boot

MAC = "52:54:00:12:34:77"
USER_DATA = b"""#cloud-config
runcmd:
- echo NETWORK-BEGIN > /dev/console
- "{ ip -o addr; ip route; ip -6 route; ip -o link; } > /dev/console"
- echo NETWORK-END > /dev/console
"""
NETWORK = {
    "links": [{"id": "tap0", "type": "phy", "ethernet_mac_address": MAC, "mtu": 1400}],
    "networks": [
        {
            "id": "network0",
            "link": "tap0",
            "type": "ipv4",
            "ip_address": "10.0.2.77",
            "netmask": "255.255.255.0",
            "routes": [
                {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.2.2"},
                {"network": "203.0.113.0", "netmask": "255.255.255.0", "gateway": "10.0.2.3"},
            ],
            "services": [{"type": "dns", "address": "10.0.2.3"}],
        },
        {
            "id": "network1",
            "link": "tap0",
            "type": "ipv6",
            "ip_address": "2001:db8::77",
            "netmask": "ffff:ffff:ffff:ffff::",
            "routes": [],
            "services": [],
        },
    ],
    "services": [],
}
# What `ip` must say in the guest.
ASKED = (
    r"eth0\s+inet 10\.0\.2\.77/24 ",
    r"eth0\s+inet6 2001:db8::77/64 ",
    r"default via 10\.0\.2\.2 dev eth0",
    r"203\.0\.113\.0/24 via 10\.0\.2\.3 dev eth0",
    r"eth0: .*mtu 1400 ",
)


def instance(number: int) -> Instance:
    uuid = str(UUID(int=0x6F2B9A364C1E4D5A9A773F0D5B1E8C00 + number))
    document = {
        "uuid": uuid,
        "name": "net-1",
        "hostname": "net-1",
        "network": NETWORK,
        "user_data": USER_DATA,
    }
    return parse(document, "net-1")


@pytest.mark.parametrize("source", [Source.CONFIG_DRIVE, Source.METADATA], ids=lambda source: source.value)
def test_guest_has_the_network_of_its_instance(source: Source, tiny: store.Image, host: boot.Host) -> None:
    order = boot.Order(tiny, instance(len(source.value)), source, deadline_s=120)
    outcome = asyncio.run(boot.boot(order, host))
    console = outcome.console.decode(errors="replace").replace("\r", "")
    said = console.partition("NETWORK-BEGIN")[2].partition("NETWORK-END")[0]
    assert [words for words in ASKED if not re.search(words, said)] == [], said or console[-3000:]
    assert outcome.succeeded, outcome.result


def test_a_lease_reaches_the_metadata_service_to_the_end(tiny: store.Image, host: boot.Host) -> None:
    """What user data runs in the final stage still has the network that the first stage asked for."""
    user_data = b"""#cloud-config
runcmd:
- wget -q -O /run/again http://169.254.169.254/openstack/latest/meta_data.json
- [grep, -q, again-1, /run/again]
"""
    guest = instances.describe("again-1", UUID(int=0x6F2B9A364C1E4D5A9A773F0D5B1E8D00), user_data, ())
    outcome = asyncio.run(boot.boot(boot.Order(tiny, guest, Source.METADATA, deadline_s=120), host))
    assert outcome.succeeded, outcome.console.decode(errors="replace")[-3000:]
    assert outcome.requests[-1].path == "/openstack/latest/meta_data.json"
