"""The version of the distribution, without the cost of importing `importlib.metadata`."""

from boot_stages.version import VERSION

__all__ = ["VERSION"]
