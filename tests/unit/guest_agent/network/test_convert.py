"""`devel net-convert`: arguments, files, modes, messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guest_agent.network import convert

V2 = """\
network:
  version: 2
  ethernets:
    nic0: {match: {macaddress: "52:54:00:00:00:01"}, dhcp4: true}
"""


def asked(tmp_path: Path, output: str, *more: str, kind: str = "yaml", distro: str = "debian") -> list[str]:
    where = ["-p", str(tmp_path / "in"), "-d", str(tmp_path / "out")]
    return [*where, "-k", kind, "-D", distro, "-O", output, *more]


@pytest.fixture(autouse=True)
def document(tmp_path: Path) -> Path:
    (tmp_path / "in").write_text(V2)
    return tmp_path / "in"


def test_ga_5_7_writes_below_the_directory_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert.main(asked(tmp_path, "netplan"), Path("/")) == 0
    path = tmp_path / "out/etc/netplan/50-cloud-init.yaml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().err == (
        f"Read input format 'yaml' from '{tmp_path}/in'.\nWrote output format 'netplan' to '{tmp_path}/out'\n"
    )


def test_ga_5_7_known_nics_come_from_m_else_from_sys(tmp_path: Path) -> None:
    assert convert.main(asked(tmp_path, "networkd", "-m", "wan0,52:54:00:00:00:01"), Path("/")) == 0
    assert (tmp_path / "out/etc/systemd/network/10-cloud-init-wan0.network").is_file()
    nic = tmp_path / "root/sys/class/net/lan0"
    nic.mkdir(parents=True)
    (nic / "address").write_text("52:54:00:00:00:01\n")
    root = tmp_path / "root"
    (root / "in").write_text(V2)
    where = ["-p", "/in", "-d", "/out", "-k", "yaml", "-D", "debian", "-O", "networkd"]
    assert convert.main(where, root) == 0
    assert (root / "out/etc/systemd/network/10-cloud-init-lan0.network").is_file()


def test_ga_8_v1_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert.main(asked(tmp_path, "v1-json"), Path("/")) == 0
    item = {
        "mac_address": "52:54:00:00:00:01",
        "name": "nic0",
        "subnets": [{"type": "dhcp4"}],
        "type": "physical",
    }
    out = capsys.readouterr().out
    assert json.loads(out) == {"config": [item], "version": 1}
    assert out.startswith('{\n "config": [\n')


def test_ga_4_6_stricter_mode_and_foreign_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "out/etc/netplan/50-cloud-init.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("")
    path.chmod(0o400)
    assert convert.main(asked(tmp_path, "netplan"), Path("/")) == 0
    assert path.stat().st_mode & 0o777 == 0o400
    (tmp_path / "in").write_text(
        "version: 1\nconfig:\n"
        "- {type: nameserver, address: 192.0.2.53, search: [b]}\n- {type: physical, name: e}\n"
    )
    resolv = tmp_path / "out/etc/resolv.conf"
    resolv.write_text("options edns0\nnameserver 192.0.2.1\nsearch a\n")
    control = tmp_path / "out/etc/sysconfig/network"
    control.parent.mkdir()
    control.write_text("NOZEROCONF=yes\nNETWORKING=no\n")
    assert convert.main(asked(tmp_path, "sysconfig", distro="rhel"), Path("/")) == 0
    assert resolv.read_text().splitlines()[2:] == [
        "options edns0", "nameserver 192.0.2.1", "nameserver 192.0.2.53", "search a b",
    ]  # fmt: skip
    assert control.read_text().splitlines()[2:] == ["NETWORKING=yes", "NOZEROCONF=yes"]


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("a: [", "yaml", "this is no YAML"),
        ("{", "network_data.json", "Expecting"),
        ("version: 7", "yaml", "7 is no version of the network config"),
        (
            '{"links": [{"id": "a", "type": "phy"}], "networks": []}',
            "network_data.json",
            "neither a MAC nor a name",
        ),
    ],
)
def test_ga_8_failure_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, kind: str, said: str
) -> None:
    (tmp_path / "in").write_text(text)
    assert convert.main(asked(tmp_path, "eni", kind=kind), Path("/")) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_ga_8_wrong_arguments_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        convert.main(asked(tmp_path, "bsd"), Path("/"))
    assert ended.value.code == 2
