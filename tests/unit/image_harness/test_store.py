"""The image store: manifests come back as they were written; damaged images are left out and never booted."""

import os
from pathlib import Path

import pytest

from image_harness import cache, images, store
from image_harness.errors import BadImage, UnknownImage


def _add(name: str, digest: str, age_s: int = 0) -> Path:
    where = store.directory() / name / digest
    where.mkdir(parents=True)
    (where / "vmlinuz").write_bytes(b"kernel")
    packages = (store.PackageVersion("libc6", "2.36-9", "ab" * 32),)
    built = "2026-11-22T13:00:00+00:00"
    manifest = store.Manifest(name, digest, built, "bookworm", "6.1.0", "quiet", 256, "a1", packages)
    store.write_manifest(where, manifest)
    changed = (where / store.MANIFEST).stat().st_mtime - age_s
    os.utime(where / store.MANIFEST, (changed, changed))
    return where


def test_a_manifest_comes_back_as_it_was_written() -> None:
    where = _add("tiny", "d1")
    image = store.read(where)
    assert image.manifest.packages == (store.PackageVersion("libc6", "2.36-9", "ab" * 32),)
    assert (image.name, image.kernel, image.initrd, image.disk) == ("tiny", where / "vmlinuz", None, None)


def test_newest_build_of_a_name_comes_first_and_is_the_one_shown() -> None:
    for digest, age_s in (("old", 20), ("newest", 0), ("middle", 10)):
        _add("mine", digest, age_s)
    assert [image.manifest.digest for image in store.images()] == ["newest", "middle", "old"]
    assert images.show("mine").manifest.digest == "newest"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": 1}', '{"packages": [{"x": 1}]}', "{"])
def test_a_damaged_manifest_is_reported_and_left_out_of_the_list(content: str) -> None:
    where = _add("tiny", "d1")
    (where / store.MANIFEST).write_text(content)
    with pytest.raises(BadImage, match=r"no usable manifest.json .* Remove the directory"):
        store.read(where)
    assert store.images() == ()


def test_an_image_without_its_kernel_is_none() -> None:
    where = _add("tiny", "d1")
    (where / "vmlinuz").unlink()
    with pytest.raises(BadImage, match="its kernel is missing"):
        store.read(where)


def test_prune_keeps_the_newest_builds() -> None:
    for age_s in range(5):
        _add("tiny", f"d{age_s}", age_s * 10)
    _add("other", "d9", 100)
    store.prune("tiny", keep=2)
    assert sorted(image.manifest.digest for image in store.images()) == ["d0", "d1", "d9"]


def test_what_another_process_took_lately_is_not_pruned() -> None:
    for age_s in range(4):
        _add("tiny", f"d{age_s}", age_s * 10)
    store.take(store.read(store.directory() / "tiny" / "d3"))
    long_ago = store.take(store.read(store.directory() / "tiny" / "d2")).directory / store.USED
    os.utime(long_ago, (0, 0))
    store.prune("tiny", keep=1)
    assert sorted(image.manifest.digest for image in store.images()) == ["d0", "d3"]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    _add("mine", "d1")
    with pytest.raises(UnknownImage, match=r"debian-99: no such image. Known here: .*mine.*tiny"):
        images.show("debian-99")


def test_a_directory_appears_whole_or_not_at_all(cache_home: Path) -> None:
    final = cache_home / "x"

    def build_and_fail() -> None:
        with cache.new_directory(final) as work:
            (work / "part").touch()
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_and_fail()
    assert list(cache_home.iterdir()) == []
    with cache.new_directory(final) as work:
        (work / "part").touch()
    assert [path.name for path in final.iterdir()] == ["part"]


def test_the_first_of_two_builders_wins(cache_home: Path) -> None:
    final = cache_home / "x"
    with cache.new_directory(final) as late:
        with cache.new_directory(final) as early:
            (early / "early").touch()
        (late / "late").touch()
    assert [path.name for path in final.iterdir()] == ["early"]
    assert [path.name for path in cache_home.iterdir()] == ["x"]
