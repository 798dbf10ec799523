"""Services, packages and ports of a guest, with answers as guests give them."""

from __future__ import annotations

import pytest

from image_harness.errors import GuestBroken
from image_harness.guest_facts import Package, Port, Run, Service
from image_harness.guest_shell.protocol import Answer

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0F02000A:0050 0202000A:C0DE 01 00000000:00000000 00:00000000 00000000     0        0 3
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 0
   1: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0
"""


def _guest(answers: dict[str, tuple[int, str]]) -> Run:
    """A guest that knows these commands by their beginning; 127 for all others."""

    def run(command: str) -> Answer:
        found = next((answer for begin, answer in answers.items() if command.startswith(begin)), (127, ""))
        return Answer(command, found[0], found[1].encode(), b"", 0.0)

    return run


@pytest.mark.parametrize(
    ("number", "addresses"),
    [(22, {"0.0.0.0", "::"}), (8080, {"127.0.0.1"}), (631, {"::1"}), (80, set())],
)
def test_ports_are_read_from_the_kernels_tables(number: int, addresses: set[str]) -> None:
    port = Port(number, _guest({"cat /proc/net/tcp": (0, TCP)}))
    assert port.addresses == addresses
    assert port.is_listening is bool(addresses)


def test_a_port_is_open_to_an_address_or_to_all_of_its_family() -> None:
    run = _guest({"cat /proc/net/tcp": (0, TCP)})
    assert Port(22, run).is_open_to("10.0.2.15")
    assert Port(22, run).is_open_to("::1")
    assert Port(8080, run).is_open_to("127.0.0.1")
    assert not Port(8080, run).is_open_to("10.0.2.15")


def test_a_service_is_what_systemd_says() -> None:
    run = _guest(
        {
            "systemctl show -P LoadState": (0, "loaded\n"),
            "systemctl show -P ActiveState": (0, "failed\n"),
            "systemctl show -P Result": (0, "exit-code\n"),
            "systemctl is-enabled -- 'a b'": (1, "disabled\n"),
        }
    )
    service = Service("a b", run)
    assert (service.exists, service.is_active, service.is_enabled) == (True, False, False)
    assert service.result == "exit-code"


def test_a_guest_without_systemd_or_package_manager_says_so() -> None:
    with pytest.raises(GuestBroken, match="has no systemd"):
        _ = Service("ssh", _guest({})).is_active
    with pytest.raises(GuestBroken, match="no package manager that is known here: dpkg, rpm, apk"):
        _ = Package("bash", _guest({})).is_installed


@pytest.mark.parametrize(
    ("answers", "version"),
    [
        ({"command -v dpkg-query": (0, ""), "dpkg-query -W": (0, "installed 1:2-3")}, "1:2-3"),
        ({"command -v dpkg-query": (0, ""), "dpkg-query -W": (0, "config-files 1:2-3")}, None),
        ({"command -v dpkg-query": (0, ""), "dpkg-query -W": (1, "")}, None),
        (
            {"command -v rpm": (0, ""), "rpm -q --qf '%{VERSION}-%{RELEASE}' bash": (0, "5.2-1.el9")},
            "5.2-1.el9",
        ),
        ({"command -v rpm": (0, ""), "rpm -q": (1, "package bash is not installed")}, None),
        ({"command -v apk": (0, ""), "apk list": (0, "bash-5.2-r0\n")}, "bash-5.2-r0"),
        ({"command -v apk": (0, ""), "apk list": (0, "")}, None),
    ],
)
def test_a_package_is_what_the_guests_own_manager_says(
    answers: dict[str, tuple[int, str]], version: str | None
) -> None:
    package = Package("bash", _guest(answers))
    assert package.is_installed is (version is not None)
    if version is not None:
        assert package.version == version
    else:
        with pytest.raises(KeyError, match="bash: not installed"):
            _ = package.version
