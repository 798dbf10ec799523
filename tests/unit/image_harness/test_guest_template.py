"""When a guest under test may go on from a saved one."""

from __future__ import annotations

from pathlib import Path

import pytest

from image_harness import store
from image_harness.guest_mark import Wanted
from image_harness.guest_template import why_not
from image_harness.progress import Source

HERE = Path("/nowhere")


def _image(**parts: Path) -> store.Image:
    manifest = store.Manifest("x", "digest", "", "", "", "", 64, "", ())
    return store.Image(manifest, HERE / "vmlinuz", parts.get("initrd"), parts.get("disk"))


def test_a_guest_in_memory_that_asks_the_metadata_service_may() -> None:
    assert why_not(Wanted(source=Source.METADATA), _image(initrd=HERE)) is None


@pytest.mark.parametrize(
    ("source", "parts", "why"),
    [
        (Source.CONFIG_DRIVE, {"initrd": HERE}, "a saved guest has looked for drives already"),
        (Source.NOCLOUD, {"initrd": HERE}, "a saved guest has looked for drives already"),
        (Source.METADATA, {"disk": HERE}, "its disk would have to be saved with it"),
        (Source.METADATA, {"disk": HERE, "initrd": HERE}, "its disk would have to be saved with it"),
    ],
)
def test_all_others_are_booted(source: Source, parts: dict[str, Path], why: str) -> None:
    assert why_not(Wanted(source=source), _image(**parts)) == why
