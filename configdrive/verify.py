"""Check a drive against what guests expect: the medium, its label, its names, its documents.

`verify` never stops at the first fault and never raises for what is wrong with a drive.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from configdrive import joliet_contract, nocloud_contract, openstack_contract, oracle, reader
from configdrive.errors import DriveError, UnreadableDrive
from configdrive.findings import Severity, error, note, warning
from configdrive.layouts import LABELS, OPENSTACK, layout_of
from configdrive.source import MIB

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from configdrive.findings import Finding
    from configdrive.reader import Drive

_LARGE = MIB
# What becomes of `openstack`, `meta_data.json`, `user-data` and their like in 8.3.
_CUT = frozenset(
    {"openstac", "meta_dat", "user_dat", "vendor_d", "network_", "meta-dat", "user-dat", "vendor-d"}
)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: the drive where it could be read, its layout where it has one, all findings."""

    drive: Drive | None
    layout: str | None
    findings: tuple[Finding, ...]

    @property
    def is_good(self) -> bool:
        """Whether a guest would be configured as meant."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


def verify(path: str | os.PathLike[str], *, lenient: bool = False) -> Report:
    """Read the drive at `path` and check everything. Raises UnreadableDrive when there is nothing to read.

    `lenient`: a broken document that a guest could do without is a warning, as for a guest that drops it.
    """
    try:
        drive = reader.inspect(path)
    except UnreadableDrive:
        raise
    except DriveError as fault:
        place = fault.structure if fault.offset is None else f"{fault.structure} at offset {fault.offset}"
        unread = error(fault.code, "", fault.problem, fault.remedy, key=f"config drive: {place}")
        return Report(None, None, (unread,))
    layout = layout_of(drive.tree)
    findings = _findings(path, drive, layout)
    return Report(drive, layout, tuple(_softened(each) if lenient else each for each in findings))


def _findings(path: str | os.PathLike[str], drive: Drive, layout: str | None) -> Iterator[Finding]:
    for text in drive.notes:
        yield note("drive-note", "", text, "Nothing needs to be done")
    yield from _check_names(drive)
    if drive.filesystem == reader.ISO9660 and not drive.is_packed:
        yield from oracle.compare(path, drive.tree)
        if drive.has_joliet and drive.names == "rock-ridge":
            yield from joliet_contract.check(path, drive.tree)
    if layout is None:
        problem = "not a config drive: it holds neither `openstack/` nor `meta-data` and `user-data`"
        yield error("drive-not-a-config-drive", "", problem, "Build it with `guestling drive build`")
        return
    yield from _check_label(drive, layout)
    if drive.filesystem == reader.ISO9660 and drive.size > _LARGE:
        problem = f"{drive.size:,} bytes, a config drive is seldom larger than {_LARGE:,}"
        yield warning("drive-large", "", problem, "Let the guest fetch large files from somewhere else")
    contract = openstack_contract if layout == OPENSTACK else nocloud_contract
    yield from contract.check(drive.tree)


def _softened(finding: Finding) -> Finding:
    if finding.path.rpartition("/")[2] not in openstack_contract.OPTIONAL:
        return finding
    return replace(finding, severity=Severity.WARNING)


def _check_label(drive: Drive, layout: str) -> Iterator[Finding]:
    if drive.filesystem == reader.DIRECTORY or drive.label in LABELS[layout]:
        return
    wanted = LABELS[layout][0]
    problem = f"it is {drive.label or ''!r}, and guests look for {wanted!r}"
    yield error("drive-wrong-label", "", problem, f"Build it with the label {wanted}", key="label")


def _check_names(drive: Drive) -> Iterator[Finding]:
    cut = sorted(path for path in drive.tree if _looks_cut(path))
    if drive.names in {"plain", "8.3"} and cut:
        problem = f"names are cut to 8.3: {cut[0]}"
        remedy = "Build it with Joliet and Rock Ridge, or with long names on vfat"
        yield error("drive-names-cut", "", problem, remedy, key="names")
    elif drive.names == "plain":
        problem = "there is neither Rock Ridge nor Joliet; Windows and some readers show other names"
        yield warning("drive-names-plain", "", problem, "Build it with both", key="names")
    elif drive.names == "rock-ridge" and not drive.has_joliet:
        problem = "there is no Joliet, so Windows guests see names cut to 8.3"
        yield warning("drive-no-joliet", "", problem, "Build it with Joliet and Rock Ridge", key="names")


def _looks_cut(path: str) -> bool:
    return any(part.partition(".")[0] in _CUT or "~" in part for part in path.split("/"))
