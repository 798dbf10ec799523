"""What cannot become a template, or is no use as one; real ones: tests/boot/test_compute_template.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from spawner.compute.driver import Bus, Disk, VmSpec
from spawner.compute.qemu.accelerator import Accelerator
from spawner.compute.qemu.template import SEED_BYTES, Template, resume, save
from spawner.compute.qemu.vm import Vm
from spawner.errors import TemplateRefused

TEMPLATE = Template(Path("/state"), VmSpec("t", uuid4(), kernel=Path("/k"), memory_mib=256), "tcg")


async def test_a_guest_with_nvme_cannot_become_a_template(make_vm: Callable[..., Vm], tmp_path: Path) -> None:
    vm = make_vm("well-behaved", disks=(Disk(tmp_path / "disk", bus=Bus.NVME),))
    with pytest.raises(TemplateRefused) as caught:
        await save(vm, tmp_path / "state")
    assert str(caught.value) == "template web-1: NVMe disks cannot be saved. Use virtio disks and an initrd."
    assert not (tmp_path / "state").exists()


def test_a_state_of_another_accelerator_is_refused() -> None:
    TEMPLATE.require(Accelerator("tcg", "", 0.0))
    with pytest.raises(TemplateRefused) as caught:
        TEMPLATE.require(Accelerator("kvm", "", 0.0))
    assert str(caught.value) == "template t: it was saved on tcg, this is kvm. Make it again on this machine."


def test_an_instance_of_a_template_is_the_same_machine_under_another_name() -> None:
    uuid = uuid4()
    spec = TEMPLATE.for_instance("web-1", uuid)
    assert (spec.name, spec.uuid) == ("web-1", uuid)
    assert (spec.kernel, spec.memory_mib, spec.machine) == (Path("/k"), 256, TEMPLATE.spec.machine)


@pytest.mark.parametrize(
    ("seed", "mac"),
    [
        (b"", "52:54:00:00:00:01"),
        (bytes(SEED_BYTES - 1), "52:54:00:00:00:01"),
        (bytes(SEED_BYTES), '52:54:00:00:00:01", "x": "'),
    ],
)
async def test_no_guest_goes_on_without_a_whole_seed_and_a_mac(
    make_vm: Callable[..., Vm], seed: bytes, mac: str
) -> None:
    with pytest.raises(ValueError, match="a seed of 64 bytes and a MAC address are expected"):
        await resume(make_vm("well-behaved"), seed, mac)
