"""Start of the agent: `python -m guest_agent ARGS`, and the entry points of the installed commands."""

from __future__ import annotations

import sys

from guest_agent.cli import main


def cloud_init() -> int:
    """The command `cloud-init`."""
    return main("cloud-init", sys.argv[1:])


def cloud_id() -> int:
    """The command `cloud-id`."""
    return main("cloud-id", sys.argv[1:])


def ds_identify() -> int:
    """The command `ds-identify`."""
    return main("ds-identify", sys.argv[1:])


def cloud_init_per() -> int:
    """The command `cloud-init-per`."""
    return main("cloud-init-per", sys.argv[1:])


if __name__ == "__main__":
    sys.exit(cloud_init())
