"""Whether a flavor is large enough for an image, in Nova's words; pure.

Source: Nova's `API._validate_flavor_image_nostatus` and its exceptions FlavorMemoryTooSmall,
FlavorDiskSmallerThanImage, FlavorDiskSmallerThanMinDisk, CannotResizeDisk.
"""

from __future__ import annotations

from dataclasses import dataclass

from spawner.store.servers import Flavor

GIB = 1 << 30


@dataclass(frozen=True)
class ImageNeeds:
    """What an image asks of a flavor; `virtual_size` in bytes, None where nobody knows it."""

    min_ram_mib: int
    min_disk_gib: int
    virtual_size: int | None


def why_too_small(flavor: Flavor, image: ImageNeeds) -> str:
    """Why the image cannot be had with the flavor, or an empty text.

    Nova compares the bytes of the file here, and finds out about the disk in it on the host; the disk is
    what would be cut off. A flavor with a disk of 0 takes the image's own size.
    """
    if flavor.ram_mib < image.min_ram_mib:
        return "Flavor's memory is too small for requested image."
    disk = flavor.disk_gib * GIB
    if disk == 0:
        return ""
    if disk < (image.virtual_size or 0):
        return (
            "Flavor's disk is too small for requested image. "
            f"Flavor disk is {disk} bytes, image is {image.virtual_size} bytes."
        )
    if flavor.disk_gib < image.min_disk_gib:
        return (
            "Flavor's disk is smaller than the minimum size specified in image metadata. "
            f"Flavor disk is {disk} bytes, minimum size is {image.min_disk_gib * GIB} bytes."
        )
    return ""


def why_not_resize(old: Flavor, new: Flavor) -> str:
    """Why a disk cannot become what the new flavor says, or an empty text: disks grow, they never shrink."""
    if new.disk_gib >= old.disk_gib:
        return ""
    reason = "Unable to resize disk down." if new.disk_gib else "Resize to zero disk flavor is not allowed."
    return f"Server disk was unable to be resized because: {reason}"
