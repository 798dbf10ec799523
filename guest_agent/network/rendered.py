"""What a renderer hands back, and the two texts that several renderers write alike."""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent.network.model import IPV6_DYNAMIC, PHYSICAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from guest_agent.network.model import Interface, Network, Note, Parameter

GENERATED_HEADER = """\
# This file is generated from information provided by the datasource.  Changes
# to it will not persist across an instance reboot.  To disable cloud-init's
# network configuration capabilities, write a file
# /etc/cloud/cloud.cfg.d/99-disable-network-config.cfg with the following:
# network: {config: disabled}
"""


class File(Value):
    """A file to write: `owner` (user and group) is "" for root; an existing stricter mode is kept by
    the caller.
    """

    content: bytes
    mode: int = 0o644
    owner: str = ""


class Rendered(Value):
    """The files by absolute path, what the log should say, and how the files take effect on a running guest.

    `after_write` runs when the files have changed and before anything is brought up; `remove` lists
    files of the image to delete if their content is the one given (snapd's default netplan file).
    """

    files: dict[str, File]
    notes: tuple[Note, ...] = ()
    after_write: tuple[tuple[str, ...], ...] = ()
    remove: tuple[tuple[str, bytes], ...] = ()


class Tools(Value):
    """What reads ifupdown's files: has the guest `ip`, or only `route`; is its ifup Debian's or busybox's?"""

    have_ip: bool = True
    is_busybox: bool = False


def udev_rules(network: Network) -> str:
    """One rule per NIC with a known MAC, which gives the NIC its name at every boot."""
    return "".join(_udev_rule(one) for one in network.of_kind(PHYSICAL) if one.mac)


def _udev_rule(one: Interface) -> str:
    rule = (
        'SUBSYSTEM=="net"',
        'ACTION=="add"',
        f'DRIVERS=="{one.driver or "?*"}"',
        f'ATTR{{address}}=="{one.mac}"',
    )
    return f'{", ".join(rule)}, NAME="{one.name}"\n'


def lost(renderer: str, one: Interface, what: Iterable[str]) -> str:
    """The text of a note on what `renderer` does not write for an interface."""
    return f"{renderer}: {one.name}: not written: {', '.join(what)}"


def contradicts_accept_ra(one: Interface) -> bool:
    """Is `accept-ra` something else than what follows from the subnets anyway (for formats that cannot
    say it)?
    """
    is_dynamic = any(subnet.kind in IPV6_DYNAMIC for subnet in one.subnets)
    return one.accept_ra is not None and one.accept_ra != is_dynamic


def unwritten(parameters: Iterable[Parameter], taken: Iterable[str]) -> tuple[str, ...]:
    """The spelling of each option that is not among the spellings `taken`."""
    known = set(taken)
    return tuple(one.written for one in parameters if one.written not in known)


def said(value: object) -> str:
    """A value of the document as a configuration file has it: booleans are the caller's to word."""
    return " ".join(value) if isinstance(value, tuple) else str(value)
