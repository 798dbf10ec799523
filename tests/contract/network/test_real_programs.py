"""Proof beyond text: real programs apply what we render, and the kernel has what was asked for.

In network namespaces where this kernel has the devices, in a guest with a kernel of its own where it has not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.contract.network import applying, guest
from tests.contract.network.comparing import differences
from tests.contract.network.matrix import Matrix
from tests.contract.network.tool_root import Unavailable, tool_root
from tests.unit.guest_agent.network.topologies import FIXTURES, TARGETS, Target, names, rendered

pytestmark = [pytest.mark.root, pytest.mark.timeout(1300), pytest.mark.xdist_group("network-tools")]

APPLIED = ("networkd", "eni", "netplan", "network-manager")
# Debian has neither RHEL's network scripts nor wicked: these stay golden cases.
RENDERED_ONLY = ("sysconfig", "sysconfig-suse")
TARGET_OF = {target.name: target for target in TARGETS}
State = dict[str, Any]


def fixture_json(name: str, file: str) -> dict[str, Any]:
    path = FIXTURES / name / file
    found = json.loads(path.read_text()) if path.is_file() else {}
    assert isinstance(found, dict)
    return found


def asked(name: str) -> dict[str, Any]:
    return fixture_json(name, "asked.json")


TOPOLOGIES = [name for name in names() if asked(name)]


def job(name: str, target: Target) -> dict[str, Any]:
    return applying.job(target.renderer, rendered(name, target), fixture_json(name, "nics.json"), asked(name))


def lacking(name: str) -> list[str]:
    """The kinds of device that this machine's kernel does not make."""
    return [kind for kind in applying.kinds(asked(name)) if not applying.kernel_makes(kind)]


@pytest.fixture(scope="session")
def root() -> Path:
    try:
        return tool_root()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def in_guest(root: Path) -> Callable[[], dict[str, State]]:
    """The answers of one guest that runs every job this kernel cannot; booted when first asked for."""

    @cache
    def answers() -> dict[str, State]:
        wanted = [name for name in TOPOLOGIES if lacking(name)]
        jobs = {
            f"{name}/{renderer}": job(name, TARGET_OF[renderer]) for name in wanted for renderer in APPLIED
        }
        return guest.results(root, jobs)

    return answers


@pytest.mark.boot
@pytest.mark.parametrize("renderer", APPLIED)
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_ga_4_6_real_program_makes_what_was_asked_for(
    name: str, renderer: str, root: Path, in_guest: Callable[[], dict[str, State]], matrix: Matrix
) -> None:
    try:
        if lacking(name):
            state = in_guest()[f"{name}/{renderer}"]
        else:
            state = applying.apply(root, job(name, TARGET_OF[renderer]))
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert differences(asked(name), state) == [], state["log"][-2000:]
    matrix.say(name, renderer, "equal")


@pytest.mark.parametrize("target", RENDERED_ONLY)
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_ga_4_6_sysconfig_is_rendered(name: str, target: str, matrix: Matrix) -> None:
    assert rendered(name, TARGET_OF[target]).files
    matrix.say(name, target, "rendered")
