"""Calls to libvirt, against the driver that libvirt has for tests: no daemon, everything else is real."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from spawner.compute.libvirt.connection import Connection
from spawner.compute.libvirt.uri import ConnectionUri, Scope
from spawner.errors import LibvirtFailed

pytest.importorskip("libvirt", reason="libvirt-python is missing; ./dev test puts it there")

TEST_DRIVER = ConnectionUri("test:///default", Scope.SYSTEM)
UUID_OF_TEST = "6695eb01-f6a4-8304-79aa-97f2502e193f"


class Told:
    """What was told of domains."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    def note(self, uuid: str, event: int, _detail: int) -> None:
        self.events.put_nowait((uuid, event))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def connection(told: Told) -> AsyncIterator[Connection]:
    connection = Connection(TEST_DRIVER)
    await connection.open(told.note, lambda: None)
    yield connection
    await connection.close()


async def test_what_becomes_of_a_domain_is_told_in_the_event_loop(connection: Connection, told: Told) -> None:
    def destroy() -> None:
        connection.raw.lookupByName("test").destroy()

    await connection.call("ending it", destroy)
    uuid, event = await asyncio.wait_for(told.events.get(), 10)
    assert (uuid, event) == (UUID_OF_TEST, connection.library.VIR_DOMAIN_EVENT_STOPPED)


async def test_sp_21_a_call_that_hangs_is_given_up_and_others_go_on(connection: Connection) -> None:
    comes_back = threading.Event()
    with pytest.raises(LibvirtFailed, match=r"hanging: no answer within 0\.05 s"):
        await connection.call("hanging", comes_back.wait, timeout_s=0.05)
    assert await connection.call("asking", connection.raw.getType) == "TEST"
    comes_back.set()


async def test_an_error_of_libvirt_says_what_was_done_and_has_its_number(
    connection: Connection, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LibvirtFailed, match="looking: Domain not found") as caught:
        await connection.call("looking", lambda: connection.raw.lookupByName("none"))
    assert caught.value.number == connection.library.VIR_ERR_NO_DOMAIN
    assert capfd.readouterr().err == ""


async def test_a_daemon_that_is_not_there_is_told_of() -> None:
    connection = Connection(ConnectionUri("qemu+unix:///system?socket=/nowhere/socket", Scope.SYSTEM))
    with pytest.raises(LibvirtFailed, match="connecting: Failed to connect socket to '/nowhere/socket'"):
        await connection.open(lambda *_: None, lambda: None)
    await connection.close()


async def test_nothing_is_asked_of_a_connection_that_was_closed(connection: Connection) -> None:
    await connection.close()
    with pytest.raises(LibvirtFailed, match="there is no connection"):
        _ = connection.raw


def test_an_environment_without_the_binding_says_what_to_install() -> None:
    program = (
        "import asyncio, sys; sys.modules['libvirt'] = None\n"
        "from spawner.compute.libvirt.connection import Connection\n"
        "from spawner.compute.libvirt.uri import parse\n"
        "asyncio.run(Connection(parse('qemu:///system')).open(lambda *_: None, lambda: None))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "LibvirtMissing: libvirt-python: " in done.stderr
    assert "Install guestling[libvirt]" in done.stderr
