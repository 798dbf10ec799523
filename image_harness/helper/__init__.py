"""A helper guest: work on the files of an image without mounting it here or running anything of it here.

The tiny guest's kernel mounts the image's file systems (ext4, xfs, btrfs), inside of QEMU; what is done there
is in `inside/`. `pack` makes the guest, `guest` runs it.
"""
