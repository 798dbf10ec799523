"""Where configuration comes from, and the words of the kernel command line (spec 1.10, 1.6)."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import pytest
import yaml

from guest_agent import config, kernel_words, merge
from guest_agent.errors import AgentError
from guest_agent.limits import Limits, from_config
from guest_agent.machine import Machine, Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def write(root: Path, path: str, text: str | bytes) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text if isinstance(text, bytes) else text.encode())


def machine(root: Path, http: str = "") -> Machine:
    return Machine(Settings(root=str(root), http=http))


def merged(name: str, value: dict[object, object]) -> merge.Merged:
    return merge.merge_parts([merge.Layer(name, value)])


def test_the_order_of_the_sources(root: Path) -> None:
    """Each source names the key `by`, and one key alone; the highest that is left wins."""
    layers = {
        "etc/cloud/cloud.cfg": "cfg", "etc/cloud/cloud.cfg.d/10.cfg": "d10",
        "etc/cloud/cloud.cfg.d/90.cfg": "d90",
        "run/cloud-init/cloud.cfg": "run", "file.cfg": "file", "env.cfg": "env",
    }  # fmt: skip
    for path, name in layers.items():
        write(root, path, f"by: {name}\n{name}: 1\n")
    write(root, "etc/cloud/cloud.cfg.d/95.conf", "by: not-a-cfg\n")
    write(root, "proc/cmdline", "ro cc:{by:%20cmdline,%20cmdline:%201} end_cc quiet\n")
    clouds = [
        (name, merge.merge_parts([merge.Layer(name, {"by": name, name: 1})])) for name in ("user", "v2", "v1")
    ]
    found = config.whole(
        machine(root),
        files=["/file.cfg"],
        environment={"CLOUD_CFG": "/env.cfg"},
        cloud_configs=clouds,
        source_config={"by": "source", "source": 1},
    )
    order = ["file", "env", "user", "v2", "v1", "source", "cmdline", "run", "d90", "d10", "cfg"]
    assert found.values["by"] == "file"
    assert all(found.values[name] == 1 for name in order)
    assert found.values["def_log_file"] == "/var/log/cloud-init.log"
    origins = {name: found.merged.where((name,))[0].layer for name in order}
    assert origins["d90"] == "/etc/cloud/cloud.cfg.d/90.cfg"
    assert origins["cmdline"] == "kernel command line"
    assert origins["user"] == "user"
    assert found.merged.where(("d10",))[0].line == 2
    assert config.system(machine(root)).values["by"] == "cmdline"


def test_a_user_list_replaces_a_vendor_list(root: Path) -> None:
    clouds = [
        ("user", merged("user", {"runcmd": ["u"]})),
        ("vendor", merged("vendor", {"runcmd": ["v"], "a": 1})),
    ]
    found = config.whole(machine(root), environment={}, cloud_configs=clouds)
    assert (found.values["runcmd"], found.values["a"]) == (["u"], 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "90.cfg:2"), ("- a\n", "a mapping is expected"), ("a: 1\nmerge_how: what", "merge_how"),
        ("", ""), ("# only a comment\n", ""), ("{}", ""), (b"a: \xff", "not UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_told_and_left_out(root: Path, text: str | bytes, told: str) -> None:
    write(root, "etc/cloud/cloud.cfg.d/90.cfg", text)
    write(root, "etc/cloud/cloud.cfg", "a: good\n")
    found = config.system(machine(root))
    assert found.values["a"] == "good"
    assert bool(found.notes) == bool(told)
    assert all(told in text and level == "WARNING" for level, text in found.notes)


def test_a_template_is_used_once_there_is_instance_data(root: Path) -> None:
    write(root, "etc/cloud/cloud.cfg.d/90.cfg", "## template: jinja\nzone: {{ v1.availability_zone }}\n")
    before = config.system(machine(root))
    assert "zone" not in before.values
    assert [level for level, _ in before.notes] == ["DEBUG"]
    after = config.system(machine(root), {"v1": {"availability_zone": "nova"}})
    assert after.values["zone"] == "nova"


def test_the_config_of_an_address_is_kept_private(root: Path) -> None:
    write(root, "proc/cmdline", "cloud-config-url=http://a.example/cfg\n")
    write(root, "map.yaml", yaml.safe_dump({"http://a.example/cfg": {"body": "#cloud-config\na: 1\n"}}))
    assert config.store_url_config(machine(root, "/map.yaml")) == ()
    place = root / config.URL_CONFIG.lstrip("/")
    assert place.read_text() == "#cloud-config\na: 1\n"
    assert place.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("cloud-config-url=http://a.example/none", "HTTP 404"), ("url=http://a.example/cfg", "is not used"),
        ("cloud-config-url=http://a.example/page", "does not begin with #cloud-config"),
        ("cloud-config-url=/absent", "cannot be read"), ("quiet", ""),
    ],
)  # fmt: skip
def test_the_config_of_an_address_that_is_not_used(root: Path, line: str, told: str) -> None:
    write(root, "proc/cmdline", f"{line}\n")
    write(root, "map.yaml", yaml.safe_dump(
        {"http://a.example/none": {"status": 404}, "http://a.example/": {"body": "<html>"}}))  # fmt: skip
    notes = config.store_url_config(machine(root, "/map.yaml"))
    assert bool(notes) == bool(told)
    assert all(told in text for _, text in notes)
    assert not (root / config.URL_CONFIG.lstrip("/")).exists()


def test_a_local_config_is_read_once(root: Path) -> None:
    write(root, "proc/cmdline", "cloud-config-url=file:///cfg\n")
    write(root, "cfg", "#cloud-config\na: 1\n")
    config.store_url_config(machine(root))
    write(root, "cfg", "#cloud-config\na: 2\n")
    config.store_url_config(machine(root))
    assert config.system(machine(root)).values["a"] == 1


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("ro cc: a: 1 end_cc quiet", "a: 1 "), ("cc:a: 1\\nb: 2", "a: 1\nb: 2"),
        ("cc:%5Bx%5D end_cc", "[x] "),
        ("cc:a: 1 end_cc x cc: b: 2 end_cc", "a: 1 \nb: 2 "), ("quiet", ""), ("cc:100%", "100%"),
    ],
)  # fmt: skip
def test_cc_on_the_command_line(line: str, text: str) -> None:
    assert kernel_words.cloud_config(line) == text


def test_network_config_on_the_command_line() -> None:
    document = b"version: 2\nethernets: {}\n"
    for packed in (document, gzip.compress(document), b"network:\n  version: 2\n  ethernets: {}\n"):
        line = f"ro network-config={base64.b64encode(packed).decode()}"
        assert kernel_words.network_config(line) == {"version": 2, "ethernets": {}}
    assert kernel_words.network_config("network-config=disabled") == {"config": "disabled"}
    assert kernel_words.network_config("ro") is None
    for bad in ("x", base64.b64encode(b"a: [").decode(), base64.b64encode(b"\x1f\x8bx").decode()):
        with pytest.raises(AgentError):
            kernel_words.network_config(f"network-config={bad}")


def test_switches_of_the_command_line() -> None:
    assert kernel_words.is_disabled("ro cloud-init=disabled")
    assert not kernel_words.is_disabled("xcloud-init=disabled")
    assert kernel_words.is_enabled("cloud-init=enabled")


def test_limits_of_the_image() -> None:
    found, faults = from_config(
        {"limits": {"yaml_depth": 5, "nonesuch": 1, "mime_parts": "x", "yaml_nodes": 0}}
    )
    assert found == Limits(yaml_depth=5)
    assert [fault.split(":")[0] for fault in faults] == [
        "limits.nonesuch",
        "limits.mime_parts",
        "limits.yaml_nodes",
    ]
    assert from_config({}) == (Limits(), ())
    assert from_config({"limits": 5})[1]
