"""`guestling drive`: the same bytes every time, whole or nothing, exit codes, faults that name the place."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from configdrive import builder, reader
from configdrive.builder import Format
from guestling.main import main

INSTANCE = """\
uuid: 8f0a9c1e-1111-4222-8333-444455556666
name: web-1
hostname: web-1
admin_pass: canary-8d1f
user_data: |
  #cloud-config
  users: []
files:
- {path: /etc/motd, content: welcome}
network:
  links: [{id: tap0, type: phy, ethernet_mac_address: "fa:16:3e:00:00:01"}]
  networks: [{id: network0, link: tap0, type: ipv4_dhcp}]
  services: []
"""
VERSIONS = 11


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "web-1.yaml").write_text(INSTANCE)
    return tmp_path


Drive = Callable[..., int]


@pytest.fixture
def drive() -> Drive:
    return lambda *arguments: main(["drive", *arguments])


def test_build_writes_the_same_bytes_on_any_day(drive: Drive) -> None:
    assert drive("build", "web-1.yaml", "-o", "a.iso") == 0
    time.sleep(0.01)
    assert drive("build", "web-1.yaml", "-o", "b.iso") == 0
    assert Path("a.iso").read_bytes() == Path("b.iso").read_bytes()
    assert drive("verify", "a.iso") == 0
    assert stat.S_IMODE(Path("a.iso").stat().st_mode) == 0o600


def test_another_instance_has_another_seed_and_a_fresh_one_differs(drive: Drive) -> None:
    Path("web-2.yaml").write_text(INSTANCE.replace("6666", "7777"))
    for name, arguments in {
        "a": ("web-1.yaml",),
        "b": ("web-2.yaml",),
        "c": ("web-1.yaml", "--fresh-seed"),
    }.items():
        assert drive("build", *arguments, "-o", name) == 0
    seeds = [
        json.loads(reader.read(name)["openstack/latest/meta_data.json"])["random_seed"] for name in "abc"
    ]
    assert len(set(seeds)) == 3


def test_cd_1_every_version_holds_the_same_seed_and_all_versions_are_there(drive: Drive) -> None:
    assert drive("build", "web-1.yaml", "-o", "a.iso") == 0
    tree = reader.read("a.iso")
    documents = [json.loads(data) for path, data in tree.items() if path.endswith("/meta_data.json")]
    assert len(documents) == VERSIONS
    assert len({document["random_seed"] for document in documents if "random_seed" in document}) == 1
    assert {"ec2/latest/meta-data.json", "openstack/content/0000"} <= tree.keys()


def test_cd_3_minimal_and_chosen_versions(drive: Drive) -> None:
    assert drive("build", "web-1.yaml", "-o", "a", "--minimal") == 0
    assert {path.split("/")[1] for path in reader.read("a")} == {
        "2012-08-10",
        "2018-08-27",
        "latest",
        "content",
    }
    assert drive("build", "web-1.yaml", "-o", "b", "--versions", "2018-08-27", "--no-ec2") == 0
    assert {path.rsplit("/", 1)[0] for path in reader.read("b")} == {
        "openstack/2018-08-27",
        "openstack/content",
    }
    assert drive("build", "web-1.yaml", "-o", "c", "--versions", "2018-08-27,latest") == 0
    assert {path.rsplit("/", 1)[0] for path in reader.read("c")} >= {"openstack/latest", "ec2/latest"}


@pytest.mark.slow
@pytest.mark.parametrize("filesystem", ["iso9660", "vfat"])
def test_one_tree_in_every_format(drive: Drive, filesystem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert drive("build", "web-1.yaml", "-o", "image", "--format", filesystem, "--format", "json") == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["filesystem"], made["label"]) == (filesystem, "config-2")
    assert drive("build", "web-1.yaml", "-o", "directory", "--format", "dir") == 0
    assert drive("build", "web-1.yaml", "-o", "text", "-f", filesystem, "--gzip-base64") == 0
    assert Path("text").read_bytes().isascii()
    for name in ("directory", "text"):
        assert drive("diff", "image", name) == 0
        assert drive("convert", name, "-o", "again", "-f", filesystem) == 0
        assert Path("again").read_bytes() == Path("image").read_bytes()
        assert drive("verify", name) == 0


def test_nocloud_layout(drive: Drive) -> None:
    assert drive("build", "web-1.yaml", "--layout", "nocloud", "-o", "a.iso") == 0
    assert reader.label("a.iso") == "cidata"
    assert set(reader.read("a.iso")) == {"meta-data", "user-data", "vendor-data", "network-config"}
    assert drive("verify", "a.iso") == 0


def test_plain_files_as_cloud_localds(drive: Drive) -> None:
    Path("user").write_text("#cloud-config\n")
    Path("net").write_text("version: 2\nethernets: {}\n")
    assert drive("build", "--user-data", "user", "-N", "net", "-H", "web-1", "-o", "seed.iso") == 0
    assert reader.label("seed.iso") == "cidata"
    tree = reader.read("seed.iso")
    assert json.loads(tree["meta-data"]) == {"instance-id": "iid-local01", "local-hostname": "web-1"}
    assert (tree["user-data"], tree["network-config"]) == (b"#cloud-config\n", b"version: 2\nethernets: {}\n")
    assert drive("verify", "seed.iso") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("build", "-o", "x"), "name an instance document"),
        (
            ("build", "web-1.yaml", "--user-data", "web-1.yaml", "-o", "x"),
            "--user-data goes with plain files",
        ),
        (("build", "web-1.yaml", "--versions", "2018", "-o", "x"), "there is no version '2018'"),
        (
            ("build", "--user-data", "web-1.yaml", "--layout", "openstack", "-o", "x"),
            "needs an instance document",
        ),
        (("build", "--user-data", "f", "--meta-data", "f", "-H", "h", "-o", "x"), "give one or the other"),
        (("build", "missing.yaml", "-o", "x"), "missing.yaml: No such file or directory"),
        (("build", "web-1.yaml", "--label", "far too long a label", "-o", "x"), "error=drive-unbuildable"),
        (("build", "web-1.yaml", "--format", "vfat", "--size-mib", "65", "-o", "x"), "Choose 1 to 64 MiB"),
        (("build", "web-1.yaml", "--format", "dir", "-o", "-"), "neither printed nor packed"),
        (("show", "missing.iso"), "error=drive-unreadable"),
        (("show", "web-1.yaml"), "error=drive-unknown-format"),
        (("convert", "web-1.yaml", "-o", "x"), "error=drive-unknown-format"),
        (("extract", "web-1.yaml", "-o", "x"), "error=drive-unknown-format"),
        (("diff", "web-1.yaml", "web-1.yaml"), "error=drive-unknown-format"),
        (("verify", "missing.iso"), "error=drive-unreadable"),
    ],
)
def test_input_errors_exit_2_and_write_nothing(
    drive: Drive, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drive(*arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert sorted(path.name for path in Path().iterdir()) == ["web-1.yaml"]


def test_every_fault_of_an_instance_document_is_said(
    drive: Drive, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.yaml").write_text("uuid: nonsense\nhostnam: x\nadmin_pass: canary-8d1f\n")
    assert drive("build", "bad.yaml", "-o", "x") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("bad.yaml:")
    assert "canary" not in "".join(lines)


def test_an_output_that_cannot_be_written_exits_1(drive: Drive, capsys: pytest.CaptureFixture[str]) -> None:
    Path("directory").mkdir()
    assert drive("build", "web-1.yaml", "-o", "directory") == 1
    assert drive("build", "web-1.yaml", "-o", "missing/a.iso") == 1
    assert capsys.readouterr().err.count("error=drive-unwritable") == 2


def test_a_broken_drive_exits_1_and_json_says_why(drive: Drive, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cut.iso").write_bytes(builder.build({"openstack/latest/meta_data.json": b"{}"})[:-2048])
    assert drive("verify", "cut.iso") == 1
    assert "cut.iso: error: config drive: volume at offset 0" in capsys.readouterr().out
    assert drive("verify", "cut.iso", "--format", "json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["good"] is False
    assert report["findings"][0]["error"] == "drive-truncated"
    assert drive("show", "cut.iso", "--format", "json") == 2
    assert json.loads(capsys.readouterr().out)["error"] == "drive-truncated"


def test_show_lists_files_and_prints_one(drive: Drive, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert drive("build", "web-1.yaml", "-o", "a.iso") == 0
    capsysbinary.readouterr()
    assert drive("show", "a.iso", "openstack/latest/user_data") == 0
    assert capsysbinary.readouterr().out == b"#cloud-config\nusers: []\n"
    assert drive("show", "a.iso", "nothing") == 1
    assert drive("show", "a.iso", "--format", "json") == 0
    shown = json.loads(capsysbinary.readouterr().out)
    assert (shown["label"], shown["layout"], shown["version a guest takes"]) == (
        "config-2",
        "openstack",
        "2025-04-04",
    )
    assert len(shown["files"]) == len(reader.read("a.iso"))
    assert drive("show", "a.iso") == 0
    assert b"canary" not in capsysbinary.readouterr().out


def test_names_reach_a_terminal_escaped(drive: Drive, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.iso").write_bytes(builder.build({"\x1b[2Jname\n": b""}))
    assert drive("show", "a.iso") == 0
    assert drive("diff", "a.iso", "a.iso") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"\x1b[2Jname\n" in out


def test_diff_says_what_differs(drive: Drive, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.iso").write_bytes(builder.build({"a": b"1", "b": b"1"}))
    Path("b.iso").write_bytes(builder.build({"a": b"2", "c": b"1"}, "cidata"))
    assert drive("diff", "a.iso", "b.iso", "--format", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert [each["path"] for each in found["differences"]] == ["(label)", "a", "b", "c"]


def test_extract_writes_a_whole_directory_or_none(drive: Drive) -> None:
    Path("a.vfat").write_bytes(builder.build({"d/a": b"1", "b": b"2"}, format=Format.VFAT, size_mib=1))
    assert drive("extract", "a.vfat", "-o", "out") == 0
    assert reader.read("out") == {"d/a": b"1", "b": b"2"}
    assert drive("extract", "a.vfat", "-o", "out") == 1  # it is no longer empty


def test_the_image_on_standard_output(drive: Drive, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert drive("build", "web-1.yaml", "-o", "a.iso") == 0
    capsysbinary.readouterr()
    assert drive("build", "web-1.yaml", "-o", "-") == 0
    assert capsysbinary.readouterr().out == Path("a.iso").read_bytes()


def test_cd_12_sigterm_leaves_nothing(here: Path) -> None:
    """The command is ended while it waits in fsync, the longest step of writing."""
    script = (
        "import os, sys, time\n"
        "def wait(descriptor):\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(30)\n"
        "os.fsync = wait\n"
        "from guestling.main import main\n"
        "sys.exit(main(['drive', 'build', 'web-1.yaml', '-o', 'a.iso']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None
    assert process.stdout.readline() == b"waiting\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 128 + signal.SIGTERM
    process.stdout.close()
    assert [path.name for path in here.iterdir()] == ["web-1.yaml"]
