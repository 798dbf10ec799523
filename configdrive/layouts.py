"""The two layouts of a config drive, by what a tree holds, and the labels that guests look for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OPENSTACK = "openstack"
NOCLOUD = "nocloud"
# The one to write comes first; guests ask for both cases.
LABELS = {OPENSTACK: ("config-2", "CONFIG-2"), NOCLOUD: ("cidata", "CIDATA")}
_NOCLOUD_NAMES = frozenset({"meta-data", "user-data", "vendor-data", "network-config"})


def layout_of(tree: Mapping[str, bytes]) -> str | None:
    """`openstack`, `nocloud`, or None for a tree that is neither."""
    if any(path.startswith("openstack/") for path in tree):
        return OPENSTACK
    return NOCLOUD if _NOCLOUD_NAMES & tree.keys() else None
