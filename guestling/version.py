"""The version of the distribution, without the cost of importing `importlib.metadata`."""

VERSION = "0.1.0"
