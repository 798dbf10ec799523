"""What can go wrong while a metadata server is set up or fed; answers to guests are never exceptions.

MetadataServerError
├── BadListener          a listener's address, mode or secrets cannot be used
├── CannotListen         the address is taken or does not exist
├── StoreUnavailable     the store did not take or give a record; the same request may work later
└── DamagedStore         a record on disk is not what was written
"""

from __future__ import annotations


class MetadataServerError(Exception):
    """Base of what this package raises."""


class BadListener(MetadataServerError):
    """A listener that must not be opened: says which part is wrong and what to do."""


class CannotListen(MetadataServerError):
    """Binding failed."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address}: cannot listen: {reason}. Free the address, or choose another.")


class StoreUnavailable(MetadataServerError):
    """A read or write of the store failed for now."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(
            f"{what}: the store is not available: {reason}. It is tried again with the next request."
        )


class DamagedStore(MetadataServerError):
    """A stored record fails its checksum."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place}: damaged: its checksum does not match. Restore it from a backup, or move it away."
        )
