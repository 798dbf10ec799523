"""Proof beyond text: real programs apply what we render, and the kernel has what was asked for.

Network namespaces where this kernel has the devices; a guest (`test_real_programs_in_a_guest.py`) for the
others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.network import applying
from tests.contract.network.comparing import differences
from tests.contract.network.tool_root import Unavailable, tool_root
from tests.unit.guest_agent.network.topologies import FIXTURES, TARGETS, Target, names, rendered

pytestmark = [pytest.mark.root, pytest.mark.timeout(1300), pytest.mark.xdist_group("network-tools")]

APPLIED = ("networkd", "eni", "netplan", "network-manager")
TARGET_OF = {target.name: target for target in TARGETS}


def asked(name: str) -> dict[str, Any]:
    path = FIXTURES / name / "asked.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    assert isinstance(found, dict)
    return found


def nics(name: str) -> dict[str, str]:
    found = json.loads((FIXTURES / name / "nics.json").read_text())
    assert isinstance(found, dict)
    return found


TOPOLOGIES = [name for name in names() if asked(name)]


@pytest.fixture(scope="session")
def root() -> Path:
    try:
        return tool_root()
    except Unavailable as reason:
        pytest.skip(str(reason))


def job(name: str, target: Target) -> dict[str, Any]:
    return applying.job(target.renderer, rendered(name, target), nics(name), asked(name))


@pytest.mark.parametrize("renderer", APPLIED)
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_ga_4_6_real_program_makes_what_was_asked_for(name: str, renderer: str, root: Path) -> None:
    lacking = [kind for kind in applying.kinds(asked(name)) if not applying.kernel_makes(kind)]
    if lacking:
        pytest.skip(f"this kernel makes no {' and no '.join(lacking)}")
    state = applying.apply(root, job(name, TARGET_OF[renderer]))
    assert differences(asked(name), state) == [], state["log"][-2000:]
