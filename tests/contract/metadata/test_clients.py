"""Real clients against `guestling serve` at 169.254.169.254: cloud-init of Debian 13, `ec2-metadata` of PyPI.

Each runs with its own defaults in a network namespace; nothing of it is patched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract import peers

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parents[2] / "fixtures" / "metadata" / "instances"
PATH_KEY = "a-path-key-nobody-guesses"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]


class Seen:
    """What a client printed, and the requests it made."""

    def __init__(self, printed: dict[str, Any], requests: list[dict[str, Any]]) -> None:
        self.printed = printed
        self.requests = requests

    def statuses(self) -> set[int]:
        return {request["status"] for request in self.requests}


Run = Callable[..., Seen]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(client, python, path, *arguments, options=..., imds=...)` serves web-1 and runs the client."""
    probe = subprocess.run(["unshare", "--map-root-user", "--net", "true"], check=False, capture_output=True)
    if probe.returncode != 0:
        pytest.skip("no network namespace may be made here")

    def started(
        client: str,
        python: Path,
        *arguments: str,
        path: Path | None = None,
        options: tuple[str, ...] = (),
        **fields: object,
    ) -> Seen:
        document = {**yaml.safe_load((FIXTURES / "web-1.yaml").read_text()), **fields}
        document["identity"] = {"source_ips": ["169.254.169.254", "fd00:ec2::254"], "path": PATH_KEY}
        instances = tmp_path / "instances"
        instances.mkdir()
        (instances / "web-1.yaml").write_text(yaml.safe_dump(document))
        log = tmp_path / "access.log"
        command = ["unshare", "--map-root-user", "--net", sys.executable, HERE / "in_namespace.py"]
        command += [instances, log, json.dumps(options), python, HERE / "clients" / client, *arguments]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        if path is not None:
            environment["PYTHONPATH"] = str(path)
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            timeout=150,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        requests = [json.loads(line) for line in log.read_text().splitlines()]
        return Seen(json.loads(done.stdout.splitlines()[-1]), requests)

    return started


@pytest.fixture
def cloud_init() -> tuple[Path, Path]:
    try:
        return peers.cloud_init()
    except peers.PeerMissingError as missing:
        pytest.skip(str(missing))


def test_cl_01_cl_02_cloud_init_reads_openstack(
    run: Run, cloud_init: tuple[Path, Path], tmp_path: Path
) -> None:
    python, path = cloud_init
    seen = run("cloud_init_openstack.py", python, str(tmp_path), path=path)
    found = seen.printed
    assert found["metadata"]["uuid"] == "8f0a3c1e-5d27-4b43-9c55-2f6f2f5d9b10"
    assert found["metadata"]["local-hostname"] == "web-1.lab.example"
    assert found["userdata"] == "#cloud-config\npackages: []\n"
    assert found["files"] == {"/etc/motd": "welcome\n", "/etc/blob": "\x00\xff"}
    assert found["vendordata"] == {"cloud-init": "#cloud-config\nruncmd: []\n"}
    assert len(found["networkdata"]["networks"]) == 3
    assert found["version"] == 2
    assert seen.statuses() == {200}
    assert found["took_s"] < 1.0 + float(os.environ.get("GUESTLING_SLOW_MACHINE_S", "2"))


def test_cl_03_cloud_init_crawls_ec2_beside_openstack(
    run: Run, cloud_init: tuple[Path, Path], tmp_path: Path
) -> None:
    python, path = cloud_init
    seen = run("cloud_init_openstack.py", python, str(tmp_path), path=path)
    crawled = seen.printed["ec2-metadata"]
    assert crawled["local-ipv4"] == "10.20.30.40"
    assert crawled["public-keys"] == {"mykey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIfixture user@example"}
    assert crawled["security-groups"] == ["default", "web"]
    assert crawled["block-device-mapping"] == {"ami": "vda", "ebs0": "/dev/vdb", "root": "/dev/vda"}
    assert 20 <= len(seen.requests) <= 60


@pytest.mark.parametrize("tokens", ["optional", "required"])
def test_tok_05_cloud_init_reads_ec2(
    run: Run, cloud_init: tuple[Path, Path], tmp_path: Path, tokens: str
) -> None:
    python, path = cloud_init
    options = ("--ec2-profile", "aws")
    imds = {"tokens": tokens, "tags": True}
    seen = run("cloud_init_ec2.py", python, str(tmp_path), path=path, options=options, imds=imds)
    found = seen.printed
    assert found["meta-data"]["instance-id"] == "i-a62ab27d20f7e77bf"
    assert found["meta-data"]["tags"] == {"instance": {"Name": "web-1"}}
    assert set(found["meta-data"]["network"]["interfaces"]["macs"]) == {
        "fa:16:3e:12:34:56",
        "fa:16:3e:12:34:57",
    }
    assert found["user-data"] == "#cloud-config\npackages: []\n"
    assert found["dynamic"]["instance-identity"]["document"]["privateIp"] == "10.20.30.40"
    assert seen.requests[0]["method"] == "PUT"
    assert seen.statuses() == {200}
    assert any(request["path"].startswith("/2021-03-23/") for request in seen.requests)


def test_nc_01_cloud_init_reads_nocloud(run: Run, cloud_init: tuple[Path, Path]) -> None:
    python, path = cloud_init
    url = f"http://169.254.169.254:81/{PATH_KEY}/"
    options = ("--listen", "169.254.169.254:81,identity=path")
    seen = run("cloud_init_nocloud.py", python, url, path=path, options=options)
    found = seen.printed
    assert found["meta-data"]["instance-id"] == "8f0a3c1e-5d27-4b43-9c55-2f6f2f5d9b10"
    assert found["network-config"]["version"] == 2
    assert [request["status"] for request in seen.requests] == [200] * 4


def test_ec2_metadata_from_pypi(run: Run) -> None:
    try:
        python = peers._environment("ec2-metadata", ("ec2-metadata",))
    except peers.PeerMissingError as missing:
        pytest.skip(str(missing))
    seen = run(
        "ec2_metadata_client.py", python, options=("--ec2-profile", "aws"), imds={"tokens": "required"}
    )
    found = seen.printed
    assert (found["instance_id"], found["region"]) == ("i-a62ab27d20f7e77bf", "eu-1")
    assert (found["private_ipv4"], found["public_ipv4"]) == ("10.20.30.40", "203.0.113.17")
    assert found["security_groups"] == ["default", "web"]
    assert found["card"]["ipv4s"] == ["10.20.30.40"]
    assert seen.statuses() == {200}
