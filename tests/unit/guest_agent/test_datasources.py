"""The sources, each from a tree and a map of HTTP answers (spec 1.5; GA-N02, N06, N08, N11, N12, N03)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from configdrive import builder
from guest_agent import datasources
from guest_agent.datasources import LOCAL, NETWORK, Search, SourceData, nocloud
from guest_agent.datasources.openstack_documents import newest
from guest_agent.datasources.source_data import public_keys
from guest_agent.machine import Machine, Settings
from tests.unit.guest_agent.fault_server import fault_server, ok, silence, status

UUID = "83679162-1378-4288-a2d4-70e13ec132aa"
V4 = "http://169.254.169.254"
META = {
    "uuid": UUID,
    "hostname": "web-1.example",
    "availability_zone": "nova",
    "public_keys": {"mine": "ssh-ed25519 AAAA me"},
    "random_seed": base64.b64encode(b"seed").decode(),
    "admin_pass": "canary-password",
    "launch_index": 0,
    "meta": {"role": "db"},
    "files": [{"path": "etc/motd", "content_path": "/content/0000"}],
}
NETWORK_DATA: dict[str, list[object]] = {"links": [], "networks": [], "services": []}


def tree(**meta: object) -> dict[str, bytes]:
    """A config drive's tree."""
    return {
        "openstack/2018-08-27/meta_data.json": json.dumps({**META, **meta}).encode(),
        "openstack/2018-08-27/user_data": b"#cloud-config\nhostname: x\n",
        "openstack/2018-08-27/vendor_data.json": b'{"cloud-init": "#cloud-config\\na: 1\\n"}',
        "openstack/2018-08-27/network_data.json": json.dumps(NETWORK_DATA).encode(),
        "openstack/latest/meta_data.json": b"{}",
        "openstack/content/0000": b"hello\n",
        "ec2/latest/meta-data.json": b'{"block-device-mapping": {"ami": "vda", "swap": "vdb"}}',
    }


