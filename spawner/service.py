"""Bring a cloud up: the store, its key, the first admin and what a first user needs; then serve.

Secrets are files of mode 0600 from the first byte: the token key beside the store, and `clouds.yaml`, which
is what the real clients read. Source: issue "The OpenStack API", design section 7.
"""

from __future__ import annotations

import base64
import os
import secrets
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import floating_ips, identity
from spawner.api.cloud import Cloud
from spawner.compute.node import ComputeNode
from spawner.conductor import Conductor
from spawner.devices import VOLUME_FILES
from spawner.identity import SALT_BYTES, Tokens
from spawner.images import ImageFiles
from spawner.ports import Ports
from spawner.store.engine import Store, open_store
from spawner.store.tables import FLAVORS, NETWORKS, SUBNETS, USERS
from spawner.volumes import Volumes

KEY_BYTES = 32
ADMIN = "admin"
PROJECT = "demo"
# Name, vCPUs, memory in MiB, disk in GiB: small ones first, as image tests want them.
FIRST_FLAVORS = (
    ("m1.nano", 1, 256, 0),
    ("m1.tiny", 1, 512, 1),
    ("m1.small", 1, 2048, 20),
    ("m1.medium", 2, 4096, 40),
    ("m1.large", 4, 8192, 80),
)
FIRST_CIDR = "10.0.2.0/24"


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, at every instant."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def token_key(directory: Path) -> bytes:
    """The key that signs tokens, made at the first start."""
    path = directory / "token.key"
    if not path.exists():
        write_secret(path, secrets.token_bytes(KEY_BYTES))
    return path.read_bytes()


async def open_cloud(
    directory: Path, nodes: Sequence[ComputeNode], url: str, store: Store | None = None
) -> Cloud:
    """Open the cloud whose state is in a directory, making it at the first start."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = store or await open_store(str(directory / "spawner.db"))
    await _first_start(store, directory, url)
    async with store.write_alone() as connection:
        await floating_ips.make_network(connection, _new_id, time.time())
    conductor = Conductor(store, nodes, clock=time.time, new_id=_new_id)
    await conductor.start()
    tokens = Tokens(token_key(directory), time.time)
    images = ImageFiles(directory / "images")
    volumes = Volumes(
        store, conductor, directory / VOLUME_FILES, images.path, clock=time.time, new_id=_new_id
    )
    await volumes.start()
    ports = Ports(store, conductor, clock=time.time, new_id=_new_id, random=secrets.token_bytes)
    return Cloud(
        store, conductor, tokens, images, url, time.time, _new_id, secrets.token_bytes, volumes, ports
    )


def _new_id() -> str:
    return str(uuid.uuid4())


async def _first_start(store: Store, directory: Path, url: str) -> None:
    """Make the first admin, flavors and network, and tell the clients about them in clouds.yaml."""
    async with store.write_alone() as connection:
        if (await connection.execute(select(func.count()).select_from(USERS))).scalar():
            return
        password = base64.urlsafe_b64encode(secrets.token_bytes(18)).decode()
        project_id, user_id, now = uuid.uuid4().hex, uuid.uuid4().hex, time.time()
        await identity.add_project(connection, project_id, PROJECT, now, "The first project")
        salt = secrets.token_bytes(SALT_BYTES)
        await identity.add_user(connection, user_id, ADMIN, password, salt, project_id, now)
        await identity.assign(connection, user_id, project_id, "admin")
        await _add_flavors(connection, now)
        await _add_network(connection, project_id, now)
        path = directory / "clouds.yaml"
        path.unlink(missing_ok=True)
        write_secret(path, clouds_yaml(url, password).encode())


async def _add_flavors(connection: AsyncConnection, now: float) -> None:
    for number, (name, vcpus, ram_mib, disk_gib) in enumerate(FIRST_FLAVORS, 1):
        await connection.execute(
            insert(FLAVORS).values(
                id=str(number),
                name=name,
                vcpus=vcpus,
                ram_mib=ram_mib,
                disk_gib=disk_gib,
                extra_specs={},
                created_at=now,
            )
        )


async def _add_network(connection: AsyncConnection, project_id: str, now: float) -> None:
    network_id = _new_id()
    await connection.execute(
        insert(NETWORKS).values(
            id=network_id, name="private", project_id=project_id, shared=True, created_at=now
        )
    )
    await connection.execute(
        insert(SUBNETS).values(
            id=_new_id(),
            name="private-v4",
            project_id=project_id,
            network_id=network_id,
            ip_version=4,
            cidr=FIRST_CIDR,
            gateway_ip="10.0.2.2",
            allocation_pools=[{"start": "10.0.2.15", "end": "10.0.2.254"}],
            dns_nameservers=["10.0.2.3"],
            created_at=now,
        )
    )


def clouds_yaml(url: str, password: str) -> str:
    """What `OS_CLOUD=guestling openstack ...` reads."""
    return f"""clouds:
  guestling:
    auth:
      auth_url: {url}/identity/v3
      username: {ADMIN}
      password: {password}
      project_name: {PROJECT}
      user_domain_name: Default
      project_domain_name: Default
    region_name: RegionOne
    identity_api_version: 3
"""
