"""What `verify` knows of documents: JSON (CD-09), versions (CD-10), contents (CD-08), networks, NoCloud."""

from __future__ import annotations

import json

import pytest

from configdrive import (
    difference,
    json_document,
    network_contract,
    nocloud_contract,
    openstack_contract,
    plain_files,
)
from configdrive.findings import Finding, Severity

UUID = "8f0a9c1e-1111-4222-8333-444455556666"
GOOD = json.dumps({"uuid": UUID}).encode()
LINK = {"id": "tap0", "type": "phy", "ethernet_mac_address": "fa:16:3e:00:00:01"}
NETWORK = {"id": "network0", "link": "tap0", "type": "ipv4_dhcp"}


def openstack(tree: dict[str, bytes]) -> list[str]:
    return [finding.code for finding in openstack_contract.check(tree)]


def meta_data(**keys: object) -> dict[str, bytes]:
    return {"openstack/latest/meta_data.json": json.dumps({"uuid": UUID, **keys}).encode()}


@pytest.mark.parametrize(
    ("content", "problem", "line", "column"),
    [
        (b"", "invalid JSON: expecting value", 1, 1),
        (b'{"a": 1,\n "b": }', "invalid JSON: expecting value", 2, 7),
        (b"\xef\xbb\xbf{}", "it begins with a byte order mark", None, None),
        ('{"a": 1}'.encode("utf-16"), "it is UTF-16", None, None),
        (b'{"a":\n "\xe4"}', "a byte that is not UTF-8", 2, 3),
        (b'{"a": NaN}', "invalid JSON: NaN is not a JSON number", None, None),
        (b'{"a": -Infinity}', "invalid JSON: -Infinity is not a JSON number", None, None),
        (b'{"a": 1, "a": 2}', "the key is given twice", None, None),
        (b"[" * 100_000, "nested more than 64 levels deep", None, None),
        (b"[" * 65 + b"]" * 65, "nested more than 64 levels deep", None, None),
        (b'{"a": ' + b"9" * 5000 + b"}", "invalid JSON: Exceeds the limit", None, None),
        (b'"' + b"x" * (4 * 1024 * 1024 - 1) + b'"', "4,194,305 bytes, the limit is 4,194,304", None, None),
    ],
)
def test_cd_09_json_that_guests_refuse(
    content: bytes, problem: str, line: int | None, column: int | None
) -> None:
    value, finding = json_document.parse(content, "meta_data.json")
    assert value is None
    assert finding is not None
    assert finding.problem.startswith(problem)
    assert (finding.line, finding.column) == (line, column)


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b'"x"', b"[" * 64 + b"]" * 64, b'"' + b"x" * (4 * 1024 * 1024 - 2) + b'"']
)
def test_cd_09_json_at_the_limits_is_read(content: bytes) -> None:
    assert json_document.parse(content, "x.json") == (json.loads(content), None)


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        (("2012-08-10",), "2012-08-10"),
        (("latest",), "latest"),
        (("2012-08-10", "2018-08-27", "latest"), "2018-08-27"),
        (("2018-08-27", "2099-01-01"), "2018-08-27"),
        (("2099-01-01",), None),
        (("content",), None),
    ],
)
def test_cd_10_the_version_a_guest_takes(versions: tuple[str, ...], chosen: str | None) -> None:
    tree = {f"openstack/{version}/meta_data.json": GOOD for version in versions}
    assert openstack_contract.chosen_version(tree) == chosen


def test_cd_10_versions_that_nobody_knows_are_noted() -> None:
    tree = {**meta_data(), "openstack/2099-01-01/meta_data.json": b"broken"}
    findings = list(openstack_contract.check(tree))
    assert [(finding.severity, finding.code) for finding in findings] == [
        (Severity.NOTE, "drive-unknown-version")
    ]


def test_cd_10_a_version_without_meta_data_and_no_latest() -> None:
    tree = {"openstack/2018-08-27/meta_data.json": GOOD, "openstack/2013-04-04/user_data": b"#!/bin/sh\n"}
    assert openstack(tree) == ["drive-no-meta-data", "drive-no-latest"]


def test_versions_of_different_instances() -> None:
    tree = {**meta_data(), "openstack/2018-08-27/meta_data.json": b'{"uuid": "another"}'}
    assert openstack(tree) == ["drive-versions-disagree"]


@pytest.mark.parametrize(
    "path",
    ["/content/../0000", "content/0000", "/content/000", "/etc/passwd", "/content/0000/x", 5, None, ""],
)
def test_cd_08_content_paths_that_lead_elsewhere(path: object) -> None:
    tree = meta_data(files=[{"path": "/etc/motd", "content_path": path}])
    assert openstack(tree) == ["drive-bad-content-path"]


def test_cd_08_a_content_path_must_exist_and_may_be_used_twice() -> None:
    files = [{"path": "/a", "content_path": "/content/0000"}, {"path": "/b", "content_path": "/content/0000"}]
    assert openstack(meta_data(files=files)) == ["drive-missing-content"] * 2
    assert openstack({**meta_data(files=files), "openstack/content/0000": b""}) == []


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"files": None}, "drive-null"),
        ({"meta": None}, "drive-null"),
        ({"public_keys": None}, "drive-null"),
        ({"files": {}}, "drive-bad-files"),
        ({"uuid": 5}, "drive-no-uuid"),
        ({"random_seed": "abc"}, "drive-bad-random-seed"),
        ({"random_seed": 5}, "drive-bad-random-seed"),
        ({"random_seed": "ä"}, "drive-bad-random-seed"),
        ({"admin_pass": "secret"}, "drive-admin-pass"),
    ],
)
def test_meta_data_that_guests_stumble_over(keys: dict[str, object], code: str) -> None:
    assert openstack(meta_data(**keys)) == [code]


