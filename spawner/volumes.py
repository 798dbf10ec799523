"""Volumes: their rows, their states, and their files, one qcow2 file each, named by id.

Source: Block Storage API v3.
"""

from __future__ import annotations

VOLUMES = "volumes"
"""The directory of volume files, below the cloud's own."""
