"""The compute driver that runs QEMU directly."""
