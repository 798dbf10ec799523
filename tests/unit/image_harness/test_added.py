"""Images from elsewhere: looked into before anything else, copied whole, refused with a reason."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from guestling.main import main
from image_harness import added, images, store
from image_harness.errors import InvalidImage, UnknownImage

needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")


def disk(where: Path, size: int = 1 << 20) -> Path:
    where.write_bytes(b"boot code".ljust(size, b"\0"))
    return where


def create(path: Path, form: str, *more: str) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", form, *more, str(path), "1M"], check=True)
    return path


def test_a_raw_disk_is_copied_whole(tmp_path: Path) -> None:
    source = disk(tmp_path / "x.img")
    built = added.add(source, "mine", {"min_ram": "512", "hw_disk_bus": "scsi"})
    image = images.show("mine")
    assert not built.cached
    assert image.disk is not None
    assert (image.kernel, image.disk_format, image.disk.read_bytes()) == (None, "raw", source.read_bytes())
    assert image.manifest.memory_mib == 512
    assert image.manifest.properties == {"hw_disk_bus": "scsi", "min_ram": "512"}
    assert added.add(source, "mine", {"hw_disk_bus": "scsi", "min_ram": "512"}).cached
    assert not added.add(source, "mine", {}).cached


@needs_qemu_img
@pytest.mark.parametrize(("form", "kept_as"), [("qcow2", "qcow2"), ("vmdk", "qcow2"), ("vpc", "qcow2")])
def test_other_formats_are_known_by_their_content(tmp_path: Path, form: str, kept_as: str) -> None:
    image = added.add(create(tmp_path / "named.raw", form), "mine", {}).image
    assert image.disk_format == kept_as


def test_a_file_is_booted_where_it_is(tmp_path: Path) -> None:
    source = disk(tmp_path / "x.img")
    image = added.in_place(source, tmp_path / "own")
    assert image.disk is not None
    assert (image.name, image.disk_format, image.disk.resolve()) == ("x.img", "raw", source)
    assert image.directory == tmp_path / "own"
    assert store.images() == ()


@needs_qemu_img
def test_a_file_that_guests_do_not_run_from_wants_the_store(tmp_path: Path) -> None:
    with pytest.raises(InvalidImage, match=r"do not run from vmdk\. Put it into the store"):
        added.in_place(create(tmp_path / "x.vmdk", "vmdk"), tmp_path / "own")


@needs_qemu_img
def test_sp_09_a_file_with_a_backing_file_is_not_booted(tmp_path: Path) -> None:
    base, hostile = disk(tmp_path / "base.raw"), tmp_path / "hostile.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), str(hostile)]
    subprocess.run(argv, check=True)
    with pytest.raises(InvalidImage, match="not safe to use: backing_file"):
        added.in_place(hostile, tmp_path / "own")


@needs_qemu_img
def test_sp_09_a_backing_file_is_refused(tmp_path: Path) -> None:
    base = disk(tmp_path / "base.raw")
    hostile = tmp_path / "hostile.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), str(hostile)]
    subprocess.run(argv, check=True)
    with pytest.raises(InvalidImage, match="not safe to use: backing_file"):
        added.add(hostile, "mine", {})
    assert store.images() == ()


@pytest.mark.parametrize(
    ("name", "properties", "message"),
    [
        ("tiny", {}, "tiny is one that is built here"),
        ("Ubuntu 24", {}, "'Ubuntu 24' cannot name an image"),
        ("../x", {}, "cannot name an image"),
        ("mine", {"min_ram": "lots"}, "'lots' is no memory size"),
    ],
)
def test_bad_words_are_refused(tmp_path: Path, name: str, properties: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidImage, match=message):
        added.add(disk(tmp_path / "x.img"), name, properties)


def test_what_is_no_disk_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("milk, eggs")
    with pytest.raises(InvalidImage, match="no whole number of sectors"):
        added.add(tmp_path / "notes.txt", "mine", {})


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = disk(tmp_path / "x.img")
    assert main(["image", "add", str(source), "--name", "mine", "--property", "os_distro=debian"]) == 0
    assert "os_distro=debian" in capsys.readouterr().out
    assert main(["image", "add", str(tmp_path / "no.img"), "--name", "other"]) == 2
    assert "no.img: No such file or directory. Give a file that can be read." in capsys.readouterr().err
    assert main(["image", "add", str(source), "--name", "other", "--property", "bus"]) == 2
    assert "--property bus: this is no KEY=VALUE" in capsys.readouterr().err
    assert main(["image", "delete", "mine"]) == 0
    assert not (store.directory() / "mine").exists()
    assert main(["image", "delete", "mine"]) == 2
    with pytest.raises(UnknownImage):
        images.show("mine")
