"""The check of a config against the schema of all modules together. Source: guest-agent.md 5.4."""

from __future__ import annotations


def at_boot(config: dict[object, object]) -> None:
    """One warning for everything the schema does not allow; nothing is dropped because of it."""