def test_no_finding_says_the_password() -> None:
    findings = list(openstack_contract.check(meta_data(admin_pass="canary-8d1f", random_seed="canary-8d1f!")))
    assert len(findings) == 2
    assert "canary" not in " ".join(map(str, findings))


def test_equal_documents_of_many_versions_are_reported_once() -> None:
    tree = {f"openstack/{version}/meta_data.json": GOOD for version in ("2016-06-30", "2018-08-27", "latest")}
    tree |= {path.replace("meta_data", "network_data"): b"{}" for path in tree}
    assert [finding.path for finding in openstack_contract.check(tree)] == [
        "openstack/latest/network_data.json"
    ]


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        ({"links": [LINK], "networks": [NETWORK]}, []),
        ({}, ["links"]),
        ([], [""]),
        (None, [""]),
        ({"links": {}, "networks": "x"}, [""]),
        ({"links": [LINK], "networks": []}, ["networks"]),
        (
            {"links": [{**LINK, "ethernet_mac_address": "xx"}], "networks": [NETWORK]},
            ["links[0].ethernet_mac_address"],
        ),
        ({"links": [LINK, {**LINK, "id": "b"}], "networks": [NETWORK]}, ["links[1].ethernet_mac_address"]),
        ({"links": [LINK, LINK], "networks": [NETWORK]}, ["links[1].id", "links[1].ethernet_mac_address"]),
        ({"links": [{"id": "v", "type": "vlan"}], "networks": [{**NETWORK, "link": "v"}]}, ["vlan"] * 3),
        (
            {"links": [LINK, {**LINK, "id": "b", "type": "bond"}], "networks": [NETWORK]},
            ["links[1].bond_links"],
        ),
        ({"links": [LINK, 5], "networks": [NETWORK, {}]}, ["links[1]", "networks[1]"]),
        (
            {"links": [LINK], "networks": [{**NETWORK, "type": "ipv4"}]},
            ["networks[0].ip_address", "networks[0].netmask"],
        ),
    ],
)
def test_os_11_network_data_that_leaves_a_guest_without_network(document: object, keys: list[str]) -> None:
    found = [finding.key for finding in network_contract.check("network_data.json", document)]
    assert ["vlan" if ".vlan_" in key else key for key in found] == keys


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"meta-data": b""}, []),
        ({"meta-data": b"local-hostname: x\n"}, ["drive-no-instance-id"]),
        ({"meta-data": b"- a\n"}, ["drive-not-an-object"]),
        ({"meta-data": b"a: [\n"}, ["drive-invalid-yaml"]),
        ({"meta-data": b"a: &a [x]\nb: [" + b"*a," * 200 + b"]\n"}, ["drive-invalid-yaml"]),
        ({"network-config": b"version: 2\nethernets: {}\n"}, []),
        ({"network-config": b"network: {config: disabled}\n"}, []),
        ({"network-config": b"version: 3\n"}, ["drive-network"]),
        ({"network-config": b"[]"}, ["drive-network"]),
        ({"user-data": b"hello"}, ["drive-user-data-ignored"]),
        ({"user-data": b"\x1f\x8b\x08"}, []),
    ],
)
def test_nocloud_documents(changes: dict[str, bytes], codes: list[str]) -> None:
    tree = {"meta-data": b"instance-id: x\n", "user-data": b"#cloud-config\n", **changes}
    assert [finding.code for finding in nocloud_contract.check(tree)] == codes


def test_a_finding_in_plain_words() -> None:
    finding = Finding(Severity.ERROR, "drive-x", "meta_data.json", "uuid", "it is missing", "Give it", 3, 7)
    assert str(finding) == "error: meta_data.json:3:7: uuid: it is missing. Give it. error=drive-x"


def test_differences_name_keys_and_never_values() -> None:
    first = {"a.json": b'{"x": "canary", "y": 1}', "b": b"1", "c": b"", "d.json": b"{}", "e.json": b"[]"}
    second = {
        "a.json": b'{"x": "other", "y": 1, "z": 2}',
        "b": b"22",
        "n": b"",
        "d.json": b"{ }",
        "e.json": b"[1]",
    }
    assert [(each.change, each.path, each.detail) for each in difference.differences(first, second)] == [
        ("changed", "a.json", "keys: x, z"),
        ("changed", "b", "1 bytes, now 2"),
        ("removed", "c", "0 bytes"),
        ("changed", "d.json", "the same values, written differently"),
        ("changed", "e.json", "2 bytes, now 3"),
        ("added", "n", "0 bytes"),
    ]
    assert difference.differences(first, dict(first)) == ()


def test_plain_files_as_cloud_localds_takes_them() -> None:
    made = plain_files.nocloud_tree(b"#cloud-config\n", hostname="web-1", dsmode="local")
    assert json.loads(made.pop("meta-data")) == {
        "instance-id": "iid-local01",
        "local-hostname": "web-1",
        "dsmode": "local",
    }
    assert made == {"user-data": b"#cloud-config\n"}
    given = plain_files.nocloud_tree(b"u", b"m", b"n", b"v")
    assert given == {"user-data": b"u", "meta-data": b"m", "network-config": b"n", "vendor-data": b"v"}
