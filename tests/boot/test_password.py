"""A random password on its way: made in the guest, encrypted for the key's owner, left with OpenStack."""

from __future__ import annotations

import asyncio
import base64
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from image_harness import boot, instances, store
from image_harness.progress import nobody
from metadata_server.app import MetadataServer
from metadata_server.listener import Listener, Mode
from metadata_server.passwords import MemoryPasswords
from spawner.compute.agent_events import Result
from spawner.compute.qemu.run_directory import RunDirectory

pytestmark = pytest.mark.boot

USER_DATA = b"""#cloud-config
chpasswd:
  expire: false
  users: [{name: debian, type: RANDOM}]
"""


def test_os_14_the_owner_of_the_key_reads_the_password(tiny: store.Image, host: boot.Host) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    guest = instances.describe("secret-1", UUID(int=0x5EC2E7), USER_DATA, (public,))
    passwords = MemoryPasswords()
    result = asyncio.run(_boot(boot.Order(tiny, guest, deadline_s=120), host, passwords))
    assert result is not None
    assert result.status == "done", result
    posted = asyncio.run(passwords.read(guest.uuid))
    password = key.decrypt(base64.b64decode(posted, validate=True), padding.PKCS1v15())
    assert len(password) >= 20
    assert password.decode("ascii").isprintable()


async def _boot(order: boot.Order, host: boot.Host, passwords: MemoryPasswords) -> Result | None:
    run = RunDirectory.create()
    server = MetadataServer(passwords=passwords)
    server.instances.put(order.instance)
    await server.listen(Listener(f"unix:{run.metadata_socket}", Mode.SOCKET, instance_id=order.instance.uuid))
    try:
        async with boot.machine(order, host, run, nobody) as vm:
            async for event in vm.events():
                if isinstance(event, Result):
                    return event
        return None
    finally:
        await server.close()
        run.remove()
