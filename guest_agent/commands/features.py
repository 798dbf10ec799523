"""`cloud-init features`: what programs may ask this agent for, one name a line."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from guest_agent.machine import Machine

FEATURES = ("NETWORK_CONFIG_V1", "NETWORK_CONFIG_V2")


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """`features` takes none."""


def run(_arguments: argparse.Namespace, _machine: Machine) -> int:
    """Print them, sorted."""
    print("\n".join(sorted(FEATURES)))
    return 0
