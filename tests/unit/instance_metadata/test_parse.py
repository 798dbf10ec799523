"""Documents that are refused: every fault, with its line and what to do (metadata-service.md 13.2)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance_metadata.errors import InvalidInstance
from instance_metadata.instance import EC2_USER_DATA, MAX_USER_DATA, Instance, parse, read
from instance_metadata.reading import MAX_BYTES
from instance_metadata.values import normal_address

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures" / "metadata"
UUID = "11111111-2222-4333-8444-555555555555"
BAD = sorted(path for path in (FIXTURES / "bad").iterdir() if path.suffix in (".yaml", ".json"))


@pytest.mark.parametrize("path", BAD, ids=[path.name for path in BAD])
def test_bad_01_every_fault_of_a_document(path: Path) -> None:
    with pytest.raises(InvalidInstance) as caught:
        read(path.read_bytes(), path.name)
    expected = path.with_suffix(".faults")
    if os.environ.get("GUESTLING_GOLDEN") == "rewrite":
        expected.write_text(f"{caught.value}\n")
    assert f"{caught.value}\n" == expected.read_text()


def test_least_document() -> None:
    made = parse({"uuid": UUID.upper()}, "x")
    assert (made.uuid, made.hostname, made.name) == (UUID, "server-11111111", "server-11111111")
    assert made.user_data is None
    assert made.ready


def test_empty_user_data_is_not_absent() -> None:
    assert parse({"uuid": UUID, "user_data": ""}, "x").user_data == b""


@pytest.mark.parametrize(
    "given_as",
    [
        {"user_data": "a\n"},
        {"user_data": b"a\n"},
        {"user_data_base64": "YQo="},
        {"user_data": {"base64": "YQo="}},
        {"user_data": {"text": "a\n"}},
    ],
)
def test_user_data_forms(given_as: dict[str, object]) -> None:
    assert parse({"uuid": UUID, **given_as}, "x").user_data == b"a\n"


@pytest.mark.parametrize("size", [MAX_USER_DATA, MAX_USER_DATA + 1])
def test_user_data_limit(size: int) -> None:
    document = {"uuid": UUID, "user_data": "x" * size}
    if size > MAX_USER_DATA:
        with pytest.raises(InvalidInstance, match="larger than 49149 bytes"):
            parse(document, "x")
    else:
        assert len(parse(document, "x").user_data or b"") == size
    assert len(parse(document, "x", max_user_data=size).user_data or b"") == size


def test_warnings_do_not_refuse() -> None:
    network = {
        "links": [{"id": "a", "type": "phy", "ethernet_mac_address": "fa:16:3e:00:00:01"}],
        "networks": [
            {
                "link": "a",
                "type": "ipv4",
                "ip_address": "10.0.0.5/24",
                "gateway": "192.0.2.1",
                "routes": [{"network": "10.9.9.9", "netmask": "255.0.0.0", "gateway": "10.0.0.2"}],
            }
        ],
    }
    made = parse(
        {
            "uuid": UUID,
            "network": network,
            "user_data": "x" * (EC2_USER_DATA + 1),
            "vendor_data": {"cloud-init": {}},
        },
        "x",
    )
    assert [warning.path for warning in made.warnings] == [
        "network.networks[0].routes[0].network",
        "network.networks[0].routes[0].gateway",
        "user_data",
        "vendor_data.cloud-init",
    ]
    assert made.network is not None
    assert made.network.networks[0].routes[1].network == "10.0.0.0"


def test_bad_01_a_secret_is_never_quoted() -> None:
    with pytest.raises(InvalidInstance) as caught:
        parse({"uuid": UUID, "admin_pass": "canary\n", "user_data_base64": "canary!"}, "x")
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(parse({"uuid": UUID, "admin_pass": "canary"}, "x"))


def test_bad_03_size_limit() -> None:
    with pytest.raises(InvalidInstance, match="larger than"):
        read(b"#" * (MAX_BYTES + 1), "x.yaml")


def test_bare_off_is_a_mode() -> None:
    assert read(f"uuid: {UUID}\nimds: {{tokens: off, endpoint: off}}".encode(), "x").imds.endpoint is False


def test_network_masks_have_one_form() -> None:
    network = {
        "links": [{"id": "a", "type": "phy", "ethernet_mac_address": "FA-16-3E-00-00-01"}],
        "networks": [
            {"link": "a", "type": "ipv4", "ip_address": "10.0.0.5", "netmask": 24},
            {"link": "a", "type": "ipv6", "ip_address": "2001:DB8::5", "netmask": "ffff:ffff:ffff:ffff::"},
        ],
    }
    made = parse({"uuid": UUID, "network_data": network}, "x")
    assert made.network is not None
    assert [one.netmask for one in made.network.networks] == ["255.255.255.0", "ffff:ffff:ffff:ffff::"]
    assert made.macs == ("fa:16:3e:00:00:01",)
    assert made.identity.source_ips == ("10.0.0.5", "2001:db8::5")


@given(st.ip_addresses())
def test_ms_a11_one_spelling_for_an_address(address: object) -> None:
    plain = normal_address(str(address))
    assert plain is not None
    assert normal_address(plain.upper()) == plain
    exploded = getattr(address, "exploded", "")
    assert normal_address(exploded) == plain
    if "." in plain and ":" not in plain:
        assert normal_address(f"::ffff:{plain}") == plain


_TREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = (
    "meta",
    "keys",
    "files",
    "network",
    "devices",
    "identity",
    "imds",
    "tags",
    "user_data",
    "vendor_data2",
)


@given(st.dictionaries(st.sampled_from(_FIELDS), _TREE, max_size=4))
def test_any_value_is_an_instance_or_a_list_of_faults(fields: dict[str, object]) -> None:
    try:
        made: Instance | None = parse({"uuid": UUID, **fields}, "x")
    except InvalidInstance as refused:
        made, faults = None, refused.faults
    assert made is not None or faults
