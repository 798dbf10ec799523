"""Images by name: those that can be built, and those that are in the store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial

from image_harness import debian, layers, store
from image_harness.debian_disk import build as debian_disk
from image_harness.debian_disk.recipe import RELEASES
from image_harness.errors import UnknownImage
from image_harness.layers import Say
from image_harness.tiny import build as tiny

# Name -> how it is made.
PLANS: Mapping[str, Callable[[debian.Pinning], layers.Plan]] = {
    "tiny": tiny.plan,
    **{release.name: partial(debian_disk.plan, release) for release in RELEASES},
}


def build(
    name: str, say: Say, *, refresh: bool = False, pinning: debian.Pinning = debian.NEWEST
) -> store.Built:
    """Build an image, or find it there as it would be built now. Raises UnknownImage, HarnessError."""
    if name not in PLANS:
        raise UnknownImage(name, sorted(PLANS))
    return layers.build(PLANS[name](pinning), say, refresh=refresh)


def delete(name: str) -> int:
    """Remove all builds of an image from the store, and say how many. Raises UnknownImage."""
    show(name)
    found = [image for image in store.images() if image.name == name]
    for image in found:
        store.remove(image)
    with contextlib.suppress(OSError):
        # Not empty where somebody adds a build in this moment.
        found[0].directory.parent.rmdir()
    return len(found)


def get(name: str, say: Say) -> store.Built:
    """The image to boot under this name: built if need be. Raises UnknownImage, HarnessError."""
    found = build(name, say) if name in PLANS else store.Built(show(name), cached=True)
    store.take(found.image)
    return found


def show(name: str) -> store.Image:
    """The newest build of an image that is in the store. Raises UnknownImage."""
    found = [image for image in store.images() if image.name == name]
    if not found:
        raise UnknownImage(name, sorted({*PLANS, *(image.name for image in store.images())}))
    return found[0]