class Box:
    """A tree that stands for a machine, and what a source said while it looked at it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.warnings: list[str] = []
        self.config: dict[str, Any] = {}
        self.http: dict[str, Any] = {}

    def write(self, path: str, content: bytes | str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)

    def drive(self, name: str, image: bytes) -> None:
        self.write(f"/dev/{name}", image)
        self.write(f"/sys/class/block/{name}/size", f"{len(image) // 512}\n")

    def find(self, stage: str = LOCAL) -> SourceData | None:
        self.write("/http.yaml", yaml.safe_dump(self.http))
        machine = Machine(Settings(root=str(self.root), http="/http.yaml"))
        return datasources.find(Search(machine, self.config, stage, warn=self.warnings.append))

    def search(self) -> Search:
        machine = Machine(Settings(root=str(self.root)))
        return Search(machine, self.config, LOCAL, warn=self.warnings.append)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    made = Box(tmp_path)
    made.write("/proc/cmdline", "root=/dev/vda1 ro\n")
    return made


def nova(box: Box) -> None:
    """The firmware of an OpenStack instance, and its metadata service in the map."""
    box.write("/sys/class/dmi/id/product_name", "OpenStack Nova\n")
    box.write("/sys/class/dmi/id/product_uuid", f"{UUID.upper()}\n")
    box.http = {
        f"{V4}/openstack/{path.partition('/')[2]}": {"body": content.decode()}
        for path, content in tree().items()
        if path.startswith("openstack/")
    }
    box.http |= {f"{V4}/openstack": {"body": "2012-08-10\n2018-08-27\nlatest\n"}}
    box.http |= {f"{V4}/": {"status": 404}}
    box.http |= {f"{V4}/openstack/2018-08-27/vendor_data2.json": {"status": 404}}


@pytest.mark.parametrize("label", ["config-2", "CONFIG-2"])
@pytest.mark.parametrize("kind", list(builder.Format)[:2])
def test_a_config_drive_is_read(box: Box, label: str, kind: builder.Format) -> None:
    box.drive("sr0", builder.build(tree(), label, kind))
    found = box.find()
    assert found is not None
    assert (found.name, found.text) == ("ConfigDrive", "DataSourceConfigDrive [net,ver=2][source=/dev/sr0]")
    assert (found.instance_id, found.local_hostname, found.availability_zone) == (
        UUID,
        "web-1.example",
        "nova",
    )
    assert found.user_data == b"#cloud-config\nhostname: x\n"
    assert found.vendor_data == "#cloud-config\na: 1\n"
    assert found.random_seed == b"seed"
    assert found.public_keys == ("ssh-ed25519 AAAA me",)
    assert (found.network, found.network_kind) == (NETWORK_DATA, "network_data.json")
    assert [(file.path, file.content) for file in found.files] == [("/etc/motd", b"hello\n")]
    assert found.device_names == (("ami", "vda"), ("swap", "vdb"))
    assert found.subplatform == "config-disk (/dev/sr0)"
    assert "canary-password" not in repr(found)
    assert box.warnings == []


def test_ga_n02_a_config_drive_beats_a_metadata_server(box: Box) -> None:
    nova(box)
    box.http = {}  # nobody answers: a question would be a warning
    box.drive("sr0", builder.build(tree(), "config-2"))
    found = box.find()
    assert found is not None
    assert found.name == "ConfigDrive"
    assert box.warnings == []


def test_the_seed_directory_of_a_config_drive(box: Box) -> None:
    for path, content in tree().items():
        box.write(f"/var/lib/cloud/seed/config_drive/{path}", content)
    found = box.find()
    assert found is not None
    assert found.subplatform == "seed-dir (/var/lib/cloud/seed/config_drive)"


def test_labelled_drives_come_first_then_higher_names(box: Box) -> None:
    for name, label, host in (("vdb", "config-2", "b"), ("vdc", "config-2", "c"), ("vdz", "other", "z")):
        box.drive(name, builder.build(tree(hostname=host), label))
    found = box.find()
    assert found is not None
    assert found.local_hostname == "c"


def test_a_partition_counts_only_with_the_label(box: Box) -> None:
    box.drive("vdb1", builder.build(tree(), "other"))
    box.write("/sys/class/block/vdb1/partition", "1\n")
    assert box.find() is None
    box.drive("vdb1", builder.build(tree(), "config-2"))
    assert box.find() is not None


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"openstack/2018-08-27/meta_data.json": b"{"}, "meta_data.json: Expecting"),
        ({"openstack/2018-08-27/meta_data.json": b"[]"}, "a mapping with 'uuid'"),
        ({"openstack/2018-08-27/meta_data.json": b'{"uuid": ""}'}, "a mapping with 'uuid'"),
        ({"openstack/2018-08-27/network_data.json": b"{'a'}"}, "network_data.json: Expecting"),
        ({"openstack/2018-08-27/vendor_data.json": b"nope"}, "vendor_data.json: Expecting"),
        (
            {"openstack/2018-08-27/meta_data.json": json.dumps({**META, "random_seed": "a"}).encode()},
            "base64",
        ),
        ({"openstack/content/0000": None}, "there is no openstack/content/0000"),
        ({"ec2/latest/meta-data.json": b"["}, "ec2 meta-data.json: Expecting"),
    ],
)
def test_broken_documents_make_the_source_unusable(box: Box, broken: dict[str, Any], said: str) -> None:
    whole = {path: content for path, content in (tree() | broken).items() if content is not None}
    box.drive("sr0", builder.build(whole, "config-2"))
    assert box.find() is None
    assert said in box.warnings[0]


@pytest.mark.parametrize(
    ("vendor", "used", "warns"),
    [
        ('"text"', "text", False), ('["a", "b"]', ["a", "b"], False), ('{"cloud-init": ["x"]}', ["x"], False),
        ('{"other": 1}', None, False), ('{"cloud-init": {"a": 1}}', None, True), ("5", None, True),
        ("null", None, False),
    ],
)  # fmt: skip
def test_vendor_data_in_each_form(box: Box, vendor: str, used: object, warns: bool) -> None:
    box.drive("sr0", builder.build({**tree(), "openstack/2018-08-27/vendor_data.json": vendor.encode()}))
    found = box.find()
    assert found is not None
    assert found.vendor_data == used
    assert bool(box.warnings) == warns


def test_openstack_over_http(box: Box) -> None:
    nova(box)
    found = box.find(NETWORK)
    assert found is not None, box.warnings
    assert (found.class_name, found.text) == ("DataSourceOpenStack", "DataSourceOpenStack [net,ver=2]")
    assert (found.instance_id, found.subplatform) == (UUID, f"metadata ({V4})")
    assert found.user_data == b"#cloud-config\nhostname: x\n"
    assert found.vendor_data2 is None
    assert found.network == NETWORK_DATA
    local = box.find(LOCAL)
    assert local is not None
    assert local.class_name == "DataSourceOpenStackLocal"


def test_openstack_is_not_asked_without_a_sign_of_it(box: Box) -> None:
    nova(box)
    box.write("/sys/class/dmi/id/product_name", "Standard PC\n")
    assert box.find(NETWORK) is not None  # the source None
    box.config["datasource_list"] = ["OpenStack"]
    found = box.find(NETWORK)
    assert found is not None
    assert found.name == "OpenStack"


def test_openstack_over_link_local_ipv6(box: Box) -> None:
    nova(box)
    box.http = {
        url.replace(V4, "http://[fe80::a9fe:a9fe%25ens3]"): answer for url, answer in box.http.items()
    }
    box.write("/proc/net/if_inet6", "fe80000000000000505400fffe123456 02 40 20 80     ens3\n")
    found = box.find(NETWORK)
    assert found is not None
    assert found.seed == "http://[fe80::a9fe:a9fe%25ens3]"


@pytest.mark.parametrize("code", [400, 403, 410])
def test_ga_n06_a_refusal_ends_the_source(box: Box, code: int) -> None:
    nova(box)
    box.config["datasource_list"] = ["OpenStack"]
    box.http[f"{V4}/openstack/2018-08-27/user_data"] = {"status": code}
    assert box.find(NETWORK) is None
    assert f"HTTP {code}" in box.warnings[0]


def test_ga_n06_an_optional_document_may_be_absent(box: Box) -> None:
    nova(box)
    for name in ("user_data", "vendor_data.json", "network_data.json"):
        box.http[f"{V4}/openstack/2018-08-27/{name}"] = {"status": 404}
    found = box.find(NETWORK)
    assert found is not None
    assert (found.user_data, found.vendor_data, found.network_kind) == (None, None, None)


def test_ga_n11_a_list_of_versions_that_is_a_web_page(box: Box) -> None:
    nova(box)
    box.config["datasource_list"] = ["OpenStack"]
    box.http[f"{V4}/openstack"] = {"body": "<html>" + "x\n" * 10_000 + "2018-08-27\n"}
    box.http[f"{V4}/openstack/latest/meta_data.json"] = {"status": 404}
    assert box.find(NETWORK) is None
    assert "there is no openstack/latest/meta_data.json" in box.warnings[0]


def test_ga_n12_data_that_change_while_they_are_read_are_read_again(tmp_path: Path) -> None:
    with fault_server() as server:
        first, second = (json.dumps({"uuid": name}).encode() for name in ("a", "b"))
        server.answers = {
            "/openstack": [ok(b"latest\n")],
            "/openstack/latest/meta_data.json": [ok(first), ok(second)],
        }
        found, warnings = asked(tmp_path, server.base)
        assert found is not None, warnings
        assert found.instance_id == "b"
        server.answers["/openstack/latest/meta_data.json"] = [
            ok(json.dumps({"uuid": f"i-{number}"}).encode()) for number in range(20)
        ]
        found, warnings = asked(tmp_path, server.base)
        assert found is None
        assert "the instance id changes" in warnings[0]


def test_ga_n05_a_busy_service_is_waited_for(tmp_path: Path) -> None:
    with fault_server() as server:
        server.answers = {
            "/openstack": [status(503), ok(b"latest\n")],
            "/openstack/latest/meta_data.json": [ok(json.dumps({"uuid": "a"}).encode())[:-3],
                                                 ok(json.dumps({"uuid": "a"}).encode())],
        }  # fmt: skip
        found, warnings = asked(tmp_path, server.base)
        assert found is not None, warnings


def test_ga_n04_a_silent_address_is_asked_twice_and_no_more(tmp_path: Path) -> None:
    with fault_server() as server:
        server.answers = {"/openstack": [silence]}
        found, warnings = asked(tmp_path, server.base, timeout=0.2)
        assert found is None
        assert server.paths() == ["/openstack", "/openstack"]
        assert "no whole answer in time" in warnings[0]


def test_ga_n04_max_wait_waits_for_a_service_that_comes_late(tmp_path: Path) -> None:
    with fault_server() as server:
        server.answers = {
            "/openstack": [silence, silence, silence, ok(b"latest\n")],
            "/openstack/latest/meta_data.json": [ok(json.dumps({"uuid": "a"}).encode())],
        }
        found, warnings = asked(tmp_path, server.base, timeout=0.2, max_wait=20)
        assert found is not None, warnings


def asked(root: Path, base: str, **settings: float) -> tuple[SourceData | None, list[str]]:
    """OpenStack at an address, through real sockets."""
    from guest_agent.fetch import Web

    warnings: list[str] = []
    config = {
        "datasource_list": ["OpenStack"],
        "datasource": {"OpenStack": {"metadata_urls": [base], **settings}},
    }
    web = Web(sleep=lambda _s: None, proxies={})
    machine = Machine(Settings(root=str(root)))
    return datasources.find(Search(machine, config, NETWORK, web=web, warn=warnings.append)), warnings


def test_ga_n03_pinned_data_of_another_machine_are_refused(box: Box) -> None:
    nova(box)
    box.config = {"datasource_list": ["OpenStack"], "datasource": {"OpenStack": {"pin": True}}}
    assert box.find(NETWORK) is not None
    box.write("/sys/class/dmi/id/product_uuid", "00000000-0000-0000-0000-000000000001\n")
    assert box.find(NETWORK) is None
    assert "another machine" in box.warnings[-1]


def test_apply_network_config_false_leaves_the_network_out(box: Box) -> None:
    nova(box)
    box.config = {"datasource": {"OpenStack": {"apply_network_config": False}}}
    found = box.find(NETWORK)
    assert found is not None
    assert found.network_kind is None


SEED = {"meta-data": "instance-id: i-1\nlocal-hostname: here\n", "user-data": "#cloud-config\n"}


def seed(box: Box, directory: str = "nocloud", **more: str) -> None:
    for name, content in {**SEED, **{key.replace("_", "-"): text for key, text in more.items()}}.items():
        box.write(f"/var/lib/cloud/seed/{directory}/{name}", content)


@pytest.mark.parametrize("directory", ["nocloud", "nocloud-net"])
def test_nocloud_from_a_seed_directory(box: Box, directory: str) -> None:
    seed(box, directory, network_config="network:\n  version: 2\n", vendor_data="v")
    found = box.find()
    assert found is not None
    place = f"/var/lib/cloud/seed/{directory}"
    assert (found.text, found.instance_id) == (f"DataSourceNoCloud [seed={place}]", "i-1")
    assert (found.network, found.vendor_data) == ({"version": 2}, b"v")
    assert found.cloud_name == "unknown"


@pytest.mark.parametrize("label", ["cidata", "CIDATA"])
def test_nocloud_from_a_disk(box: Box, label: str) -> None:
    box.drive("sr0", builder.build({name: text.encode() for name, text in SEED.items()}, label))
    found = box.find()
    assert found is not None
    assert (found.seed, found.subplatform) == ("/dev/sr0", "config-disk (/dev/sr0)")


def test_a_disk_without_meta_data_is_told_and_passed_over(box: Box) -> None:
    box.drive("sr0", builder.build({"user-data": b"x"}, "cidata"))
    assert box.find() is None
    assert box.warnings == ["device /dev/sr0 with label=cidata not a valid seed: no meta-data"]


def test_the_command_line_beats_the_seed_key_by_key(box: Box) -> None:
    box.write("/proc/cmdline", "ro ds=nocloud;i=from-cmdline;h=other quiet\n")
    seed(box)
    found = box.find()
    assert found is not None
    assert (found.instance_id, found.local_hostname) == ("from-cmdline", "other")
    assert found.text == "DataSourceNoCloud [seed=cmdline,/var/lib/cloud/seed/nocloud][dsmode=local]"
    assert found.user_data == b"#cloud-config\n"


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("ds=nocloud", {"dsmode": "local"}),
        ("ro ds=nocloud;s=http://a/;i=x;flag",
         {"seedfrom": "http://a/", "instance-id": "x", "flag": None, "dsmode": "net"}),
        ("ds=nocloud-net;h=a", {"local-hostname": "a", "dsmode": "net"}),
        ("ds=nocloud-net;s=/seed", {"seedfrom": "/seed", "dsmode": "local"}),
        ("ds=nocloud;dsmode=disabled", {"dsmode": "disabled"}),
        ("nods=nocloud", None), ("ds=nocloudy", None), ("ds=openstack", None), ("", None),
    ],
)  # fmt: skip
def test_the_words_of_the_command_line(line: str, keys: dict[str, object] | None) -> None:
    assert nocloud.command_line_keys(line) == keys


@pytest.mark.parametrize(
    ("start", "name", "address"),
    [
        ("http://a/b", "user-data", "http://a/b/user-data"), ("http://a/", "meta-data", "http://a/meta-data"),
        ("http://a/?f=", "x", "http://a/?f=x"), ("http://a/%s.txt", "x", "http://a/x.txt"),
        ("/s", "x", "/s/x"),
    ],
)  # fmt: skip
def test_the_address_of_a_seed_file(start: str, name: str, address: str) -> None:
    assert nocloud.seed_address(start, name) == address


def test_nocloud_from_an_address_in_the_smbios_serial(box: Box) -> None:
    box.write("/sys/class/dmi/id/product_serial", "ds=nocloud;s=http://a.example/__dmi.system-uuid__/\n")
    box.write("/sys/class/dmi/id/product_uuid", "abc\n")
    box.http = {f"http://a.example/abc/{name}": {"body": text} for name, text in SEED.items()}
    box.http["http://a.example/"] = {"status": 404}
    assert box.find(LOCAL) is None  # an address is for the network stage
    found = box.find(NETWORK)
    assert found is not None, box.warnings
    assert (found.class_name, found.instance_id, found.dsmode) == ("DataSourceNoCloudNet", "i-1", "net")
    assert found.seed == "dmi,http://a.example/abc/"


def test_a_seed_address_without_its_files_is_a_warning(box: Box) -> None:
    box.write("/proc/cmdline", "ds=nocloud;s=http://a.example/\n")
    box.http = {"http://a.example/": {"status": 404}}
    box.config["datasource_list"] = ["NoCloud"]
    assert box.find(NETWORK) is None
    assert "a seed needs it" in box.warnings[0]


def test_nocloud_from_the_configuration(box: Box) -> None:
    box.config = {"datasource": {"NoCloud": {"user-data": "u", "meta-data": "instance-id: c\n"}}}
    found = box.find()
    assert found is not None
    assert (found.seed, found.instance_id, found.user_data) == ("ds_config", "c", "u")


def test_broken_meta_data_counts_as_empty_and_is_told(box: Box) -> None:
    seed(box, meta_data="a: [")
    found = box.find()
    assert found is not None
    assert found.instance_id == "nocloud"
    assert "meta-data:2: " in box.warnings[0]


def test_dsmode_disabled_gives_nothing(box: Box) -> None:
    seed(box, meta_data="instance-id: x\ndsmode: disabled\n")
    assert box.find() is None


def ec2_map(version: str = "2021-03-23") -> dict[str, Any]:
    """A metadata service of EC2 with tokens."""
    leaves = {
        "instance-id": "i-0abc", "local-hostname": "ip-10-0-0-1", "ami-launch-index": "1",
        "placement/availability-zone": "eu-west-1b", "public-keys/0/openssh-key": "ssh-rsa AAAA k",
        "block-device-mapping/root": "/dev/sda1", "multi": "a\nb", "json": '{"x": 1}',
    }  # fmt: skip
    lists = {
        "": "instance-id\nlocal-hostname\nami-launch-index\nplacement/\npublic-keys/\nblock-device-mapping/\n"
        "multi\njson\niam/\n../x\nbad name\n",
        "placement/": "availability-zone", "public-keys/": "0=my-key", "block-device-mapping/": "root",
        "iam/": "security-credentials/",
    }  # fmt: skip
    answers: dict[str, Any] = {f"{V4}/latest/api/token": {"body": "TOKEN"}}
    for base in {version, "2009-04-04"}:
        answers |= {
            f"{V4}/{base}/meta-data/{path}": {"body": text} for path, text in (lists | leaves).items()
        }
    user_data = base64.b64encode(b"#cloud-config\n").decode()
    answers |= {f"{V4}/{version}/user-data": {"body": user_data}}
    answers |= {f"{V4}/{version}/dynamic/instance-identity/document": {"body": '{"region": "eu-west-1"}'}}
    answers |= {f"{V4}/": {"status": 404}}
    return answers


def test_ec2_reads_the_tree_in_the_local_stage_on_aws(box: Box) -> None:
    box.write("/sys/class/dmi/id/product_uuid", "EC2A1B2C-0000-1111-2222-333344445555\n")
    box.http = ec2_map()
    found = box.find(LOCAL)
    assert found is not None, box.warnings
    assert (found.class_name, found.instance_id, found.cloud_name) == ("DataSourceEc2Local", "i-0abc", "aws")
    assert (found.availability_zone, found.region, found.launch_index) == ("eu-west-1b", "eu-west-1", 1)
    assert found.public_keys == ("ssh-rsa AAAA k",)
    assert found.user_data == b"#cloud-config\n"  # base64 is taken off here and nowhere else
    assert found.metadata["multi"] == ["a", "b"]
    assert found.metadata["json"] == {"x": 1}
    assert found.metadata["iam"] == {}
    # GA-N11: names that are none are left out and told.
    assert len([text for text in box.warnings if "a name that is none" in text]) == 2


def test_ec2_takes_the_newest_version_that_answers(box: Box) -> None:
    box.write("/sys/class/dmi/id/chassis_asset_tag", "x.zstack.io\n")
    box.http = ec2_map("2016-09-02")
    found = box.find(NETWORK)
    assert found is not None, box.warnings
    assert found.cloud_name == "zstack"


@pytest.mark.parametrize("code", [403, 404, 405])
def test_ga_n08_aws_without_a_token_gives_nothing(box: Box, code: int) -> None:
    box.write("/sys/class/dmi/id/product_uuid", "ec2a1b2c-0000-1111-2222-333344445555\n")
    box.http = {**ec2_map(), f"{V4}/latest/api/token": {"status": code}}
    assert box.find(LOCAL) is None
    assert any("switched off" in text for text in box.warnings)


def test_ga_n08_a_refused_token_is_renewed_once(tmp_path: Path) -> None:
    from guest_agent.datasources import ec2
    from guest_agent.errors import FetchFailed
    from guest_agent.fetch import Web

    with fault_server() as server:
        server.answers = {
            "PUT /latest/api/token": [ok(b"ONE"), ok(b"TWO")],
            "/2009-04-04/meta-data/instance-id": [status(401), ok(b"i-1")],
            "/x": [status(401)],
        }
        search = Search(
            Machine(Settings(root=str(tmp_path))),
            {"datasource": {"Ec2": {"metadata_urls": [server.base]}}},
            LOCAL,
            web=Web(sleep=lambda _s: None, proxies={}),
            warn=lambda _text: None,
        )
        service = ec2._Service(search, wants_token=True)
        service.connect()
        tokens = [headers.get("x-aws-ec2-metadata-token") for _, _, headers in server.requests]
        assert tokens[:4] == [None, "ONE", None, "TWO"]
        with pytest.raises(FetchFailed, match="HTTP 401"):
            service.ask(f"{server.base}/x")
        assert server.paths().count("/x") == 2


@pytest.mark.parametrize(
    ("files", "platform"),
    [
        ({"product_uuid": "EC2E1916-9099-7CAF"}, "aws"), ({"product_uuid": "45E12AEC-DCD1-B213"}, "aws"),
        ({"product_uuid": "45E13AEC-DCD1-B213"}, "unknown"),
        ({"product_serial": "a.brightbox.com"}, "brightbox"),
        ({"product_serial": "a.bobrightbox.com"}, "unknown"), ({"sys_vendor": "e24cloud"}, "e24cloud"),
        ({"sys_vendor": "Tilaa"}, "tilaa"), ({"sys_vendor": "3DS Outscale"}, "unknown"),
        ({"sys_vendor": "3DS Outscale", "product_name": "3DS Outscale VM"}, "outscale"), ({}, "unknown"),
    ],
)  # fmt: skip
def test_the_platforms_of_ec2(box: Box, files: dict[str, str], platform: str) -> None:
    from guest_agent.datasources import ec2

    for name, text in files.items():
        box.write(f"/sys/class/dmi/id/{name}", f"{text}\n")
    assert ec2.platform(box.search()) == platform


def test_none_is_the_last_resort(box: Box) -> None:
    box.config = {"datasource": {"None": {"userdata_raw": "#cloud-config\n"}}}
    found = box.find(NETWORK)
    assert found is not None
    assert (found.instance_id, found.is_fallback, found.user_data) == (
        "iid-datasource-none", True, "#cloud-config\n",
    )  # fmt: skip
    assert box.find(LOCAL) is None


def test_the_order_is_the_configured_list(box: Box) -> None:
    seed(box)
    box.drive("sr0", builder.build(tree()))
    for listed, name in (
        (["configdrive", "nocloud"], "ConfigDrive"),
        (["NoCloud-Net", "ConfigDrive"], "NoCloud"),
    ):
        box.config["datasource_list"] = listed
        found = box.find()
        assert found is not None
        assert found.name == name


def test_a_source_that_is_named_needs_no_sign(box: Box) -> None:
    nova(box)
    box.write("/sys/class/dmi/id/product_name", "Standard PC\n")
    box.write("/proc/cmdline", "ro ds=OpenStack\n")
    found = box.find(NETWORK)
    assert found is not None
    assert found.name == "OpenStack"


def test_the_search_is_told_as_events(box: Box) -> None:
    seed(box)
    told: list[str] = []
    search = box.search()
    datasources.find(search, lambda source, result: told.append(f"{source.class_name} {result}"))
    assert told == ["DataSourceNoCloud start", "DataSourceNoCloud found"]


def test_the_cheap_check_of_the_next_boot(box: Box) -> None:
    box.write("/sys/class/dmi/id/product_uuid", f"{UUID.upper()}\n")
    for name in ("OpenStack", "ConfigDrive"):
        assert datasources.is_same_instance(box.search(), name, UUID)
        assert not datasources.is_same_instance(box.search(), name, "other")
    seed(box)
    assert datasources.is_same_instance(box.search(), "NoCloud", "i-1")
    assert not datasources.is_same_instance(box.search(), "NoCloud", "i-2")
    assert not datasources.is_same_instance(box.search(), "Ec2", "i-1")
    assert not datasources.is_same_instance(box.search(), "None", "iid-datasource-none")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["2012-08-10", "2018-08-27", "latest"], "2018-08-27"), (["2030-01-01"], "latest"), ([], "latest"),
     (["2013-04-04/", " 2012-08-10 "], "2013-04-04")],
)  # fmt: skip
def test_the_newest_known_version(offered: list[str], chosen: str) -> None:
    assert newest(offered) == chosen


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ("a\n\nb", ("a", "b")),
        (["a", None, "b"], ("a", "b")),
        ({"x": "a", "y": ["b"]}, ("a", "b")),
        (5, ()),
        (None, ()),
    ],
)
def test_public_keys_in_each_form(value: object, keys: tuple[str, ...]) -> None:
    assert public_keys(value) == keys


def test_ga_n01_no_source_means_no_question(box: Box) -> None:
    """Nothing is named, labelled or marked: no request leaves (the empty map would make it a warning)."""
    assert box.find(LOCAL) is None
    found = box.find(NETWORK)
    assert found is not None
    assert found.name == "None"
    assert box.warnings == []
