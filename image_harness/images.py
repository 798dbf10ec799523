"""Images by name: those that can be built, and those that are in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from image_harness import store
from image_harness.errors import UnknownImage
from image_harness.tiny import build as tiny

Say = Callable[[str], None]

# Name -> what builds it, or finds it built. The second argument: fetch everything anew.
BUILDERS: Mapping[str, Callable[[Say, bool], store.Built]] = {tiny.NAME: tiny.build}


def build(name: str, say: Say, *, refresh: bool = False) -> store.Built:
    """Build an image, or find it there as it would be built now. Raises UnknownImage, HarnessError."""
    if name not in BUILDERS:
        raise UnknownImage(name, sorted(BUILDERS))
    return BUILDERS[name](say, refresh)


def get(name: str, say: Say) -> store.Image:
    """The image to boot under this name: built if need be. Raises UnknownImage, HarnessError."""
    if name in BUILDERS:
        return build(name, say).image
    return show(name)


def show(name: str) -> store.Image:
    """The newest build of an image that is in the store. Raises UnknownImage."""
    found = [image for image in store.images() if image.name == name]
    if not found:
        raise UnknownImage(name, sorted({*BUILDERS, *(image.name for image in store.images())}))
    return found[0]
