"""What an OpenStack config drive must hold so that a guest is configured as meant.

Source: metadata-service sections 4, 8 and 13.3, faults-and-threats CD-08 to CD-10; how cloud-init and
cloudbase-init react was observed there.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING

from configdrive import network_contract
from configdrive.findings import error, note, warning
from configdrive.json_document import parse
from configdrive.user_data_contract import check_user_data
from instance_metadata.versions import LATEST, OPENSTACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from configdrive.findings import Finding

_CONTENT_PATH = re.compile(r"/content/[0-9]{4,}")
# Null crashes cloud-init where it walks over these.
_NEVER_NULL = ("files", "meta", "public_keys", "keys")


def check(tree: Mapping[str, bytes]) -> Iterator[Finding]:
    """Everything wrong with the `openstack/` part of a tree, worst first within a version."""
    present = _versions(tree)
    yield from _check_versions(tree, present)
    uuids: dict[str, str] = {}
    checked: set[tuple[str, bytes]] = set()
    for version in reversed(present):  # `latest` first: what is equal in the others is said once
        if version in OPENSTACK:
            yield from _check_version(tree, version, uuids, checked)
    if len(set(uuids.values())) > 1:
        problem = "the versions name different instances: " + ", ".join(sorted(set(uuids.values())))
        yield error("drive-versions-disagree", "openstack", problem, "Render all versions from one instance")


def chosen_version(tree: Mapping[str, bytes]) -> str | None:
    """The version a guest takes: the newest known one with `meta_data.json`, else `latest` (CD-10)."""
    with_meta_data = [version for version in _versions(tree) if _document(version, "meta_data.json") in tree]
    dated = [version for version in OPENSTACK if version in with_meta_data and version != LATEST]
    return dated[-1] if dated else LATEST if LATEST in with_meta_data else None


def _versions(tree: Mapping[str, bytes]) -> list[str]:
    names = {path.split("/")[1] for path in tree if path.startswith("openstack/") and path.count("/") >= 2}
    return sorted(names - {"content"})


def _document(version: str, name: str) -> str:
    return f"openstack/{version}/{name}"


def _check_versions(tree: Mapping[str, bytes], present: list[str]) -> Iterator[Finding]:
    if chosen_version(tree) is None:
        wanted = _document(LATEST, "meta_data.json")
        problem = (
            "no version that a guest knows has a meta_data.json, so no guest takes this for a config drive"
        )
        yield error("drive-no-meta-data", wanted, problem, "Add it; `uuid` is the one key it needs")
        return
    for version in present:
        if version not in OPENSTACK:
            yield note(
                "drive-unknown-version",
                f"openstack/{version}",
                "a version no guest knows",
                "Guests leave it alone",
            )
        elif _document(version, "meta_data.json") not in tree:
            problem = "the version has no meta_data.json, guests that take it are not configured"
            yield error(
                "drive-no-meta-data",
                _document(version, "meta_data.json"),
                problem,
                "Add it or drop the version",
            )
    if LATEST not in present:
        problem = "there is no `latest`; cloudbase-init reads nothing else"
        yield warning("drive-no-latest", "openstack", problem, "Add `latest`, a copy of the newest version")


def _check_version(
    tree: Mapping[str, bytes], version: str, uuids: dict[str, str], checked: set[tuple[str, bytes]]
) -> Iterator[Finding]:
    path = _document(version, "meta_data.json")
    if path in tree:
        value, finding = parse(tree[path], path)
        if finding is not None:
            yield finding
        elif not isinstance(value, dict):
            yield error("drive-not-an-object", path, "its root is not an object", 'Write {"uuid": ...}')
        else:
            yield from _check_meta_data(tree, path, value, version, uuids)
    for name, check_document in (*OPTIONAL.items(), ("user_data", check_user_data)):
        path = _document(version, name)
        if path in tree and (name, tree[path]) not in checked:
            checked.add((name, tree[path]))
            yield from check_document(path, tree[path])


def _check_meta_data(
    tree: Mapping[str, bytes], path: str, document: dict[str, object], version: str, uuids: dict[str, str]
) -> Iterator[Finding]:
    uuid = document.get("uuid")
    if isinstance(uuid, str) and uuid:
        uuids[version] = uuid
    else:
        problem = "it is missing or no text, so cloud-init refuses the whole drive"
        yield error("drive-no-uuid", path, problem, "Give the instance's UUID", key="uuid")
    for key in _NEVER_NULL:
        if key in document and document[key] is None:
            yield error(
                "drive-null", path, "it is null, which crashes cloud-init", "Leave the key out", key=key
            )
    yield from _check_random_seed(path, document.get("random_seed"))
    yield from _check_files(tree, path, document.get("files"))
    if document.get("admin_pass") is not None:
        problem = "the password stays readable on the drive, and cloud-init ignores it"
        yield warning(
            "drive-admin-pass",
            path,
            problem,
            "Leave it out unless a Windows guest needs it",
            key="admin_pass",
        )


def _check_random_seed(path: str, seed: object) -> Iterator[Finding]:
    if seed is None:
        return
    try:
        if not isinstance(seed, str):
            raise TypeError
        binascii.a2b_base64(seed.encode("ascii"), strict_mode=True)
    except (TypeError, ValueError):
        problem = "it is not base64, so cloud-init refuses the whole drive"
        yield error("drive-bad-random-seed", path, problem, "Give base64 of random bytes", key="random_seed")


def _check_files(tree: Mapping[str, bytes], path: str, files: object) -> Iterator[Finding]:
    if files is None:
        return
    if not isinstance(files, list):
        yield error(
            "drive-bad-files", path, "it is not a list", "Write [{path, content_path}, ...]", key="files"
        )
        return
    for index, entry in enumerate(files):
        key = f"files[{index}].content_path"
        content_path = entry.get("content_path") if isinstance(entry, dict) else None
        if not isinstance(content_path, str) or not _CONTENT_PATH.fullmatch(content_path):
            problem = "it is not of the form /content/0000"
            yield error("drive-bad-content-path", path, problem, "Point into openstack/content", key=key)
        elif f"openstack{content_path}" not in tree:
            problem = f"openstack{content_path} is not on the drive, so cloud-init refuses the whole drive"
            yield error("drive-missing-content", path, problem, "Add the file or drop the entry", key=key)


def _check_network_data(path: str, content: bytes) -> Iterator[Finding]:
    value, finding = parse(content, path)
    yield from [finding] if finding is not None else network_contract.check(path, value)


def _check_vendor_data(path: str, content: bytes) -> Iterator[Finding]:
    value, finding = parse(content, path)
    if finding is not None:
        yield finding
    elif isinstance(value, dict) and isinstance(value.get("cloud-init"), dict):
        problem = "it is an object, which cloud-init ignores"
        yield warning(
            "drive-vendor-data-ignored", path, problem, "Make it a text or a list", key="cloud-init"
        )


# Documents that may be left out, but must be JSON: one bad file makes cloud-init drop the source.
OPTIONAL = {
    "vendor_data.json": _check_vendor_data,
    "vendor_data2.json": _check_vendor_data,
    "network_data.json": _check_network_data,
}
