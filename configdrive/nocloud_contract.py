"""What a NoCloud drive must hold so that a guest is configured as meant. Source: metadata-service 9."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.findings import error, warning
from configdrive.user_data_contract import check_user_data
from instance_metadata.errors import InvalidInstance
from instance_metadata.reading import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from configdrive.findings import Finding

_REQUIRED = ("meta-data", "user-data")


def check(tree: Mapping[str, bytes]) -> Iterator[Finding]:
    """Everything wrong with a tree whose root holds NoCloud's files."""
    for path in _REQUIRED:
        if path not in tree:
            problem = "cloud-init skips a NoCloud drive without it"
            yield error("drive-nocloud-incomplete", path, problem, "Add it; an empty one will do")
    for path, check_document in (("meta-data", _check_meta_data), ("network-config", _check_network_config)):
        if tree.get(path, b"").strip():
            try:
                document = load(tree[path], path).value
            except InvalidInstance as refused:
                for fault in refused.faults:
                    problem, remedy = fault.problem, fault.remedy
                    yield error("drive-invalid-yaml", path, problem, remedy, key=fault.path, line=fault.line)
            else:
                yield from check_document(document)
    yield from check_user_data("user-data", tree.get("user-data", b""))


def _check_meta_data(document: object) -> Iterator[Finding]:
    if not isinstance(document, dict):
        yield error(
            "drive-not-an-object", "meta-data", "its root is not a mapping", "Write `instance-id: NAME`"
        )
    elif not document.get("instance-id"):
        problem = "every drive without it is the instance `nocloud`: a copied disk is not configured anew"
        yield warning(
            "drive-no-instance-id", "meta-data", problem, "Give each instance its own", key="instance-id"
        )


def _check_network_config(document: object) -> Iterator[Finding]:
    path = "network-config"
    if isinstance(document, dict) and isinstance(document.get("network"), dict):
        document = document["network"]
    if not isinstance(document, dict):
        yield error(
            "drive-network", path, "its root is not a mapping", "Write network configuration version 1 or 2"
        )
    elif "links" in document:
        problem = "this is OpenStack's network_data.json, which NoCloud does not read"
        yield error("drive-network", path, problem, "Write network configuration version 1 or 2")
    elif document.get("version") not in {1, 2} and document.get("config") != "disabled":
        problem = "it is neither 1 nor 2"
        yield error(
            "drive-network", path, problem, "Write network configuration version 1 or 2", key="version"
        )
