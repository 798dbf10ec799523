"""Backend `namespace`: the guest's user network ends in a namespace that holds nothing but 169.254.169.254.

QEMU runs in a network namespace of its own with its ordinary 10.0.2.0/24 user network. The guest's packets
to the metadata address leave through its default gateway; slirp connects to the namespace's loopback, where
a relay takes them to this instance's unix socket. There is no route out of the namespace and no other
listener in it, so the guest reaches neither the host's loopback services nor the world (SP-22). Root is not
needed: a user namespace is. See docs/why/how-guests-reach-metadata.md.
"""

from __future__ import annotations

from pathlib import Path

from spawner.network.backend import Attachment

METADATA_ADDRESS_V6 = "fe80::a9fe:a9fe"

NETDEV = f"user,ipv6-net=fe80::/64,ipv6-host={METADATA_ADDRESS_V6}"
"""`ipv6-host` is the address that slirp takes to the namespace's [::1]."""


class Namespace:
    """A network namespace for each guest, made by the launcher just before it becomes QEMU."""

    name = "namespace"

    def attach(self, metadata_socket: Path, run_directory: Path) -> Attachment:  # noqa: ARG002 - the interface
        """What QEMU and its launcher need so that the guest's 169.254.169.254 is `metadata_socket`."""
        return Attachment(netdev=NETDEV, relay=metadata_socket)
