"""Guests whose QEMU is `stub_qemu.py`: fast, and able to fail in every way."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from spawner.compute.driver import VmSpec
from spawner.compute.qemu.accelerator import TCG, Accelerator
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.vm import Keeping, Patience, Vm

STUB = Path(__file__).with_name("stub_qemu.py")
UUID_1 = UUID("11111111-2222-4333-8444-555555555555")


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
