"""An empty store, a cloud of one fake host with its callers, and guests whose QEMU is `stub_qemu.py`.

The stub is fast, and able to fail in every way.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest

from spawner.api.cloud import Cloud
from spawner.compute.driver import VmSpec
from spawner.compute.fake_node import FakeNode
from spawner.compute.qemu.accelerator import TCG, Accelerator
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.vm import Keeping, Patience, Vm
from spawner.store.engine import Store, open_store
from tests.unit.spawner.callers import Api, Caller, served

STUB = Path(__file__).with_name("stub_qemu.py")
UUID_1 = UUID("11111111-2222-4333-8444-555555555555")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with nothing in it."""
    opened = await open_store(str(tmp_path / "spawner.db"))
    yield opened
    await opened.close()


@pytest.fixture
def node() -> FakeNode:
    """The cloud's one host."""
    return FakeNode("host-1")


@pytest.fixture
async def cloud(tmp_path: Path, unused_tcp_port: int, node: FakeNode) -> AsyncIterator[Cloud]:
    """A cloud on loopback with the projects p1 to p3; its state is in `cloud` below the test's directory."""
    async with served(tmp_path, unused_tcp_port, node) as opened:
        yield opened


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """For the callers of one test."""
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def member(cloud: Cloud, session: aiohttp.ClientSession) -> Caller:
    """A member of the project p1."""
    return Caller(session, cloud, "p1", "member")


@pytest.fixture
def nobody(cloud: Cloud, session: aiohttp.ClientSession) -> Api:
    """Somebody who has not signed in."""
    return Api(session, cloud.url)


@pytest.fixture
def public() -> Iterator[Path]:
    """A short directory that QEMU's unprivileged user can enter, which pytest's own are not."""
    directory = Path(tempfile.mkdtemp(prefix="gt"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def stub(public: Path) -> str:
    """The stub as an executable file."""
    program = Path(shutil.copy(STUB, public / "qemu-stub"))
    program.chmod(0o755)
    return os.fspath(program)


@pytest.fixture
def run(public: Path) -> Iterator[RunDirectory]:
    """A run directory of its own."""
    directory = RunDirectory.create(public / "run")
    yield directory
    directory.remove()


@pytest.fixture
def make_vm(stub: str, run: RunDirectory, public: Path) -> Callable[..., Vm]:
    """`make_vm(mode)` is a guest on the stub in that mode; further arguments are the spec's."""

    def make(
        mode: str,
        accelerator: str = TCG,
        patience: Patience = Patience(),  # noqa: B008 - a frozen value
        binary: str = stub,
        keeping: Keeping | None = None,
        **fields: object,
    ) -> Vm:
        kernel = public / "kernel"
        kernel.write_bytes(b"no kernel")
        spec = VmSpec(name="web-1", uuid=UUID_1, kernel=kernel, cpu=mode, **fields)  # type: ignore[arg-type]  # by name
        found = Accelerator(accelerator, "chosen by the test", 0.0)
        return Vm(spec, run, found, binary=binary, patience=patience, keeping=keeping)

    return make
