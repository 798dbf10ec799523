"""Disks that boot by themselves: GPT, UEFI with a unified kernel image, BIOS with syslinux, and the root.

`uki` joins kernel, initrd and command line (pure), `initrd` is a small first root that finds the real one,
`loaders` are fetched from Debian, `disk` puts all together without being root.
"""
