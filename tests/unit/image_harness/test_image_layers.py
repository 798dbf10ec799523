"""Images in two layers: what makes another image of the same base and the same agent."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from image_harness import layers
from image_harness.layers import BaseFacts, Plan, Say


def _make_base(work: Path, _say: Say) -> BaseFacts:
    (work / "vmlinuz").write_bytes(b"a kernel")
    return BaseFacts("6.1.0", ())


PLAN = Plan("small", "bookworm", "quiet", 256, "0123456789abcdef", _make_base, lambda _base, _image: None, 3)


@pytest.fixture
def built() -> Path:
    return layers.build(PLAN, lambda _: None).image.directory


def test_the_same_plan_is_the_same_image(built: Path) -> None:
    again = layers.build(PLAN, lambda _: None)
    assert again.cached
    assert again.image.directory == built


@pytest.mark.parametrize("change", [{"cmdline": "quiet debug"}, {"memory_mib": 128}])
def test_a_machine_of_another_kind_is_another_image_of_the_same_base(
    built: Path, change: dict[str, object]
) -> None:
    other = layers.build(dataclasses.replace(PLAN, **change), lambda _: None)  # type: ignore[arg-type]  # by name
    assert not other.cached
    assert other.image.directory != built
    assert {name: getattr(other.image.manifest, name) for name in change} == change
    assert len(layers.bases(PLAN)) == 1
