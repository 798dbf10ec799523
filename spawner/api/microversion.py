"""Nova's microversions: which one a request asks for, and what is announced. Source: openstack-api.md."""

from __future__ import annotations

from collections.abc import Mapping

from spawner.api.faults import Fault

MINIMUM = (2, 1)
MAXIMUM = (2, 96)
NEW_HEADER = "OpenStack-API-Version"
OLD_HEADER = "X-OpenStack-Nova-API-Version"

Version = tuple[int, int]


def text(version: Version) -> str:
    """`2.61`."""
    return f"{version[0]}.{version[1]}"


def requested(headers: Mapping[str, str]) -> Version:
    """The version a request asks for, 2.1 when it does not. Raises Fault 400 or 406."""
    word = headers.get(OLD_HEADER, "")
    for entry in headers.get(NEW_HEADER, "").split(","):
        service, _, number = entry.strip().partition(" ")
        if service.lower() == "compute":
            word = number.strip()
    if not word:
        return MINIMUM
    if word == "latest":
        return MAXIMUM
    major, dot, minor = word.partition(".")
    if not (dot and major.isdigit() and minor.isdigit() and len(word) < 12):
        raise Fault(
            400, f"API Version String {word} is of invalid format. Must be of format MajorNum.MinorNum."
        )
    version = (int(major), int(minor))
    if not MINIMUM <= version <= MAXIMUM:
        raise Fault(
            406,
            f"Version {word} is not supported by the API. Minimum is {text(MINIMUM)}"
            f" and maximum is {text(MAXIMUM)}.",
        )
    return version


def headers_of(version: Version) -> dict[str, str]:
    """What an answer says about the version it was made with."""
    return {
        NEW_HEADER: f"compute {text(version)}",
        OLD_HEADER: text(version),
        "Vary": f"{NEW_HEADER}, {OLD_HEADER}",
    }
