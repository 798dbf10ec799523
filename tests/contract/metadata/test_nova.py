"""Every path of both trees, asked of real Nova and of our rules over the same instance.

What differs is in `fixtures/metadata/nova/differences.json`, each row with its reason; nothing else may be,
and a row that is not seen any more must go. The reference page shows the same rows.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from instance_metadata.instance import Instance, read
from instance_metadata.versions import EC2_NOVA, OPENSTACK
from metadata_server.http import Request, Response
from metadata_server.pages import SEED_LENGTH
from metadata_server.responder import FetchVendorData, ReadPassword, Send, respond
from tests.contract import peers

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
FIXTURES = ROOT / "fixtures" / "metadata" / "nova"
NOW_S = 1_795_000_000.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAMES = (
    "meta_data.json",
    "user_data",
    "password",
    "vendor_data.json",
    "network_data.json",
    "vendor_data2.json",
    "version",
    "content",
    "content/0000",
    "nothing",
)
ODD = (
    "/ec2",
    "/ec2/latest/meta-data/",
    "/foo/../",
    "/openstack/",
    "/openstack/content",
    "/openstack/content/0000",
    "/openstack/2014-01-01",
    "/openstack/2014-01-01/meta_data.json",
    "/latest/meta-data/ami-id/",
    "/latest/meta-data/ami-id/x",
    "/latest/meta-data/security-groups/default",
    "/latest/user-data/x",
    "/latest/meta-data/public-keys/0=mykey",
    "/latest/meta-data/public-keys/0/_name",
    "/latest/api/token",
    "/2009-04-05/meta-data/",
    "/nothing",
)


@dataclass(frozen=True)
class Answer:
    """Status, content type and body; JSON as a value."""

    status: int
    content_type: str
    body: object


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same: `aspect` is status, type, body, or a JSON key."""

    path: str
    aspect: str


def ours(instance: Instance, path: str) -> Answer:
    outcome = respond(Request("GET", path), instance, NOW_S)
    if isinstance(outcome, Send):
        page = outcome.page
        seed = b"s" * SEED_LENGTH if page.rest else b""
        return Answer(200, page.content_type, _value(page.body + seed + page.rest))
    if isinstance(outcome, Response):
        return Answer(outcome.status, outcome.content_type, "error")
    assert isinstance(outcome, (ReadPassword, FetchVendorData))
    return Answer(200, "text/plain; charset=UTF-8", "")


def _value(body: bytes) -> object:
    try:
        return json.loads(body) if body[:1] in (b"{", b"[") else body.decode()
    except ValueError:
        return body.decode("latin-1")


def crawl(instance: Instance) -> tuple[str, ...]:
    """Every path either side may know."""
    paths = ["/", "/openstack", *ODD]
    for version in OPENSTACK:
        paths += [f"/openstack/{version}", *(f"/openstack/{version}/{name}" for name in NAMES)]
    from instance_metadata import ec2

    below = set(ec2.files(instance, "latest")) | {
        f"meta-data/{name}"
        for name in ("kernel-id", "ramdisk-id", "public-ipv4", "block-device-mapping/swap")
    }
    for version in EC2_NOVA:
        paths += [f"/{version}/{name}".rstrip("/") for name in sorted(below)]
    return tuple(paths)


def compare(path: str, mine: Answer, novas: Answer) -> list[Difference]:
    if mine.status != novas.status:
        return [Difference(path, "status")]
    if mine.status != 200:
        return []
    found = [] if mine.content_type == novas.content_type else [Difference(path, "type")]
    if isinstance(mine.body, dict) and isinstance(novas.body, dict):
        keys = sorted(mine.body.keys() | novas.body.keys())
        gone = object()
        differing = [key for key in keys if mine.body.get(key, gone) != novas.body.get(key, gone)]
        return found + [Difference(path, key) for key in differing]
    return found if mine.body == novas.body else [*found, Difference(path, "body")]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((FIXTURES / "differences.json").read_text())
    return found


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> set[Difference]:
    try:
        python = peers.nova()
    except peers.PeerMissingError as missing:
        pytest.skip(str(missing))
    instance = read((FIXTURES / "web-01.json").read_bytes(), "web-01.json")
    paths = crawl(instance)
    command = [str(python), str(HERE / "clients" / "nova_oracle.py"), str(tmp_path_factory.mktemp("nova"))]
    done = subprocess.run(
        command, input=json.dumps(paths), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: set[Difference] = set()
    for path, answer in json.loads(done.stdout.splitlines()[-1]).items():
        body = base64.b64decode(answer["body"])
        novas = Answer(answer["status"], answer["type"], _value(body))
        found.update(compare(path, ours(instance, path), novas))
    return found


def explains(row: dict[str, str], difference: Difference) -> bool:
    return row["aspect"] == difference.aspect and re.fullmatch(row["path"], difference.path) is not None


def test_nothing_else_differs_from_nova(differences: set[Difference], rows: list[dict[str, str]]) -> None:
    unexplained = [one for one in differences if not any(explains(row, one) for row in rows)]
    assert "\n".join(sorted(f"{one.path} {one.aspect}" for one in unexplained)) == ""


def test_every_row_is_still_seen(differences: set[Difference], rows: list[dict[str, str]]) -> None:
    stale = [row for row in rows if not any(explains(row, one) for one in differences)]
    assert stale == []


def test_the_reference_shows_the_same_rows(rows: list[dict[str, str]]) -> None:
    page = (ROOT / "docs" / "reference" / "metadata.md").read_text()
    table = [
        f"| `{row['shown']}` | {row['what']} | {row['nova']} | {row['ours']} | {row['why']} |" for row in rows
    ]
    assert "\n".join(table) in page
