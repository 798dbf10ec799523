"""Our agent and the real cloud-init: same guest, same seed, same stages, and what each of them leaves.

Every difference must be a row of docs/reference/differences.md, and every row must be met by a case.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.contract.agent import chroots
from tests.contract.agent.chroots import Booted, Entry

ROOT = Path(__file__).parents[3]
CASES = ROOT / "fixtures/differential"
TABLE = ROOT / "docs/reference/differences.md"
OURS = "/usr/local/bin/guestling-agent"
META_DATA = b"instance-id: i-differential\nlocal-hostname: meta-name\n"
# What Python, apt, dpkg and the test itself leave; no part of what an agent does.
NOT_COMPARED = (
    "opt/guestling*",
    "usr/local/bin/guestling-agent",
    "usr/local/bin",
    "usr/local",
    "usr/lib/python3*",
    "usr/lib",
    "usr/bin",
    "usr",
    "opt",
    "*__pycache__*",
    "var/lib/cloud/seed*",
    "tmp*",
    "var/tmp*",
    "var/cache*",
    "var/log/apt/*",
    "var/log/dpkg.log",
)
STAGE_KEYS = ("init-local", "init", "modules-config", "modules-final")


class Row(NamedTuple):
    """A row of the table: which paths, which kind of difference."""

    pattern: str
    kind: str


def _table() -> list[Row]:
    """The rows of the table in the documentation: `pattern` | kind | reason."""
    rows = re.findall(r"^\| `([^`]+)` \| (absent|extra|mode|content) \|", TABLE.read_text(), re.MULTILINE)
    return [Row(*row) for row in rows]


class Both(NamedTuple):
    """Both agents' boots of one case."""

    stock: Booted
    ours: Booted


@pytest.fixture(scope="session")
def boots() -> dict[str, Both]:
    return {}


def _case(case: str, boots: dict[str, Both], directory: Path) -> Both:
    """Both boots of a case (`SUITE-NAME`), made once a session."""
    if case not in boots:
        suite, _, name = case.partition("-")
        lower = chroots.base(suite)
        seed = {"meta-data": META_DATA, "user-data": (CASES / f"{name}.txt").read_bytes()}
        vendor = CASES / f"{name}.vendor.txt"
        if vendor.exists():
            seed["vendor-data"] = vendor.read_bytes()
        boots[case] = Both(
            chroots.boot(lower, directory / "stock", "cloud-init", seed),
            chroots.boot(lower, directory / "ours", OURS, seed),
        )
    return boots[case]


def differences(stock: dict[str, Entry], ours: dict[str, Entry]) -> Iterator[tuple[str, str]]:
    """(path, kind): `absent` with us, `extra` with us, `mode` or owner, `content`."""
    for path in sorted({*stock, *ours}):
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in NOT_COMPARED):
            continue
        theirs, own = stock.get(path), ours.get(path)
        if theirs is None or own is None:
            yield path, "extra" if theirs is None else "absent"
        elif (theirs.mode, theirs.owner) != (own.mode, own.owner):
            yield path, "mode"
        elif _normalised(path, theirs.content) != _normalised(path, own.content):
            yield path, "content"


def _normalised(path: str, content: bytes) -> bytes:
    """A file without what no two boots have in common: times, process numbers, keys, boundaries."""
    text = content.decode("utf-8", "replace")
    if "/sem/" in path:
        return b""
    if path.startswith("etc/ssh/ssh_host_"):
        return text.partition(" ")[0].encode() if path.endswith(".pub") else text[:40].encode()
    if path.endswith("/cloud-config.txt"):
        return json.dumps(yaml.safe_load(text), sort_keys=True, default=repr).encode()
    if path.endswith(".json") and text.startswith("{"):
        return json.dumps(_without_times(json.loads(text)), sort_keys=True).encode()
    text = re.sub(r"boundary=\"[^\"]*\"|^--=+[^\n]*$", "BOUNDARY", text, flags=re.MULTILINE)
    text = re.sub(r"(?:Content-Type|MIME-Version|Content-Disposition): [^\n]*\n", "", text)
    text = re.sub(r"\w{3}, \d\d \w{3} \d{4} [\d:]+ \+0000", "DATE", text)
    return re.sub(r"\d+\.\d\d\b", "UPTIME", text).encode()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_times(child) for name, child in value.items() if name not in {"start", "finished"}
        }
    return value


CASE_NAMES = sorted(path.stem for path in CASES.glob("*.txt") if "." not in path.stem)
# All of them beside Debian 13's cloud-init (25.1), some beside sid's (26.2).
SID_NAMES = ("empty", "failing", "parts", "realistic")
ALL_CASES = [*(f"trixie-{name}" for name in CASE_NAMES), *(f"sid-{name}" for name in SID_NAMES)]


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", ALL_CASES)
def test_every_difference_of_the_trees_is_in_the_table(
    case: str, boots: dict[str, Both], tmp_path_factory: pytest.TempPathFactory
) -> None:
    both = _case(case, boots, tmp_path_factory.mktemp("boot"))
    unknown = [
        f"{kind}: {path}"
        for path, kind in differences(both.stock.tree, both.ours.tree)
        if not any(fnmatch.fnmatchcase(path, row.pattern) and row.kind == kind for row in _table())
    ]
    assert unknown == []


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", ALL_CASES)
def test_stages_and_status_end_alike(
    case: str, boots: dict[str, Both], tmp_path_factory: pytest.TempPathFactory
) -> None:
    both = _case(case, boots, tmp_path_factory.mktemp("boot"))
    stock, ours = json.loads(both.stock.status), json.loads(both.ours.status)
    assert both.ours.codes[:4] == both.stock.codes[:4]
    assert ours["status"] == stock["status"]
    for key in STAGE_KEYS:
        assert len(ours[key]["errors"]) == len(stock[key]["errors"]), key
        assert set(ours[key]["recoverable_errors"]) == _levels(stock[key]), key


def _levels(stage: dict[str, Any]) -> set[str]:
    """The levels of a stage's warnings, less the one about an overlay as root file system."""
    return {
        level
        for level, texts in stage["recoverable_errors"].items()
        if any("Could not determine filesystem type" not in text for text in texts)
    }


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_row_of_the_table_is_met(
    boots: dict[str, Both], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A row that no case meets is out of date."""
    met: set[Row] = set()
    for case in ALL_CASES:
        both = _case(case, boots, tmp_path_factory.mktemp("boot"))
        for path, kind in differences(both.stock.tree, both.ours.tree):
            met.update(row for row in _table() if fnmatch.fnmatchcase(path, row.pattern) and row.kind == kind)
    assert [row for row in _table() if row not in met] == []


def test_the_comparison_sees_each_kind_of_difference() -> None:
    """The detector itself: a test that cannot fail would prove nothing."""
    file = Entry(0o100644, (0, 0), b"a")
    stock = {"a": file, "b": file, "c": file, "d": file}
    ours = {"b": file._replace(mode=0o100600), "c": file._replace(content=b"b"), "d": file, "e": file}
    assert list(differences(stock, ours)) == [
        ("a", "absent"),
        ("b", "mode"),
        ("c", "content"),
        ("e", "extra"),
    ]
