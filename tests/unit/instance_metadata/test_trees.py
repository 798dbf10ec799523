"""Golden trees: an instance document of `fixtures/metadata/instances` and everything it renders to."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path

import pytest

from instance_metadata import documents, ec2, instance, nocloud
from instance_metadata.versions import EC2_AWS, EC2_NOVA, OPENSTACK

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures" / "metadata"
NAMES = ("web-1", "least")
SEED = bytes(range(256)) * 2


def _instance(name: str) -> instance.Instance:
    path = FIXTURES / "instances" / f"{name}.yaml"
    return instance.read(path.read_bytes(), path.name)


def _shown(files: dict[str, bytes]) -> dict[str, object]:
    """JSON as values, text as text, anything else as hex, so that a reader can follow the diff."""
    shown: dict[str, object] = {}
    for path, body in files.items():
        try:
            shown[path] = json.loads(body) if path.endswith(".json") else body.decode()
        except UnicodeDecodeError:
            shown[path] = {"hex": body.hex()}
    return shown


def _check(name: str, tree: dict[str, object]) -> None:
    expected = FIXTURES / "instances" / f"{name}.json"
    if os.environ.get("GUESTLING_GOLDEN") == "rewrite":
        expected.write_text(json.dumps(tree, indent=1) + "\n")
    assert tree == json.loads(expected.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_config_drive_tree(name: str) -> None:
    tree = documents.tree(_instance(name), random_seed=SEED, today=date(2026, 1, 1))
    _check(f"{name}.drive", _shown(tree))


@pytest.mark.parametrize("name", NAMES)
def test_nc_01_nocloud_tree(name: str) -> None:
    tree = nocloud.tree(_instance(name))
    assert tuple(tree) == nocloud.NAMES
    _check(f"{name}.nocloud", _shown(tree))


@pytest.mark.parametrize("profile", ["nova", "aws"])
@pytest.mark.parametrize("name", NAMES)
def test_ec2_09_tree_by_version(name: str, profile: ec2.Profile) -> None:
    versions = EC2_NOVA if profile == "nova" else EC2_AWS
    tree = {version: _shown(ec2.files(_instance(name), version, profile)) for version in versions}
    _check(f"{name}.ec2-{profile}", dict(tree))


def test_cd_01_one_render_for_all_versions() -> None:
    tree = documents.tree(_instance("web-1"), random_seed=SEED, today=date(2026, 1, 1))
    seeds = {
        json.loads(body).get("random_seed") for path, body in tree.items() if path.endswith("/meta_data.json")
    }
    assert len(seeds - {None}) == 1


def test_cd_02_skipped_versions_are_skipped_in_both_trees() -> None:
    tree = documents.tree(
        _instance("web-1"),
        random_seed=SEED,
        today=date(2026, 1, 1),
        skip_versions=frozenset({"2009-04-04", "2012-08-10"}),
    )
    assert {path.split("/")[1] for path in tree} == {*OPENSTACK[1:], "content"}


def test_cd_03_minimal_drive() -> None:
    tree = documents.tree(_instance("web-1"), random_seed=SEED, today=date(2026, 1, 1), minimal=True)
    assert {path.split("/")[1] for path in tree} == {"2012-08-10", "2018-08-27", "latest", "content"}


def test_os_01_versions_of_the_future_are_not_on_a_drive() -> None:
    tree = documents.tree(_instance("least"), random_seed=SEED, today=date(2019, 1, 1))
    versions = {path.split("/")[1] for path in tree if path.startswith("openstack/")}
    assert versions == {*OPENSTACK} - {"2020-10-14", "2025-04-04"}


def test_os_07_no_top_level_key_has_a_hyphen() -> None:
    for version in OPENSTACK:
        tree = documents.tree(_instance("web-1"), random_seed=SEED, today=date(2026, 1, 1))
        keys = json.loads(tree[f"openstack/{version}/meta_data.json"])
        assert not [key for key in keys if "-" in key]


def test_os_08_json_is_ascii() -> None:
    made = instance.parse({"uuid": "11111111-2222-4333-8444-555555555555", "name": "wéb ☃"}, "x")
    tree = documents.tree(made, random_seed=SEED, today=date(2026, 1, 1))
    body = tree["openstack/latest/meta_data.json"]
    assert body.isascii()
    assert json.loads(body)["name"] == "wéb ☃"


def test_os_12_lifts_a_cloud_init_key_when_asked() -> None:
    made = _instance("least")
    inputs = documents.Inputs(vendor_data2={"target": {"cloud-init": "#cloud-config"}}, lift_cloud_init=True)
    document = next(d for d in documents.DOCUMENTS if d.name == "vendor_data2.json")
    assert document.render is not None
    assert json.loads(document.render(made, "latest", inputs))["cloud-init"] == "#cloud-config"


@pytest.mark.parametrize("profile", ["nova", "aws"])
def test_ec2_03_every_listed_name_answers(profile: ec2.Profile) -> None:
    for version in ec2.versions(profile):
        files = ec2.files(_instance("web-1"), version, profile)
        directories = {""} | {path.rpartition("/")[0] for path in files if "/" in path}
        for directory in directories - {"meta-data/public-keys"}:
            for name in files[directory].decode().split("\n"):
                assert f"{directory}/{name}".strip("/") in files
