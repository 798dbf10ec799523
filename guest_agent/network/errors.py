"""What can be wrong with a network config.

NetworkError
├── InvalidNetwork      the document itself, every fault with its place and remedy
├── UnknownNic          a MAC of the document is on no NIC of this machine
├── UnknownRenderer     a name in `network: renderers:` or `activators:` that nothing answers to
└── NoRenderer          none of the renderers is available here
"""

from __future__ import annotations

from boot_stages.value import Value


class Fault(Value):
    """One thing that is wrong: `path` is the key path in the document, such as `config[2].mtu`."""

    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}. {self.remedy}."


class NetworkError(Exception):
    """Nothing is written; the network that is there stays."""


class InvalidNetwork(NetworkError):
    """The document cannot be used. `faults` has all of them."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("\n".join(f"network-config: {fault}" for fault in faults))


class UnknownNic(NetworkError):
    """No NIC of this machine has the MAC; the caller may settle udev, read /sys again and parse again."""

    def __init__(self, mac: str, item: str) -> None:
        self.mac = mac
        super().__init__(f"Unable to find a system nic for {item}: no NIC here has the MAC {mac}")


class UnknownRenderer(NetworkError):
    """The image's configuration names something that does not exist."""

    def __init__(self, what: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
        super().__init__(f"unknown network {what}: {', '.join(names)}. Use {', '.join(known)}.")


class NoRenderer(NetworkError):
    """Nothing on this machine takes a network configuration."""

    def __init__(self, asked: tuple[str, ...]) -> None:
        self.asked = asked
        super().__init__(
            f"no network renderer is available here, of {', '.join(asked)}. Install one of them."
        )
