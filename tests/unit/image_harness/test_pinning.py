"""Which versions an image is made of: the newest, those of a day, those of a manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guestling.main import main
from image_harness import debian
from image_harness.debian_disk import build as debian_disk
from image_harness.debian_disk.recipe import RELEASES
from image_harness.errors import PinsNotMet
from image_harness.tiny import build as tiny


def test_a_days_packages_come_from_the_snapshot_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUESTLING_SNAPSHOT_MIRROR", "http://mirror.example/archive/")
    sources = debian.Pinning("20260131T120000Z").mirrors().sources("trixie")
    assert [line.split("] ")[1] for line in sources] == [
        "http://mirror.example/archive/debian/20260131T120000Z trixie main",
        "http://mirror.example/archive/debian/20260131T120000Z trixie-updates main",
        "http://mirror.example/archive/debian-security/20260131T120000Z trixie-security main",
    ]
    # Its lists have run out long ago; their signatures are checked all the same.
    assert all("check-valid-until=no" in line and "signed-by=" in line for line in sources)
    assert not any("check-valid-until" in line for line in debian.NEWEST.mirrors().sources("trixie"))


def test_the_time_of_an_image_is_told_pinned_or_that_of_the_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert debian.Pinning("20260131T000000Z").now_s() == 1_769_817_600
    assert debian.Pinning("20260131T000000Z", epoch_s=7).now_s() == 7
    assert debian.NEWEST.now_s() > 1_769_817_600
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5")
    assert debian.Pinning("20260131T000000Z", epoch_s=7).now_s() == 5


def test_versions_are_pinned_for_apt_and_looked_at_afterwards() -> None:
    pinning = debian.Pinning(versions=(("bash", "5.2-1"), ("dash", "0.5-1")))
    assert "Package: bash\nPin: version 5.2-1\nPin-Priority: 1001\n\n" in pinning.preferences()
    pinning.check({"bash": "5.2-1", "dash": "0.5-1", "more": "1"})
    with pytest.raises(PinsNotMet, match=r"bash 5\.2-1 \(there is 5\.2-2\), dash 0\.5-1 \(there is none\)"):
        pinning.check({"bash": "5.2-2"})


def test_a_pinned_base_is_another_one_and_the_newest_stays_as_it_was() -> None:
    pinned = debian.Pinning("20260131T000000Z")
    release = RELEASES[0]
    assert debian_disk.plan(release).recipe == debian_disk.plan(release, debian.NEWEST).recipe
    assert debian_disk.plan(release, pinned).recipe != debian_disk.plan(release).recipe
    assert tiny.plan(pinned).recipe != tiny.plan().recipe


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--snapshot-date", "yesterday"], "--snapshot-date yesterday: this is no date. Write 2026-01-31"),
        (["--like", "none.json"], "--like none.json: this is no manifest"),
        (["--size", "big", "-o", "x"], "--size big: this is no size. Write 8G"),
        (["--size", "8G"], "--size and --disk-format are of a disk. Give its name with -o FILE"),
    ],
)
def test_what_cannot_be_followed_is_said_before_anything_is_built(
    words: list[str],
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["image", "build", "tiny", *words]) == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_a_manifest_gives_its_versions_and_its_time(tmp_path: Path) -> None:
    from guestling.image_build import _pinning

    manifest = tmp_path / "manifest.json"
    packages = [{"name": "bash", "version": "5.2-1", "sha256": ""}]
    manifest.write_text(json.dumps({"packages": packages, "epoch_s": 9}))
    assert _pinning("2026-01-31", manifest) == debian.Pinning("20260131T000000Z", (("bash", "5.2-1"),), 9)
