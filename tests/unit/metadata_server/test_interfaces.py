"""An address that no interface has is refused with what there is and what to do (MS-D13)."""

from __future__ import annotations

import pytest

from metadata_server.binding import bind
from metadata_server.errors import CannotListen
from metadata_server.interfaces import addresses, why_unavailable
from metadata_server.listener import Listener


def test_this_host_has_its_loopback_addresses() -> None:
    assert "127.0.0.1" in addresses()["lo"]


def test_ms_d13_the_reason_names_the_interfaces_and_the_remedy() -> None:
    here = {"lo": ("127.0.0.1", "::1"), "eth0": ("192.0.2.7",), "dummy0": ()}
    assert why_unavailable("169.254.169.254", here) == (
        "no interface of this host has the address (there are: eth0 192.0.2.7; lo 127.0.0.1 ::1)."
        " Add it with: ip addr add 169.254.169.254/32 dev lo"
    )
    assert "ip addr add fe80::a9fe:a9fe/128 dev lo" in why_unavailable("fe80::a9fe:a9fe%eth0", here)


def test_ms_d13_an_address_that_is_nowhere_cannot_be_listened_on() -> None:
    with pytest.raises(CannotListen, match=r"no interface of this host has the address .* Add it with"):
        bind(Listener("198.51.100.77:0"))
